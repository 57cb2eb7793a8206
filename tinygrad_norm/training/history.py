"""What training measured, epoch by epoch."""

from __future__ import annotations

import math

Record = dict[str, float]
"""One epoch: "epoch", "lr" of its last step, "train_loss" and, where measured, "train_accuracy", "val_loss" and
"val_accuracy"."""


class History(list[Record]):
    """One record an epoch, in order. Two runs that did the same have equal histories: no clock time is in them.

    Example:
        >>> history = training.History([{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.5}])
        >>> history.column("train_loss")
        [2.0, 1.5]
    """

    def column(self, name: str) -> list[float]:
        """Return one quantity over all epochs.

        Raises:
            ValueError: an epoch did not measure it.
        """
        return [measured(record, name) for record in self]


def measured(record: Record, name: str) -> float:
    """Return the quantity `name` of one epoch; a ValueError lists what there is, and says why this may be missing.

    Where the loss is NaN, so is an accuracy that is missing: outputs of NaN predict nothing.
    """
    if name in record:
        return record[name]
    split, _, quantity = name.rpartition("_")
    loss = record.get(f"{split}_loss")
    if quantity == "accuracy" and loss is not None and math.isnan(loss):
        return math.nan
    hint = "; give fit a validation loader" if split == "val" and loss is None else ""
    if quantity == "accuracy" and loss is not None:
        hint = "; there is an accuracy of class numbers, and of targets 0 and 1 under nn.BCEWithLogitsLoss"
    raise ValueError(f"epoch {record['epoch']} measured no {name!r}, only {', '.join(record)}{hint}")
