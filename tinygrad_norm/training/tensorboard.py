"""Writes what training measures as TensorBoard events."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.training.callbacks import Callback
from tinygrad_norm.training.history import Record

if TYPE_CHECKING:
    from tinygrad_norm.training.trainer import Trainer


class TensorBoardLog(Callback):
    """Writes the epochs' losses, accuracies and learning rate as TensorBoard events; a resumed run goes on in them.

    Raises:
        ImportError: at once, if tensorboardX is not installed.

    Example:
        >>> import os
        >>> model, log = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), training.TensorBoardLog("events")
        >>> optimizer = optim.SGD(model.parameters())
        >>> trainer = training.Trainer(model, optimizer, ops.cross_entropy, callbacks=[log], progress=False)
        >>> _ = trainer.fit(data.DataLoader(data.digits("test"), batch_size=71), epochs=1)
        >>> len(os.listdir("events"))
        1
    """

    def __init__(self, folder: StrPath) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ImportError('TensorBoard logs need tensorboardX: pip install "tinygrad-norm[tensorboard]"') from error
        self.folder = Path(folder)
        self._writer_class = SummaryWriter
        self._writer: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Open an event file, which hides what older ones in the folder have of the epochs to come."""
        # The file's name has the second; the suffix keeps a run resumed within it from overwriting the first file.
        suffix = f".{secrets.token_hex(4)}"
        self._writer = self._writer_class(str(self.folder), purge_step=trainer.epoch + 1, filename_suffix=suffix)

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Write the epoch's record; training and validation share a chart's name."""
        for name, value in record.items():
            if name != "epoch":
                split, _, metric = name.rpartition("_")
                self._writer.add_scalar(f"{metric}/{split}" if split else metric, value, trainer.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
