"""Reductions: many numbers to few, over one axis, several, or all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm.ops import elementwise
from tinygrad_norm.tape import Array, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Axis = int | Sequence[int] | None


class Reduction(Op):
    """A reduction over `axis`; its subclasses share the way a gradient is spread out again."""

    def spread(self, reduced: Tensor) -> Tensor:
        """`reduced` with the axes that the reduction removed, as length 1."""
        axes, shape = self.params["axis"], self.params["shape"]
        kept = tuple([1 if i in axes else size for i, size in enumerate(shape)])
        return reduced if reduced.shape == kept else reduced.reshape(kept)


class Sum(Reduction):
    def forward(self, x: Array, *, axis: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Any:
        return x.sum(axis=axis, keepdims=keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        return self.spread(grad).broadcast_to(self.params["shape"])


class Mean(Reduction):
    def forward(self, x: Array, *, axis: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Any:
        return x.mean(axis=axis, keepdims=keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        shape = self.params["shape"]
        count = math.prod(shape[i] for i in self.params["axis"])
        return (self.spread(grad) / count).broadcast_to(shape)


class Extremum(Reduction):
    """The largest or smallest; elements that tie share the gradient evenly."""

    numpy_function: Any

    def forward(self, x: Array, *, axis: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Any:
        y = type(self).numpy_function(x, axis=axis, keepdims=keepdims)
        self.save(x, y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        x, y = self.saved
        chosen = elementwise.equal(x, self.spread(y)).astype(grad.dtype)
        return self.spread(grad) * (chosen / chosen.sum(axis=self.params["axis"], keepdims=True))


class Max(Extremum):
    numpy_function = np.max


class Min(Extremum):
    numpy_function = np.min


class Prod(Reduction):
    def forward(self, x: Array, *, axis: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Any:
        self.save(x)
        return np.prod(x, axis=axis, keepdims=keepdims)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return self.spread(grad) * _product_of_others(x, self.params["axis"])


def _product_of_others(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """For each element the product of the others over `axes`, without a division, so that zeros do no harm."""
    others = [i for i in range(x.ndim) if i not in axes]
    order = (*others, *axes)
    rows = x.permute_dims(order).reshape(tuple(x.shape[i] for i in others) + (-1,))
    before = after = elementwise.add(rows * 0.0, 1.0)
    length = rows.shape[-1]
    for shift in range(1, length):
        # Element i meets element i - shift as long as there is one.
        index = np.arange(length)
        neighbour = rows[..., (index - shift) % length]
        before = before * elementwise.where(index >= shift, neighbour, 1.0)
        after = after * elementwise.where(index < shift, neighbour, 1.0)
    inverse = tuple(np.argsort(order).tolist())
    return (before * after).reshape(tuple(x.shape[i] for i in order)).permute_dims(inverse)


class LogSumExp(Reduction):
    def forward(self, x: Array, *, axis: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Any:
        highest = np.max(x, axis=axis, keepdims=True)
        highest = np.where(np.isfinite(highest), highest, 0)
        with np.errstate(divide="ignore"):  # the log of an empty sum is -infinity
            y = np.log(np.exp(x - highest).sum(axis=axis, keepdims=True)) + highest
        y = y if keepdims else np.squeeze(y, axis)
        self.save(x, y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        x, y = self.saved
        return self.spread(grad) * elementwise.exp(x - self.spread(y))


class CumulativeSum(Op):
    def forward(self, x: Array, *, axis: int) -> Array:
        return np.cumsum(x, axis=axis, dtype=x.dtype if x.dtype.kind == "f" else None)

    def backward(self, grad: Tensor) -> Tensor:
        axis = self.params["axis"]
        backwards = tuple([slice(None)] * axis + [slice(None, None, -1)])
        return cumulative_sum(grad[backwards], axis=axis)[backwards]


class ArgMax(Op):
    differentiable = False

    def forward(self, x: Array, *, axis: int | None, keepdims: bool) -> Any:
        return np.argmax(x, axis=axis, keepdims=keepdims)


class ArgMin(Op):
    differentiable = False

    def forward(self, x: Array, *, axis: int | None, keepdims: bool) -> Any:
        return np.argmin(x, axis=axis, keepdims=keepdims)


class All(Op):
    differentiable = False

    def forward(self, x: Array, *, axis: Any, keepdims: bool) -> Any:
        return np.all(x, axis=axis, keepdims=keepdims)


class Any_(Op):
    differentiable = False

    def forward(self, x: Array, *, axis: Any, keepdims: bool) -> Any:
        return np.any(x, axis=axis, keepdims=keepdims)


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`."""
    return _reduce(Sum(), x, axis, keepdims)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`."""
    return _reduce(Mean(), x, axis, keepdims, needs_elements=True)


def var(x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The variance over `axis`: the sum of centred squares, divided by their number less `correction`.

    Raises:
        ValueError: no more values than `correction`.
    """
    shape, axes = _shape_and_axes("var", x, axis)
    count = math.prod(shape[i] for i in axes)
    if count <= correction:
        raise ValueError(f"var: {count} values over axis {axis} of shape {shape}, and a correction of {correction}")
    centred = elementwise.subtract(x, mean(x, axes, keepdims=True))
    return sum(centred * centred, axes, keepdims) / (count - correction)


def std(x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The square root of the variance over `axis`."""
    return elementwise.sqrt(var(x, axis, correction, keepdims))


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`; elements that tie share the gradient."""
    return _reduce(Max(), x, axis, keepdims, needs_elements=True)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`; elements that tie share the gradient."""
    return _reduce(Min(), x, axis, keepdims, needs_elements=True)


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`."""
    return _reduce(Prod(), x, axis, keepdims)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over `axis`, without overflow."""
    return _reduce(LogSumExp(), x, axis, keepdims, needs_elements=True)


def cumulative_sum(x: Any, axis: int | None = None) -> Tensor:
    """Each element plus all before it along `axis` (which may be left out where there is only one)."""
    ndim = np.ndim(getattr(x, "raw", x))
    if axis is None and ndim != 1:
        raise ValueError(f"cumulative_sum: axis must be given for an input with {ndim} axes")
    return CumulativeSum()(x, axis=checked_axis("cumulative_sum", axis or 0, ndim))


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the largest element along `axis` (of the flattened input, if None)."""
    return ArgMax()(x, axis=axis, keepdims=keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the smallest element along `axis` (of the flattened input, if None)."""
    return ArgMin()(x, axis=axis, keepdims=keepdims)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every element over `axis` is true."""
    return All()(x, axis=axis, keepdims=keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether some element over `axis` is true."""
    return Any_()(x, axis=axis, keepdims=keepdims)


def _reduce(op: Op, x: Any, axis: Axis, keepdims: bool, needs_elements: bool = False) -> Tensor:
    name = type(op).__name__.lower()
    shape, axes = _shape_and_axes(name, x, axis)
    if needs_elements and 0 in [shape[i] for i in axes]:
        raise ValueError(f"{name}: an input of shape {shape} has no elements over axis {axis}")
    return op(x, axis=axes, keepdims=keepdims, shape=shape)


def _shape_and_axes(name: str, x: Any, axis: Axis) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = np.shape(getattr(x, "raw", x))
    if axis is None:
        return shape, tuple(range(len(shape)))
    given = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    axes = tuple([checked_axis(name, i, len(shape)) for i in given])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names the same axis twice")
    return shape, axes


def checked_axis(name: str, axis: Any, ndim: int) -> int:
    """`axis`, counted from the front.

    Raises:
        ValueError: there is no such axis.
    """
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for an input with {ndim} axes")
    return int(axis) % ndim
