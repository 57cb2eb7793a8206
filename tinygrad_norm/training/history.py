"""What training measured, epoch by epoch."""

from __future__ import annotations

Record = dict[str, float]
"""One epoch: "epoch", "lr", "train_loss" and, where measured, "train_accuracy", "val_loss" and "val_accuracy"."""


class History(list[Record]):
    """One record an epoch, in order. Two runs that did the same have equal histories: no clock time is in them."""

    def column(self, name: str) -> list[float]:
        """One quantity over all epochs.

        Raises:
            ValueError: an epoch did not measure it.
        """
        return [measured(record, name) for record in self]


def measured(record: Record, name: str) -> float:
    """The quantity `name` of one epoch; a ValueError lists what there is."""
    if name not in record:
        hint = "; give fit a validation loader" if name.startswith("val_") else ""
        raise ValueError(f"epoch {record['epoch']} measured no {name!r}, only {', '.join(record)}{hint}")
    return record[name]
