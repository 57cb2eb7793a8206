"""Losses, with PyTorch's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import definitions, dtypes, kernels
from tinygrad_norm.checks import FRACTION, check_choice, check_number
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import compute, constant, launch
from tinygrad_norm.operands import wrap
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.activation import log_softmax, softplus
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtype_of, without_gradient
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.ops.shape import moveaxis, reshape, take_along_axis
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

REDUCTIONS = ("none", "mean", "sum")


class CrossEntropy(FusedOp):
    """Softmax and cross-entropy of logits [N, C] with classes [N] in one kernel.

    One loss for each row, or, given `total`, their sum divided by it.
    """

    def composed(
        self, logits: Tensor, weight: Tensor | None, *, target: Array, total: Array | None, **options: Any
    ) -> Tensor:
        losses, _ = definitions.cross_entropy(logits, wrap(target), weight, **options)
        return losses if total is None else (losses.sum() / wrap(total)).astype(losses.dtype, copy=False)

    def forward(
        self, logits: Array, weight: Array | None, *, target: Array, total: Array | None, **options: Any
    ) -> Any:
        losses, lse = kernels.of(logits).cross_entropy(logits, target, weight, **options)
        self.save(lse)
        return losses if total is None else kernels.of(losses).mean_loss(losses, total)

    def gradient(self, grad: Array, logits: Array, weight: Array | None, lse: Array) -> tuple[Array, None]:
        options = dict(self.params)
        target, total = options.pop("target"), options.pop("total")
        if total is not None:
            grad = kernels.of(grad).mean_loss_gradient(grad, total, len(target))
        return kernels.of(logits).cross_entropy_gradient(grad, logits, target, weight, lse, **options), None


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Tensor:
    """Return the cross-entropy of logits with classes or with class probabilities.

    Args:
        logits: shape (N, C), (N, C, d1, ...) or (C,); unnormalized.
        target: classes, the shape of logits without C, integers from 0 to C - 1 or `ignore_index`; or probabilities,
            the shape of logits, floating point.
        weight: shape (C,), a weight for each class; a constant to the gradient.
        reduction: "mean" (weighted, over what is not ignored), "sum" or "none".
        label_smoothing: how much of the target is spread evenly over all classes, 0 to 1.
        ignore_index: a class that does not count.

    Raises:
        ValueError: shapes do not fit, a class is out of range, a probability is none (but for the rounding of a sum of
            float32 over all classes), smoothing is not within 0 to 1, nothing counts towards a mean, or ignore_index
            is given with probabilities.
        TypeError: logits are no floats, or classes no integers.

    Example:
        >>> print(ops.cross_entropy([[0.0, 0.0], [3.0, 0.0]], [1, 0], reduction="none").numpy().round(4))
        [0.6931 0.0486]
    """
    if not 0 <= label_smoothing <= 1:
        check_number("cross_entropy: label_smoothing", label_smoothing, FRACTION)
    smoothing = float(label_smoothing)
    rows, shape, weight = _classifier("cross_entropy", logits, weight, reduction)
    labels = _constant(target)
    if labels.dtype.kind == "f":
        if labels.shape != shape_of(logits):
            raise ValueError(
                f"cross_entropy: a target of probabilities has the shape of the logits, {shape_of(logits)}, "
                f"got {labels.shape}; a target of classes holds integers"
            )
        if ignore_index != -100:
            raise ValueError(
                f"cross_entropy: ignore_index is for a target of classes, got {ignore_index} with probabilities; "
                "leave out the rows that are not to count"
            )
        return _reduced(_soft_cross_entropy(rows, target, weight, smoothing).reshape(shape), reduction)
    labels, counted = _classes("cross_entropy", labels, shape, rows, weight, ignore_index)
    total: Array | None = None
    if reduction == "mean":
        total = counted
        launch(_check_total, label("cross_entropy"), total, ignore_index)
    elif reduction == "sum":
        total = launch(np.ones, (), np.float64)
    loss = CrossEntropy()(rows, weight, target=labels, smoothing=smoothing, ignore=int(ignore_index), total=total)
    return loss if loss.shape in ((), shape) else loss.reshape(shape)


def _soft_cross_entropy(rows: Tensor, target: Any, weight: Array | None, smoothing: float) -> Tensor:
    """Return the cross-entropy of each row with class probabilities."""
    _check_probabilities("cross_entropy", target, rows.shape[1])
    q = _rows("cross_entropy", target)[0].astype(rows.dtype)
    if smoothing:
        q = (1 - smoothing) * q + smoothing / rows.shape[1]
    surprise = -log_softmax(rows, axis=1)
    surprise = e.where(e.logical_and(e.equal(q, 0), e.equal(surprise, np.inf)), 0.0, surprise)  # nobody expected it
    return (q * surprise if weight is None else q * weight * surprise).sum(axis=1)


def nll_loss(input: Any, target: Any, weight: Any = None, reduction: str = "mean", ignore_index: int = -100) -> Tensor:
    """Return the negative log-likelihood of classes, from log-probabilities; shapes are as in `cross_entropy`.

    Example:
        >>> print(ops.nll_loss(ops.log_softmax([[0.0, 0.0]]), [1]).numpy().round(4))
        0.6931
    """
    rows, shape, weight = _classifier("nll_loss", input, weight, reduction)
    labels, total = _classes("nll_loss", _constant(target), shape, rows, weight, ignore_index)
    safe, factor, left_out = launch(_counted, labels, ignore_index, weight, rows.dtype)
    losses = -take_along_axis(rows, safe[:, None], axis=1).squeeze(1)
    losses = e.where(left_out, 0.0, losses * factor)  # infinite, perhaps, where it does not count
    if reduction != "mean":
        return _reduced(losses.reshape(shape), reduction)
    launch(_check_total, label("nll_loss"), total, ignore_index)
    return (losses.sum() / wrap(total)).astype(rows.dtype, copy=False)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return (input - target)², element by element.

    Example:
        >>> ops.mse_loss([1.0, 5.0], [2.0, 2.0])
        Tensor(5.)
    """
    return _elementwise("mse_loss", input, target, reduction, e.square)


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """Return |input - target|, element by element.

    Example:
        >>> ops.l1_loss([1.0, 5.0], [2.0, 2.0])
        Tensor(2.)
    """
    return _elementwise("l1_loss", input, target, reduction, e.abs)


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Return half the squared error up to `delta`, and linear beyond.

    Raises:
        ValueError: `delta` is not positive.

    Source: Huber, Robust estimation of a location parameter, 1964.

    Example:
        >>> ops.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
        Tensor([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is positive, got {delta}")

    def huber(error: Tensor) -> Tensor:
        clipped = error.clip(-delta, delta)
        return clipped * (error - 0.5 * clipped)

    return _elementwise("huber_loss", input, target, reduction, huber)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """Return the cross-entropy of sigmoid(input) with targets between 0 and 1, without overflow.

    Args:
        input: logits of any shape.
        target: of the same shape.
        weight: a factor for each element, broadcast.
        reduction: "mean", "sum" or "none".
        pos_weight: a factor for the positive part of the target, broadcast.

    Example:
        >>> print(ops.binary_cross_entropy_with_logits([0.0, 100.0], [1.0, 1.0], reduction="none").numpy().round(4))
        [0.6931 0.    ]
    """
    _check_alike("binary_cross_entropy_with_logits", input, target, reduction)
    _check_probabilities("binary_cross_entropy_with_logits", target, 1)
    positive = e.multiply(target, softplus(e.negative(input)))
    negative = e.multiply(e.subtract(1.0, target), softplus(input))
    losses = negative + (positive if pos_weight is None else positive * pos_weight)
    return _reduced(losses if weight is None else losses * weight, reduction)


def _elementwise(name: str, input: Any, target: Any, how: str, loss: Any) -> Tensor:
    _check_alike(name, input, target, how)
    return _reduced(loss(e.subtract(input, target)), how)


def _reduced(losses: Tensor, how: str) -> Tensor:
    return losses if how == "none" else losses.mean() if how == "mean" else losses.sum()


def _check_total(name: str, total: Array, ignore_index: int) -> None:
    if not total:
        raise ValueError(f"{name}: no mean, as every target is ignore_index={ignore_index} or a class of weight 0")


def _counted(
    labels: Array, ignore_index: int, weight: Array | None, dtype: np.dtype[Any]
) -> tuple[Array, Array, Array]:
    """Return classes with 0 in the place of ignored ones, the factor of each row, and where it is 0."""
    counts = labels != ignore_index
    safe = np.where(counts, labels, 0)
    factor = counts * (dtype.type(1) if weight is None else weight[safe])
    return safe, factor, factor == 0


def _classifier(name: str, logits: Any, weight: Any, reduction: str) -> tuple[Tensor, Shape, Array | None]:
    """Return logits as rows (N, C), the shape of their losses, and class weights of their dtype, all checked."""
    check_choice(f"{name}: reduction", reduction, REDUCTIONS)
    check_dtypes(name, input=shape_dtype_of(logits))
    rows, shape = _rows(name, logits)
    if weight is None:
        return rows, shape, None
    given = _constant(without_gradient(name, "weight", weight))
    if given.shape != rows.shape[1:]:
        raise ValueError(f"{name}: weight has shape {rows.shape[1:]}, one for each class, got {given.shape}")
    return rows, shape, launch(given.astype, rows.dtype)


def _rows(name: str, logits: Any) -> tuple[Tensor, Shape]:
    """Return logits as rows (N, C), and the shape of their losses."""
    given = shape_of(logits)
    if not given or given[:2][-1] == 0:
        raise ValueError(f"{name}: the input has shape (N, C), (N, C, d1, ...) or (C,) with C > 0, got {given}")
    if len(given) == 1:
        return reshape(logits, (1, *given)), ()
    if len(given) == 2:
        return (logits if hasattr(logits, "creator") else e.add(logits, 0.0)), given[:1]
    return reshape(moveaxis(logits, 1, -1), (-1, given[1])), (given[0], *given[2:])


def _classes(
    name: str, labels: Array, shape: Shape, rows: Tensor, weight: Array | None, ignore_index: int
) -> tuple[Array, Array]:
    """Return the target of each row, checked, and the weight of all that count, which a mean divides by."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: classes are integers, got a target of {labels.dtype}")
    if labels.shape != shape:
        raise ValueError(f"{name}: the target has shape {shape}, as the input without its classes, got {labels.shape}")
    classes, ignore = rows.shape[1], int(ignore_index)
    checked, total, wrong = compute(kernels.of(rows.raw).checked_classes, labels, classes, weight, ignore)
    launch(_check_labels, name, checked, wrong, classes, ignore)
    return checked, total


def _check_labels(name: str, labels: Array, wrong: Array, classes: int, ignore: int) -> None:
    if wrong >= 0:
        raise ValueError(f"{name}: a class is from 0 to {classes - 1}, or ignore_index={ignore}, got {labels[wrong]}")


def _constant(value: Any) -> Array:
    given = getattr(value, "raw", value)
    return dtypes.plain(given) if isinstance(given, np.ndarray) else constant(np.asarray(given))


def _check_probabilities(name: str, target: Any, terms: int) -> None:
    """Refuse what is outside [0, 1] by more than the rounding of so many terms that were added up to 1 in float32."""
    launch(_are_probabilities, name, _constant(target), terms * float(np.finfo(np.float32).eps))


def _are_probabilities(name: str, values: Array, rounding: float) -> None:
    outside = values[(values < -rounding) | (values > 1 + rounding)]
    if outside.size:
        raise ValueError(f"{name}: a probability in the target is from 0 to 1, got {outside.flat[0]}")


def _check_alike(name: str, input: Any, target: Any, reduction: str) -> None:
    check_choice(f"{name}: reduction", reduction, REDUCTIONS)
    if shape_of(input) != shape_of(target):
        raise ValueError(f"{name}: input and target have one shape, got {shape_of(input)} and {shape_of(target)}")
