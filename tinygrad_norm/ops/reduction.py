"""Reductions: many numbers to few, over one axis, several, or all."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels
from tinygrad_norm.dtypes import Array, Axis, Shape
from tinygrad_norm.launch import compute, constant, launch
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.elementwise import NumPyOp
from tinygrad_norm.tape import Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_LONG = 1024


class Reduction(Op):
    """A reduction over `axis`; its subclasses share the way a gradient is spread out again."""

    def spread(self, reduced: Tensor) -> Tensor:
        """`reduced` with the axes that the reduction removed, as length 1."""
        axes, shape = self.params["axis"], self.params["shape"]
        kept = tuple([1 if i in axes else size for i, size in enumerate(shape)])
        return reduced if reduced.shape == kept else reduced.reshape(kept)


class Sum(Reduction):
    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape, dtype: Any) -> Any:
        wanted = _accumulator(x, axis) if dtype is None else dtype
        return _within_range(np.ndarray.sum, x, axis=axis, keepdims=keepdims, dtype=wanted)

    def backward(self, grad: Tensor) -> Tensor:
        return self.spread(grad).broadcast_to(self.params["shape"])


class Mean(Reduction):
    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape) -> Any:
        if len(shape) == 4 and axis == (2, 3) and x.dtype.kind == "f":
            y = compute(kernels.of(x).mean_of_pixels, x)
            launch(_bring_within_range, kernels.of(x).mean_of_pixels, x, y)
            return y.reshape(*shape[:2], *([1, 1] if keepdims else []))
        return _within_range(np.ndarray.mean, x, axis=axis, keepdims=keepdims, dtype=_accumulator(x, axis))

    def backward(self, grad: Tensor) -> Tensor:
        shape = self.params["shape"]
        return (self.spread(grad) / _count(shape, self.params["axis"])).broadcast_to(shape)


def _count(shape: Shape, axes: Sequence[int]) -> int:
    """Return how many values a reduction over `axes` takes for one of its own."""
    return math.prod([shape[i] for i in axes])


def _accumulator(x: Array, axis: Shape) -> Any:
    """Return the dtype to sum in: float64 where rounding would add up in float32; None for the usual one."""
    long = x.dtype.kind == "f" and math.prod([x.shape[i] for i in axis]) > _LONG
    return np.result_type(x, np.float64) if long else None


_SCALE = np.float64(2.0**-64)
"""What numbers are multiplied by so that the sum of 2^64 of the largest is within the range of float64."""


def _within_range(function: Callable[..., Any], x: Array, **how: Any) -> Any:
    """Return a sum or mean of x, taken of x scaled down, and scaled up, where its parts left the range of the dtype."""
    y = function(x, **how)
    if x.dtype.kind != "f" or (math.isfinite(y) if y.ndim == 0 else np.logical_and.reduce(np.isfinite(y), axis=None)):
        return y
    return np.where(np.isfinite(y), y, function(np.asarray(x * _SCALE), **how) / _SCALE)


def _bring_within_range(function: Callable[[Array], Array], x: Array, y: Array) -> None:
    """The same for y = function(x), in which it is written."""
    if not (finite := np.isfinite(y)).all():
        np.copyto(y, function(x * _SCALE) / _SCALE, "unsafe", where=~finite)


class Extremum(Reduction, NumPyOp):
    """The largest or smallest; elements that tie share the gradient evenly."""

    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape) -> Any:
        y = self.function(x, axis=axis, keepdims=keepdims)
        self.save(x, y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        x, y = self.saved
        # An extremum that is NaN was chosen among the NaNs.
        chosen = e.logical_or(e.equal(x, self.spread(y)), e.isnan(x)).astype(grad.dtype)
        return self.spread(grad) * (chosen / chosen.sum(axis=self.params["axis"], keepdims=True))


class Max(Extremum, function=np.max): ...


class Min(Extremum, function=np.min): ...


class Std(Reduction):
    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape, correction: float) -> Any:
        wide = x.astype(np.result_type(x, np.float64), copy=False)
        y = _deviation(wide, axis, correction)
        lost = ~((y > 1e-150) & (y < np.inf))  # what has squares that are no normal numbers, or is constant, or NaN
        if lost.any():
            size = np.abs(wide).max(axis=axis, keepdims=True)
            size = np.where((size > 0) & (size < np.inf), size, 1)
            y = np.where(lost, size * _deviation(wide / size, axis, correction), y)
        y = y.astype(e.real(x).dtype)
        y = y if keepdims else np.squeeze(y, axis)
        self.save(x, y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        x, y = self.saved
        y, axis = self.spread(y), self.params["axis"]
        constant = e.equal(y, 0)
        normal = (x - mean(x, axis, keepdims=True)) / e.where(constant, 1.0, y)
        degrees = _count(x.shape, axis) - self.params["correction"]
        return self.spread(grad) * e.where(constant, 0.0, normal) / degrees


def _deviation(x: Array, axis: Shape, correction: float) -> Array:
    """Return the square root of the variance, with the axes kept as length 1."""
    centred = x - x.mean(axis=axis, keepdims=True)
    squares = np.square(centred - centred.mean(axis=axis, keepdims=True))  # a large mean is rounded
    return np.sqrt(squares.sum(axis=axis, keepdims=True) / (_count(x.shape, axis) - correction))


class Prod(Reduction):
    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape, dtype: Any) -> Any:
        self.save(x)
        return np.prod(x, axis=axis, keepdims=keepdims, dtype=dtype)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return self.spread(grad) * _product_of_others(x, self.params["axis"])


def _product_of_others(x: Tensor, axes: Shape) -> Tensor:
    """Return for each element the product of the others over `axes`, without a division, so that zeros do no harm."""
    kept = [i for i in range(x.ndim) if i not in axes]
    order = (*kept, *axes)
    shape = [x.shape[i] for i in order]
    rows = x.permute_dims(order).reshape((*shape[: len(kept)], math.prod(shape[len(kept) :])))
    others = _product_before(rows) * _product_before(rows[..., ::-1])[..., ::-1]
    return others.reshape(shape).permute_dims(tuple(np.argsort(order)))


def _product_before(rows: Tensor) -> Tensor:
    """Return for each element of a row the product of those before it, twice as many with each round.

    Source: Hillis and Steele, Data parallel algorithms, 1986.
    """
    place = constant(np.arange(rows.shape[-1]))

    def before(values: Tensor, distance: int) -> Tensor:
        return e.where(constant(place >= distance), values[..., constant(place - distance)], 1.0)

    product, reach = before(rows, 1), 1
    while reach < len(place):
        product = product * before(product, reach)
        reach *= 2
    return product


class LogSumExp(Reduction):
    def forward(self, x: Array, *, axis: Shape, keepdims: bool, shape: Shape) -> Any:
        z = e.real(x)
        highest = np.max(z, axis=axis, keepdims=True, initial=-np.inf)
        highest = np.where(np.isfinite(highest), highest, 0)
        y = np.log(np.exp(z - highest).sum(axis=axis, keepdims=True, dtype=_accumulator(z, axis))) + highest
        y = y if keepdims else np.squeeze(y, axis)
        self.save(x, y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        x, y = self.saved
        weights = Softmax()(x, axis=self.params["axis"])  # exp(x - y) would lose what large values differ by
        return self.spread(grad) * e.where(e.equal(self.spread(y), -np.inf), 0.0, weights)


class Softmax(Op):
    """exp(x) over its sum along an axis or several, with differences from the largest, so that nothing overflows."""

    def forward(self, x: Array, *, axis: Any) -> Array:
        z = e.real(x)
        y = np.exp(z - z.max(axis=axis, keepdims=True, initial=-np.inf))
        y /= y.sum(axis=axis, keepdims=True, dtype=_accumulator(y, axis if isinstance(axis, tuple) else (axis,)))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return y * (grad - (grad * y).sum(axis=self.params["axis"], keepdims=True))


class LogSoftmax(Op):
    def forward(self, x: Array, *, axis: int) -> Array:
        z = e.real(x)
        y = z - z.max(axis=axis, keepdims=True, initial=-np.inf)
        y -= np.log(np.exp(y).sum(axis=axis, keepdims=True, dtype=_accumulator(y, (axis,))))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad - e.exp(y) * grad.sum(axis=self.params["axis"], keepdims=True)


class CumulativeSum(Op):
    def forward(self, x: Array, *, axis: int, dtype: Any) -> Array:
        wanted = np.result_type(x, np.float64) if x.dtype.kind == "f" else dtype
        return _within_range(np.ndarray.cumsum, x, axis=axis, dtype=wanted)

    def backward(self, grad: Tensor) -> Tensor:
        axis = self.params["axis"]
        backwards = (*[slice(None)] * axis, slice(None, None, -1))
        return cumulative_sum(grad[backwards], axis=axis)[backwards]


class DiscreteReduction(Reduction, NumPyOp):
    """A reduction to indices or truth; no gradient goes through."""

    differentiable = False

    def forward(self, x: Array, *, axis: Any, keepdims: bool, shape: Shape) -> Any:
        return self.function(x, axis=axis, keepdims=keepdims)


class ArgMax(DiscreteReduction, function=np.argmax): ...


class ArgMin(DiscreteReduction, function=np.argmin): ...


class AllTrue(DiscreteReduction, function=np.all): ...


class AnyTrue(DiscreteReduction, function=np.any): ...


def sum(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """Return the sum over `axis`, of the elements as `dtype` if given: an integer one wraps around, as in NumPy.

    Example:
        >>> ops.sum([[1.0, 2.0], [3.0, 4.0]], axis=0, keepdims=True)
        Tensor([[4., 6.]])
    """
    return _reduce("sum", Sum(), _cast(x, dtype), axis, keepdims, dtype=_integer(dtype))


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the mean over `axis`.

    Example:
        >>> ops.mean([[1.0, 3.0], [5.0, 7.0]], axis=0)
        Tensor([3., 5.])
    """
    return _reduce("mean", Mean(), x, axis, keepdims, nonempty=True)


