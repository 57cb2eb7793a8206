"""Mean loss and accuracy over batches of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Totals:
    """Sums over the batches so far; a mean of batch means would weigh a short last batch too much."""

    loss: float = 0.0
    examples: int = 0
    correct: int = 0
    labels: int = 0

    def add(self, loss: float, output: Array, target: Array) -> None:
        """Add a batch with its mean loss.

        Integer targets are compared with the largest output along axis 1; negative ones are labels to ignore.
        """
        self.loss += loss * len(target)
        self.examples += len(target)
        if target.dtype.kind in "iu" and output.ndim == target.ndim + 1:
            self.correct += int(np.count_nonzero(output.argmax(axis=1) == target))
            self.labels += int(np.count_nonzero(target >= 0))

    def means(self) -> dict[str, float]:
        """The mean "loss" of an example, and the "accuracy" between 0 and 1 where there were labels."""
        means = {"loss": self.loss / self.examples}
        if self.labels:
            means["accuracy"] = self.correct / self.labels
        return means
