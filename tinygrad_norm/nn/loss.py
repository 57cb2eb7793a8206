"""Losses as modules: each is the op of that name, with PyTorch's arguments; call them as loss(prediction, target)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, Literal

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.checks import check_choice
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.loss import REDUCTIONS
from tinygrad_norm.tensor import Tensor

LossReduction = Literal["none", "mean", "sum"]


class Loss(OpModule):
    """A loss has a reduction, and perhaps weights, which are buffers."""

    def __post_init__(self) -> None:
        check_choice(f"{type(self).__name__}: reduction", self.reduction, REDUCTIONS)
        weights = {name: value for name, value in self._arguments().items() if name.endswith("weight")}
        vars(self).update({name: Tensor(weight) for name, weight in weights.items() if weight is not None})
        super().__post_init__()

    def total_weight(self, target: Any) -> float:
        """Return what the mean over these targets divides by: the sum of the weights of all that counts.

        The mean over several batches is the sum of theirs, each times its total weight, divided by the sum of all total
        weights. So gradients that are added up over the parts of a batch are those of the whole batch if each part does
        `(loss(output, target) * (loss.total_weight(target) / total)).backward()`, where `total` is the sum over all
        parts. Here every element of the target counts 1.
        """
        return float(np.size(_raw(target)))


class ClassLoss(Loss):
    """A loss of class numbers, which has a weight for each class and a class number that does not count."""

    def total_weight(self, target: Any) -> float:
        """Return what the mean over these targets divides by: the sum of the weights of the classes that count.

        Class probabilities (N, C, ...) are not weighted: each of the N, ... counts 1.
        """
        labels = _raw(target)
        if labels.dtype.kind == "f":
            return labels.size / labels.shape[1] if labels.ndim > 1 and labels.size else 1.0
        counted = labels[labels != self.ignore_index]
        if self.weight is None:
            return float(counted.size)
        # What is no class is left to the call, which refuses it in words.
        return float(self.weight.raw.take(counted, mode="clip").sum(dtype=np.float64))


class CrossEntropyLoss(ClassLoss, op=ops.cross_entropy):
    """Cross-entropy of logits (N, C, ...) with class numbers (N, ...) or class probabilities (N, C, ...).

    Args:
        weight: of each class, shape (C,); a buffer.
        ignore_index: the class number that does not count; not for probabilities.
        label_smoothing: the share, in [0, 1], of each target that is spread over all classes.

    Example:
        >>> print(nn.CrossEntropyLoss()(Tensor([[0.0, 0.0]]), np.array([1])).numpy().round(4))
        0.6931
    """

    weight: Any = None
    ignore_index: int = -100
    reduction: LossReduction = "mean"
    label_smoothing: float = 0.0


class NLLLoss(ClassLoss, op=ops.nll_loss):
    """Negative log-likelihood of log-probabilities (N, C, ...) at class numbers (N, ...).

    Args:
        weight: of each class, shape (C,); a buffer.
        ignore_index: the class number that does not count.

    Example:
        >>> print(nn.NLLLoss()(nn.LogSoftmax()(Tensor([[0.0, 0.0]])), np.array([1])).numpy().round(4))
        0.6931
    """

    weight: Any = None
    ignore_index: int = -100
    reduction: LossReduction = "mean"


class MSELoss(Loss, op=ops.mse_loss):
    """Squared difference.

    Example:
        >>> nn.MSELoss()(Tensor([1.0, 5.0]), Tensor([2.0, 2.0]))
        Tensor(5.)
    """

    reduction: LossReduction = "mean"


class L1Loss(Loss, op=ops.l1_loss):
    """Absolute difference.

    Example:
        >>> nn.L1Loss()(Tensor([1.0, 5.0]), Tensor([2.0, 2.0]))
        Tensor(2.)
    """

    reduction: LossReduction = "mean"


class HuberLoss(Loss, op=ops.huber_loss):
    """Half the squared difference d up to delta, and delta * (|d| - delta / 2) beyond.

    Example:
        >>> nn.HuberLoss()(Tensor([0.5, 3.0]), Tensor([0.0, 0.0]))
        Tensor(1.3125)
    """

    reduction: LossReduction = "mean"
    delta: float = 1.0


class BCEWithLogitsLoss(Loss, op=ops.binary_cross_entropy_with_logits):
    """Binary cross-entropy of logits with targets in [0, 1], both of one shape.

    Args:
        weight: of each element, in a shape that broadcasts; a buffer.
        pos_weight: of the positive part, in a shape that broadcasts; a buffer.

    Example:
        >>> print(nn.BCEWithLogitsLoss()(Tensor([0.0]), Tensor([1.0])).numpy().round(4))
        0.6931
    """

    weight: Any = None
    reduction: LossReduction = "mean"
    pos_weight: Any = None


LOSS_OF: dict[Callable[..., Tensor], type[Loss]] = {
    loss.op: loss for loss in (CrossEntropyLoss, NLLLoss, MSELoss, L1Loss, HuberLoss, BCEWithLogitsLoss)
}
"""The op of each loss, and the loss."""


def as_loss(function: Any) -> Any:
    """Return the Loss that is the same as an op of `ops`, or as a `functools.partial` of one with arguments by name.

    Any other function, and a Loss, is returned as it is.
    """
    op, arguments = function, {}
    if isinstance(function, partial) and not function.args:
        op, arguments = function.func, function.keywords
    kind = LOSS_OF.get(op) if isinstance(op, FunctionType) else None  # what is no function need not be hashable
    return function if kind is None else kind(**arguments)


def _raw(target: Any) -> Any:
    return np.asarray(getattr(target, "raw", target))
