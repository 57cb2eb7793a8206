"""Shows how training goes: a bar on a terminal, one plain line an epoch anywhere else.

A stream that can no longer be written to, such as a pipe that nobody reads, does not stop training.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, TextIO

from tinygrad_norm.output import UnfailingStream
from tinygrad_norm.training.callbacks import Callback
from tinygrad_norm.training.history import Record

if TYPE_CHECKING:
    from tinygrad_norm.training.trainer import Trainer


def progress(stream: TextIO | None = None) -> Callback:
    """What suits `stream` (standard error unless said): a ProgressBar on a terminal, else ProgressLines."""
    shown = UnfailingStream(sys.stderr if stream is None else stream)
    can_redraw = shown.isatty() and os.environ.get("TERM") != "dumb"
    return ProgressBar(shown) if can_redraw else ProgressLines(shown)


class ProgressLines(Callback):
    """One line an epoch: fit for files, pipes and CI."""

    def __init__(self, stream: TextIO | UnfailingStream) -> None:
        self.stream = stream if isinstance(stream, UnfailingStream) else UnfailingStream(stream)

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Write what the epoch measured."""
        print(describe(record, trainer.epochs), file=self.stream, flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        """Say why training ended before its last epoch."""
        if trainer.stopped:
            print(f"stopped after epoch {trainer.epoch}: {trainer.stopped}", file=self.stream, flush=True)


class ProgressBar(ProgressLines):
    """A bar over the batches of the epoch, with their loss; it makes way for the epoch's line."""

    def __init__(self, stream: TextIO | UnfailingStream) -> None:
        super().__init__(stream)
        self._bar: Any = None

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
        )

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """Move on by one batch."""
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, trainer: Trainer, record: Record) -> None:
        """Replace the bar by the epoch's line."""
        self.close()
        super().on_epoch_end(trainer, record)

    def on_interrupt(self, trainer: Trainer) -> None:
        """Make way for the message."""
        self.close()

    def close(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def describe(record: Record, epochs: int) -> str:
    """One epoch in one line of plain text."""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    for metric, form in (("loss", ".4f"), ("accuracy", ".2%")):
        if f"train_{metric}" in record:
            validated = f" (val {record[f'val_{metric}']:{form}})" if f"val_{metric}" in record else ""
            parts.append(f"{metric} {record[f'train_{metric}']:{form}}{validated}")
    return "  ".join([*parts, f"lr {record['lr']:.3g}"])
