"""What is measured over batches of any size: the mean loss, and the accuracy where there is one.

The functions take the loss as `nn.loss.as_loss` returns it; an op of `ops` itself is here any other function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.nn.loss import BCEWithLogitsLoss, ClassLoss, Loss
from tinygrad_norm.tensor import Tensor

Agreement = tuple[int, int] | None
"""How many predictions are right, and of how many; None where nobody can say what is right."""


@dataclass
class Totals:
    """Sums over the batches so far.

    A mean of the batches' means would count a short batch, or one of many ignored targets, too much.
    """

    loss: float = 0.0
    examples: float = 0.0  # each with its weight in the loss
    correct: float = 0  # NaN as soon as it cannot be said
    labels: int = 0

    def add(self, loss: float, weight: float, right: Agreement) -> None:
        """Add a batch: its mean loss, what `weight_of` says of it, and what `agreement` says.

        A batch of which nobody can say what is right leaves all of them without an accuracy.
        """
        self.loss += loss * weight
        self.examples += weight
        correct, labels = (math.nan, 0) if right is None else right
        self.correct += correct
        self.labels += labels

    def means(self) -> dict[str, float]:
        """Return the mean "loss", and the "accuracy", 0 to 1, if there is one.

        Raises:
            ValueError: nothing counted.
        """
        if not self.examples:
            raise ValueError("there is no mean loss: every target is ignored by the loss, or has weight 0 in it")
        means = {"loss": self.loss / self.examples}
        if self.labels and not math.isnan(self.correct):
            means["accuracy"] = self.correct / self.labels
        return means


def weight_of(loss: Any, target: Array) -> float:
    """Return how much a batch counts in a mean of losses: its `total_weight` if the loss has one, else its examples."""
    return float(loss.total_weight(target)) if hasattr(loss, "total_weight") else float(len(target))


def mean_of(loss: Any, value: float, weight: float) -> float:
    """Return the mean loss of a batch, given the value of its loss, which with `reduction="sum"` is a sum."""
    return value / weight if weight and getattr(loss, "reduction", "mean") == "sum" else value


def agreement(loss: Any, output: Any, target: Array) -> Agreement:
    """Compare a model's output with the targets, as the loss reads them.

    - `nn.CrossEntropyLoss`, `nn.NLLLoss`, or any function: integer targets (N, ...) are class numbers, and the largest
      output (N, C, ...) along axis 1 is the prediction. The loss's `ignore_index`, if it has one, and negative targets
      are neither right nor wrong; C and above are no classes. Nor are class probabilities, those of mixup among them.
    - `nn.BCEWithLogitsLoss`: where there is one logit (N,) or (N, 1, ...) for each target 0 or 1, logits above 0
      predict 1. Several labels for one example can be counted in more than one way, and are not.
    - Other losses of `nn` compare numbers, of which none is right.

    One output for each example under a function that is not of `ops` may be a logit or a probability: nobody can say
    where it turns from 0 to 1. An output of NaN predicts nothing.
    """
    if not isinstance(output, Tensor):
        return None
    if isinstance(loss, BCEWithLogitsLoss):
        return _of_logits(output.raw, target)
    if not isinstance(loss, ClassLoss) and (isinstance(loss, Loss) or output.shape[1:2] == (1,)):
        return None
    return _of_classes(output.raw, target, getattr(loss, "ignore_index", None))


def _of_classes(scores: Array, labels: Array, ignored: int | None) -> Agreement:
    shape = scores.shape[:1] + scores.shape[2:]
    if labels.dtype.kind not in "iu" or scores.ndim != labels.ndim + 1 or shape != labels.shape:
        return None
    counted = labels >= 0
    if ignored is not None:
        counted &= labels != ignored
    if (counted & ((labels >= scores.shape[1]) | np.isnan(scores).any(axis=1))).any():
        return None
    return int(np.count_nonzero((scores.argmax(axis=1) == labels) & counted)), int(np.count_nonzero(counted))


def _of_logits(logits: Array, labels: Array) -> Agreement:
    one_each = logits.shape[1:2] in ((), (1,)) and logits.size == labels.size
    if not one_each or not np.isin(labels, (0, 1)).all() or np.isnan(logits).any():
        return None
    return int(np.count_nonzero((logits.reshape(labels.shape) > 0) == (labels == 1))), labels.size