def var(x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the variance over `axis`: the sum of centred squares, divided by their number less `correction`.

    Raises:
        ValueError: no more values than `correction`.

    Example:
        >>> ops.var([1.0, 3.0]), ops.var([1.0, 3.0], correction=1)
        (Tensor(1.), Tensor(2.))
    """
    count, axes = _counted("var", x, axis, correction)
    centred = e.subtract(x, mean(x, axes, keepdims=True))
    centred = centred - mean(centred, axes, keepdims=True)  # 0, but for the rounding of a large mean
    return sum(centred * centred, axes, keepdims) / (count - correction)


def std(x: Any, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """Return the square root of the variance over `axis`, finite where the variance is not; at 0 its gradient is 0.

    Raises:
        ValueError: no more values than `correction`.

    Example:
        >>> ops.std([1.0, 3.0])
        Tensor(1.)
    """
    _, axes = _counted("std", x, axis, correction)
    return Std()(x, axis=axes, keepdims=keepdims, shape=shape_of(x), correction=correction)


def _counted(name: str, x: Any, axis: Axis, correction: float) -> tuple[int, Shape]:
    """Return how many values share a variance, more than `correction`, and the axes."""
    shape = shape_of(x)
    axes = checked_axes(name, axis, len(shape))
    count = _count(shape, axes)
    if count <= correction:
        raise ValueError(f"{name}: there are more values than correction={correction}, got {count} of shape {shape}")
    return count, axes


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the largest element over `axis`; elements that tie share the gradient.

    Example:
        >>> x = Tensor([2.0, 2.0, 1.0], requires_grad=True)
        >>> ops.max(x).backward()
        >>> x.grad
        Tensor([0.5, 0.5, 0. ])
    """
    return _reduce("max", Max(), x, axis, keepdims, nonempty=True)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the smallest element over `axis`; elements that tie share the gradient.

    Example:
        >>> ops.min([[1.0, 5.0], [7.0, 2.0]], axis=1)
        Tensor([1., 2.])
    """
    return _reduce("min", Min(), x, axis, keepdims, nonempty=True)


def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
    """Return the product over `axis`, of the elements as `dtype` if it is given.

    Example:
        >>> ops.prod([2.0, 3.0, 4.0])
        Tensor(24.)
    """
    return _reduce("prod", Prod(), _cast(x, dtype), axis, keepdims, dtype=_integer(dtype))


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return log(sum(exp(x))) over `axis`, without overflow; of nothing it is -inf.

    Example:
        >>> print(ops.logsumexp([1000.0, 1000.0]).numpy().round(2))
        1000.69
    """
    return _reduce("logsumexp", LogSumExp(), x, axis, keepdims)


def cumulative_sum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """Return each element plus all before it along `axis` (which may be left out where there is only one).

    Example:
        >>> ops.cumulative_sum([1.0, 2.0, 3.0])
        Tensor([1., 3., 6.])
    """
    _, place = shape_and_axis("cumulative_sum", x, axis, optional=True)
    return CumulativeSum()(_cast(x, dtype), axis=place, dtype=_integer(dtype))


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the largest element along `axis` (of the flattened input, if None).

    Example:
        >>> ops.argmax([[1.0, 5.0], [7.0, 2.0]], axis=1)
        Tensor([1, 0])
    """
    return _reduce("argmax", ArgMax(), x, axis, keepdims, nonempty=True, one_axis=True)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Return the index of the smallest element along `axis` (of the flattened input, if None).

    Example:
        >>> ops.argmin([[1.0, 5.0], [7.0, 2.0]], axis=1)
        Tensor([0, 1])
    """
    return _reduce("argmin", ArgMin(), x, axis, keepdims, nonempty=True, one_axis=True)


def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether every element over `axis` is true.

    Example:
        >>> ops.all([[True, False], [True, True]], axis=1)
        Tensor([False,  True])
    """
    return _reduce("all", AllTrue(), x, axis, keepdims)


def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return whether some element over `axis` is true.

    Example:
        >>> ops.any([[True, False], [False, False]], axis=1)
        Tensor([ True, False])
    """
    return _reduce("any", AnyTrue(), x, axis, keepdims)


def _reduce(
    name: str, op: Op, x: Any, axis: Axis, keepdims: bool, nonempty: bool = False, one_axis: bool = False, **how: Any
) -> Tensor:
    if one_axis and not isinstance(axis, int | np.integer | None):
        raise TypeError(f"{name}: an axis is an integer, or None for the flattened input, got {axis!r}")
    shape = shape_of(x)
    axes = checked_axes(name, axis, len(shape))
    if nonempty and 0 in [shape[i] for i in axes]:
        over = "" if axis is None else f" over axis {axis}"
        raise ValueError(f"{name}: an input of shape {shape} has no elements{over}")
    wanted = axes if not one_axis else None if axis is None else axes[0]
    return op(x, axis=wanted, keepdims=keepdims, shape=shape, **how)


def _cast(x: Any, dtype: Any) -> Any:
    return x if dtype is None else e.astype(x, dtype)


def _integer(dtype: Any) -> Any:
    """Return a dtype that is summed in as it is, one of integers or bool; floats are summed as finely as always."""
    return None if dtype is None or np.dtype(dtype).kind == "f" else np.dtype(dtype)


def shape_of(x: Any) -> Shape:
    """Return the shape of a tensor, an array, a number or nested lists."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def checked_axes(name: str, axis: Axis, ndim: int) -> Shape:
    """Return one axis or several, counted from the front; all, if None.

    Raises:
        ValueError: there is no such axis, or one is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    axes = tuple([checked_axis(name, i, ndim) for i in (axis if isinstance(axis, tuple | list) else (axis,))])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names the same axis twice")
    return axes


def checked_axis(name: str, axis: Any, ndim: int) -> int:
    """Return `axis`, counted from the front.

    Raises:
        ValueError: there is no such axis.
        TypeError: it is no integer.
    """
    try:
        place = operator.index(axis)
    except TypeError:
        raise TypeError(f"{name}: an axis is an integer, got {axis!r}") from None
    if not -ndim <= place < ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for an input with {ndim} axes")
    return place % ndim


def shape_and_axis(name: str, x: Any, axis: int | None, optional: bool = False) -> tuple[Shape, int]:
    """Return the shape of x, and `axis` counted from the front; where it is optional and None, the only one.

    Raises:
        ValueError: there is no such axis, or none is given and there is not just one.
        TypeError: it is no integer.
    """
    shape = x.shape if hasattr(x, "shape") else np.shape(x)
    if optional and axis is None:
        if len(shape) != 1:
            raise ValueError(f"{name}: axis is given for an input with {len(shape)} axes")
        return shape, 0
    return shape, checked_axis(name, axis, len(shape))
