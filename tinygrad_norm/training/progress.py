"""Shows how training goes: a bar on a terminal, one plain line an epoch anywhere else.

A stream that can no longer be written to, such as a pipe that nobody reads, does not stop training.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, TextIO

from tinygrad_norm.output import UnfailingStream
from tinygrad_norm.training.callbacks import Callback
from tinygrad_norm.training.history import Record

if TYPE_CHECKING:
    from tinygrad_norm.training.trainer import Trainer


SPLITS = "train", "val"


class TrainingProgress(Callback):
    """Writes a line an epoch, and on a terminal a bar over its batches, with their loss, which makes way for the line.

    Args:
        stream: where to, standard error unless said.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = UnfailingStream(stream or sys.stderr)
        self._bar: Any = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Say which parts of the model stay in inference, so that nobody is surprised."""
        frozen = trainer.frozen
        outermost = [path or "(model)" for path in frozen if not path or path.rpartition(".")[0] not in frozen]
        if outermost:
            listed = ", ".join(outermost[:5]) + (f" and {len(outermost) - 5} more" if len(outermost) > 5 else "")
            self._say(f"in eval, and left so: {listed}")

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Begin a bar, where the epoch was resumed if it was."""
        from tqdm import tqdm

        self._bar = tqdm(
            desc=f"epoch {trainer.epoch + 1}/{trainer.epochs}",
            total=len(trainer.loader) if isinstance(trainer.loader, Sized) else None,
            initial=trainer.batch,
            unit="batch",
            leave=False,
            dynamic_ncols=True,
            file=self.stream,
            disable=not self.stream.can_redraw(),
        )

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """Move on by one batch."""
        if math.isfinite(loss):  # something counted
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Replace the bar by the epoch's line."""
        self.close()
        self._say(describe_epoch(record, trainer.epochs))

    def on_interrupt(self, trainer: Trainer) -> None:
        """Make way for the message."""
        self.close()

    def on_train_end(self, trainer: Trainer) -> None:
        """Say why training ended before its last epoch."""
        if trainer.stopped:
            self._say(f"stopped after epoch {trainer.epoch}: {trainer.stopped}")

    def close(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def describe_epoch(record: Record, epochs: int) -> str:
    """Describe one epoch in one line of plain text."""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    for metric, form in (("loss", ".4f"), ("accuracy", ".2%")):
        train, val = (f"{record[name]:{form}}" if (name := f"{split}_{metric}") in record else "" for split in SPLITS)
        if train or val:
            parts.append(" ".join(filter(None, [metric, train, val and f"(val {val})"])))
    return "  ".join([*parts, f"lr {record['lr']:.3g}"])
