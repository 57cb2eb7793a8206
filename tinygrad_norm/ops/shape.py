"""Ops that move elements and compute nothing: shapes, joining, cutting, indexing."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import constant, is_constant, launch, read
from tinygrad_norm.ops.reduction import checked_axes, checked_axis, shape_and_axis, shape_of
from tinygrad_norm.tape import Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class Reshape(Op):
    def forward(self, x: Array, *, shape: Shape, before: Shape) -> Array:
        return x.reshape(shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad.reshape(self.params["before"])


class PermuteDims(Op):
    def forward(self, x: Array, *, axes: Shape) -> Array:
        return x.transpose(axes)

    def backward(self, grad: Tensor) -> Tensor:
        axes = self.params["axes"]
        return grad.permute_dims(tuple(sorted(range(len(axes)), key=axes.__getitem__)))


class BroadcastTo(Op):
    broadcasts = True

    def forward(self, x: Array, *, shape: Shape) -> Array:
        return np.broadcast_to(x, shape)

    def backward(self, grad: Tensor) -> Tensor:
        return grad


class Concat(Op):
    broadcasts = True  # parts of different dtypes are promoted

    def forward(self, *parts: Array, axis: int) -> Array:
        self.save(*[part.shape[axis] for part in parts])
        return np.concatenate(parts, axis)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        before = (slice(None),) * self.params["axis"]
        cuts = zip(pairwise([0, *np.cumsum(self.saved).tolist()]), self.needs_input_grad, strict=True)
        return tuple([grad[(*before, slice(*ends))] if needed else None for ends, needed in cuts])


class Pad(Op):
    def forward(self, x: Array, *, widths: tuple[tuple[int, int], ...], value: float) -> Array:
        return np.pad(x, widths, constant_values=value)

    def backward(self, grad: Tensor) -> Tensor:
        widths = self.params["widths"]
        return grad[tuple(slice(a, n - b) for (a, b), n in zip(widths, grad.shape, strict=True))]


class Roll(Op):
    def forward(self, x: Array, *, shift: Any, axis: Any) -> Array:
        return np.roll(x, shift, axis)

    def backward(self, grad: Tensor) -> Tensor:
        return roll(grad, np.negative(self.params["shift"]), self.params["axis"])


class GetItem(Op):
    def forward(self, x: Array, *, key: Any, shape: Shape) -> Any:
        return x[key]

    def backward(self, grad: Tensor) -> Tensor:
        return PutItem()(grad, key=self.params["key"], shape=self.params["shape"])


class PutItem(Op):
    """Zeros with the input added at `key`: the way back of indexing, whose own way back is indexing."""

    def forward(self, x: Array, *, key: Any, shape: Shape) -> Array:
        y = np.zeros(shape, x.dtype)
        if _is_basic(key):
            y[key] = x
        else:
            np.add.at(y, key, x)  # an element picked twice gets both gradients
        return y

    def backward(self, grad: Tensor) -> Tensor:
        return grad[self.params["key"]]


def _is_basic(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or part is Ellipsis or isinstance(part, slice | int) for part in parts)


def getitem(x: Any, key: Any) -> Tensor:
    """Return x[key], for all keys that NumPy knows: numbers, slices, None, Ellipsis, integer and boolean arrays.

    Example:
        >>> ops.getitem([[1.0, 2.0], [3.0, 4.0]], (slice(None), 1))
        Tensor([2., 4.])
    """
    return GetItem()(x, key=_fixed(plain_key(key)), shape=shape_of(x))


def _fixed(key: Any) -> Any:
    """A key, or a word that what it picks has a shape that depends on elements."""
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, np.ndarray) and part.dtype == np.bool_ and not is_constant(part):
            read("indexing by a mask")
    return key


def plain_key(key: Any) -> Any:
    """Return `key` without tensors, and with arrays of its own."""
    if isinstance(key, tuple):
        return tuple([plain_key(part) for part in key])
    if key is None or key is Ellipsis or isinstance(key, slice | int):
        return key
    given = getattr(key, "raw", key)
    if isinstance(given, np.ndarray):
        array: Array = given if is_constant(given) else launch(np.array, given)
    else:  # lists, and NumPy's numbers
        array = constant(np.array(given, np.int64 if isinstance(key, list) and not key else None))
    if array.dtype.kind not in "biu":
        raise TypeError(f"an index is made of integers or booleans, got {array.dtype}")
    if array.ndim or array.dtype == np.bool_:
        return array
    if not is_constant(array):
        read("an index")
    return operator.index(array)


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """Return the slices of x at `indices` along `axis` (which may be left out where there is only one).

    Example:
        >>> ops.take([10.0, 20.0, 30.0], [2, 0])
        Tensor([30., 10.])
    """
    shape, axis = shape_and_axis("take", x, axis, optional=True)
    return GetItem()(x, key=plain_key((*[slice(None)] * axis, indices)), shape=shape)


def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Tensor:
    """Return the elements at `indices` along `axis`; other axes of `indices` are those of x, or of length 1.

    Raises:
        ValueError: `indices` do not broadcast with x on the other axes.

    Example:
        >>> ops.take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1)
        Tensor([[2.],
                [3.]])
    """
    shape, axis = shape_and_axis("take_along_axis", x, axis)
    picked = _indices("take_along_axis", indices, shape)
    if any(i != axis and m not in (1, n) and n != 1 for i, (n, m) in enumerate(zip(shape, picked.shape, strict=True))):
        raise ValueError(
            f"take_along_axis: indices of shape {picked.shape} do not broadcast with an input of shape {shape} "
            f"on the axes other than {axis}"
        )
    key = [constant(each) for each in np.ogrid[tuple(slice(n) for n in shape)]]
    key[axis] = picked
    return getitem(x, tuple(key))


def gather(x: Any, axis: int, indices: Any) -> Tensor:
    """Return the elements at `indices` along `axis`; `indices` may be shorter on other axes: PyTorch's gather.

    Raises:
        ValueError: `indices` are longer than x on another axis.

    Example:
        >>> ops.gather([[1.0, 2.0], [3.0, 4.0]], 1, [[1], [0]])
        Tensor([[2.],
                [3.]])
    """
    shape, axis = shape_and_axis("gather", x, axis)
    picked = _indices("gather", indices, shape)
    others = tuple([n if i == axis else m for i, (n, m) in enumerate(zip(shape, picked.shape, strict=True))])
    if any(m > n for n, m in zip(shape, others, strict=True)):
        raise ValueError(
            f"gather: indices of shape {picked.shape} exceed an input of shape {shape} on an axis other than {axis}"
        )
    if others != shape:
        x = getitem(x, tuple([slice(m) for m in others]))
    return take_along_axis(x, picked, axis)


def _indices(name: str, indices: Any, shape: Shape) -> Array:
    """Return `indices` as an array of integers with as many axes as `shape`."""
    picked = np.asarray(getattr(indices, "raw", indices))
    if picked.dtype.kind not in "iu":
        raise TypeError(f"{name}: indices are integers, got {picked.dtype}")
    if picked.ndim != len(shape):
        raise ValueError(f"{name}: indices have {len(shape)} axes, as the input has, got shape {picked.shape}")
    return picked


def reshape(x: Any, shape: Any) -> Tensor:
    """Return the elements of x, in C order, in another shape; one length may be -1.

    Raises:
        ValueError: the elements do not fit that shape.

    Example:
        >>> ops.reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
        Tensor([[1., 2.],
                [3., 4.]])
    """
    before = shape_of(x)
    wanted = tuple([operator.index(n) for n in shape]) if isinstance(shape, Sequence) else (operator.index(shape),)
    size, known = math.prod(before), math.prod([n for n in wanted if n != -1])
    fits = size == known if -1 not in wanted else wanted.count(-1) == 1 and known and size % known == 0
    if not fits or min(wanted, default=0) < -1:
        raise ValueError(f"reshape: {before} has {size} elements, which do not fit {wanted}")
    return Reshape()(x, shape=wanted, before=before)


def flatten(x: Any, start_axis: int = 0, end_axis: int = -1) -> Tensor:
    """Return the axes from `start_axis` to `end_axis`, both included, as one.

    Raises:
        ValueError: `end_axis` lies before `start_axis`.

    Example:
        >>> ops.flatten(np.ones((2, 3, 4)), 1).shape
        (2, 12)
    """
    shape = shape_of(x)
    if not shape:
        return reshape(x, (1,))
    first = checked_axis("flatten", start_axis, len(shape))
    last = checked_axis("flatten", end_axis, len(shape))
    if last < first:
        raise ValueError(f"flatten: end_axis {end_axis} lies before start_axis {start_axis} in shape {shape}")
    return reshape(x, (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def permute_dims(x: Any, axes: Any) -> Tensor:
    """Return x with its axes in another order, as a view.

    Raises:
        ValueError: `axes` are no order of the axes of x.

    Example:
        >>> ops.permute_dims(np.ones((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    ndim = len(shape_of(x))
    order = tuple([checked_axis("permute_dims", axis, ndim) for axis in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"permute_dims: axes {tuple(axes)} are no order of the {ndim} axes of shape {shape_of(x)}")
    return PermuteDims()(x, axes=order)


def matrix_transpose(x: Any) -> Tensor:
    """Return x with its last two axes exchanged.

    Raises:
        ValueError: x has fewer than two axes.

    Example:
        >>> ops.matrix_transpose([[1.0, 2.0], [3.0, 4.0]])
        Tensor([[1., 3.],
                [2., 4.]])
    """
    ndim = len(shape_of(x))
    if ndim < 2:
        raise ValueError(f"matrix_transpose: the input has at least two axes, got shape {shape_of(x)}")
    return PermuteDims()(x, axes=(*range(ndim - 2), ndim - 1, ndim - 2))


def moveaxis(x: Any, source: int, destination: int) -> Tensor:
    """Return x with one axis at another place.

    Example:
        >>> ops.moveaxis(np.ones((2, 3, 4)), 1, -1).shape
        (2, 4, 3)
    """
    ndim = len(shape_of(x))
    axis = checked_axis("moveaxis", source, ndim)
    order = [i for i in range(ndim) if i != axis]
    order.insert(checked_axis("moveaxis", destination, ndim), axis)
    return PermuteDims()(x, axes=tuple(order))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return x without the axes of length 1 that `axis` names (all of them, if None).

    Raises:
        ValueError: a named axis has another length than 1.

    Example:
        >>> ops.squeeze(np.ones((1, 3, 1)), 0).shape
        (3, 1)
    """
    shape = shape_of(x)
    if axis is None:
        return reshape(x, tuple([n for n in shape if n != 1]))
    gone = checked_axes("squeeze", axis, len(shape))
    for i in gone:
        if shape[i] != 1:
            raise ValueError(f"squeeze: axis {i} of shape {shape} has length {shape[i]}, not 1")
    return reshape(x, tuple([n for i, n in enumerate(shape) if i not in gone]))


def expand_dims(x: Any, axis: int = 0) -> Tensor:
    """Return x with a new axis of length 1 at `axis`.

    Example:
        >>> ops.expand_dims([1.0, 2.0], 1).shape
        (2, 1)
    """
    shape = shape_of(x)
    place = checked_axis("expand_dims", axis, len(shape) + 1)
    return reshape(x, (*shape[:place], 1, *shape[place:]))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return x stretched to `shape` by NumPy's rules, as a view that cannot be written.

    Raises:
        ValueError: x does not stretch to that shape.

    Example:
        >>> ops.broadcast_to([1.0, 2.0], (2, 2))
        Tensor([[1., 2.],
                [1., 2.]])
    """
    before, wanted = shape_of(x), tuple([operator.index(n) for n in shape])
    try:
        fits = np.broadcast_shapes(before, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"broadcast_to: shape {before} does not stretch to {wanted}")
    return BroadcastTo()(x, shape=wanted)


def concat(arrays: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return tensors joined along `axis` (flattened first, if None).

    Raises:
        ValueError: there is nothing to join, or the shapes differ on another axis.

    Example:
        >>> ops.concat([[1.0, 2.0], [3.0]])
        Tensor([1., 2., 3.])
    """
    parts = list(arrays)
    if not parts:
        raise ValueError("concat: there is nothing to join; give at least one tensor")
    if axis is None:
        return concat([flatten(part) for part in parts])
    shapes = [shape_of(part) for part in parts]
    axis = checked_axis("concat", axis, len(shapes[0]))
    if len({(*shape[:axis], None, *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError(f"concat: along axis {axis} the shapes agree on all other axes, got {shapes}")
    return Concat()(*parts, axis=axis)


def stack(arrays: Sequence[Any], axis: int = 0) -> Tensor:
    """Return tensors of one shape joined along a new axis.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> ops.stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
        Tensor([[1., 3.],
                [2., 4.]])
    """
    parts = list(arrays)
    if len({shape_of(part) for part in parts}) > 1:
        raise ValueError(f"stack: the shapes are equal, got {[shape_of(part) for part in parts]}")
    return concat([expand_dims(part, axis) for part in parts], axis)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Return x cut along `axis` into equal sections (a number), or at indices (a sequence), as numpy.split.

    Raises:
        ValueError: the axis cannot be cut into as many equal sections.

    Example:
        >>> ops.split([1.0, 2.0, 3.0, 4.0], 2)
        (Tensor([1., 2.]), Tensor([3., 4.]))
    """
    shape, axis = shape_and_axis("split", x, axis)
    length = shape[axis]
    if isinstance(indices_or_sections, int | np.integer):
        sections = int(indices_or_sections)
        if sections < 1 or length % sections:
            raise ValueError(f"split: axis {axis} of shape {shape} cannot be cut into {sections} equal sections")
        cuts = [i * length // sections for i in range(sections + 1)]
    else:
        cuts = [0, *indices_or_sections, length]
    before = (slice(None),) * axis
    return tuple([getitem(x, (*before, slice(a, b))) for a, b in pairwise(cuts)])


def pad(x: Any, pad_width: Any, constant_values: float = 0.0) -> Tensor:
    """Return x with a border of `constant_values`.

    Args:
        x: any shape.
        pad_width: (before, after) for each axis, or one such pair, or one number, for all.
        constant_values: a number.

    Raises:
        ValueError: a width is negative or no integer, or there are others than one, two or a pair for each axis.

    Example:
        >>> ops.pad([1.0, 2.0], (1, 2))
        Tensor([0., 1., 2., 0., 0.])
    """
    ndim, given = len(shape_of(x)), np.asarray(pad_width)
    if given.dtype.kind not in "iu" or (given < 0).any():
        raise ValueError(f"pad: pad_width holds integers of at least 0, got {pad_width}")
    if given.shape not in ((), (1,), (2,), (1, 2), (ndim, 2)):
        raise ValueError(f"pad: pad_width is a number, a pair, or a pair for each of {ndim} axes, got {pad_width}")
    widths = np.broadcast_to(given, (ndim, 2)).tolist()
    return Pad()(x, widths=tuple([tuple(pair) for pair in widths]), value=constant_values)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return x in reverse along `axis` (all axes, if None).

    Example:
        >>> ops.flip([1.0, 2.0, 3.0])
        Tensor([3., 2., 1.])
    """
    ndim = len(shape_of(x))
    axes = checked_axes("flip", axis, ndim)
    return getitem(x, tuple([slice(None, None, -1 if i in axes else None) for i in range(ndim)]))


def roll(x: Any, shift: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Return x shifted along `axis` (flattened, if None); what leaves at one end comes in at the other.

    Args:
        x: any shape.
        shift: by how many places, towards the end: a number, or one for each axis.
        axis: one axis or several; one named twice is shifted twice.

    Raises:
        ValueError: there are several shifts, and not as many as axes.

    Example:
        >>> ops.roll([1.0, 2.0, 3.0], 1)
        Tensor([3., 1., 2.])
    """
    ndim = len(shape_of(x))
    axes = None if axis is None else tuple([checked_axis("roll", i, ndim) for i in np.atleast_1d(axis)])
    if np.ndim(shift) and np.size(shift) != len(axes or ()):
        raise ValueError(f"roll: there is one shift, or one for each axis, got shift {shift} and axis {axis}")
    return Roll()(x, shift=shift, axis=axes)
