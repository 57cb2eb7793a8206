"""Norms of values of which some do not count, as the padding of sequences: `norm(x, mask)`, where True counts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
from numpy.ma import MaskedArray

from tinygrad_norm import ops
from tinygrad_norm.definitions import activation as formulas
from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.dtypes import Array, Shape, plain
from tinygrad_norm.launch import constant, launch, read
from tinygrad_norm.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from tinygrad_norm.nn.norms.base import FromDefinition
from tinygrad_norm.ops.activation import fusible
from tinygrad_norm.ops.arguments import label, shape_dtypes_of, without_gradient
from tinygrad_norm.ops.normalization import NormSpec, move, norm_spec, norm_with_running
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor


def masked_norm(x: Any, mask: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """weight · (x - mean) / √(var + eps) + bias of what counts, with its mean and var, and 0 of all else.

    `mask` is 1 where a value of x counts, and 0 where it doesn't: nothing is computed of that, as it may be NaN.
    """
    xp = x.__array_namespace__()
    total = xp.sum(mask, axis=axes, keepdims=True)
    count = xp.maximum(total, 1.0)
    known = xp.where(mask > 0, x, 0.0)
    sums = xp.sum(known, axis=axes, keepdims=True)
    mean = sums / count
    squares = xp.sum(xp.where(mask > 0, xp.square(known - mean), 0.0), axis=axes, keepdims=True)
    var = xp.where(total > 0, squares / count, 1.0)  # 1 of nothing, so that there is no 0 / 0 without eps
    y = weight * (known - mean) / xp.sqrt(var + eps) + bias
    return xp.where(mask > 0, y, 0.0), mean, var


@functools.cache
def masked_op(activation: Activation) -> DerivedNorm:
    """Return the op of `masked_norm`, with y activated where it counts."""
    if activation is None:
        return derive(masked_norm)

    @functools.wraps(masked_norm)
    def activated(x: Any, mask: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
        y, *statistics = masked_norm(x, mask, weight, bias, axes=axes, eps=eps)
        y = x.__array_namespace__().where(mask > 0, formulas.activate(y, activation), 0.0)
        return (y, *statistics)

    return derive(activated)


class Packed(Op):
    """The positions of x (N, C, ...) that count, as rows (M, C)."""

    def forward(self, x: Array, *, mask: Array) -> Array:
        rows: Array = np.moveaxis(x, 1, -1)[mask]
        return rows

    def backward(self, grad: Tensor) -> Tensor:
        return Unpacked()(grad, **self.params)


class Unpacked(Op):
    """Rows (M, C) at the positions that count, in their order, and 0 elsewhere: (N, C, ...)."""

    def forward(self, rows: Array, *, mask: Array) -> Array:
        y = np.zeros((*mask.shape, rows.shape[1]), rows.dtype)
        y[mask] = rows
        return np.moveaxis(y, -1, 1)

    def backward(self, grad: Tensor) -> Tensor:
        return Packed()(grad, **self.params)


def as_mask(name: str, shape: Shape, mask: Any, without: Shape) -> Array:
    """Return a mask as True and False, which broadcasts against an input and has its rank.

    Args:
        name: what the error begins with.
        shape: the input's.
        mask: an array, a tensor or lists, which broadcasts against the input, or leaves out some of its axes.
        without: these axes.

    Raises:
        ValueError: it has another shape, or holds something else than 0 and 1.
        TypeError: it holds no numbers.
        RuntimeError: it wants a gradient.
    """
    given = without_gradient(name, "mask", mask)
    if isinstance(given, MaskedArray):
        plain(given)  # which refuses it
    try:
        array = given if isinstance(given, np.ndarray) else constant(np.asarray(given))
    except ValueError:
        raise ValueError(f"{label(name)}: mask has rows of one length, got lists of several lengths") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{label(name)}: mask is of True and False, or of 1 and 0, got {array.dtype}")
    counted: Array = launch(_as_truths, label(name), array)
    if without and counted.ndim == len(shape) - len(without):
        counted = np.expand_dims(counted, without)
    counted = counted.reshape((1,) * (len(shape) - counted.ndim) + counted.shape)
    if len(shape) != counted.ndim or any(n not in (1, m) for n, m in zip(counted.shape, shape, strict=True)):
        fewer = tuple(n for axis, n in enumerate(shape) if axis not in without)
        raise ValueError(
            f"{label(name)}: mask has shape {fewer}, or one that broadcasts against the input, {shape}, got "
            f"{array.shape}"
        )
    return counted


def _as_truths(name: str, array: Array) -> Array:
    counted = array.astype(bool)
    if not np.array_equal(counted, array):
        odd = array[counted != array].flat[0]
        raise ValueError(f"{name}: mask is of True and False, or of 1 and 0, got {odd}")
    return counted


class Masked(FromDefinition):
    """A norm by statistics of what counts."""

    definition: ClassVar[Callable[..., Any]] = staticmethod(masked_norm)

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        """Normalize x; what the mask says doesn't count comes out as 0, and gets a gradient of 0.

        Args:
            x: as in the norm without a mask.
            mask: True (or 1) where a value counts: a shape that broadcasts against x, or that of x without its channel
                axis (in layer norm: without those that are normalized). None: all count.

        Raises:
            ValueError, TypeError: also as in the norm without a mask.
        """
        return self.run(x) if mask is None else self.run(x, mask)

    def channel_axis(self, x: Tensor) -> int:
        """The axis of x that its channels stand on."""
        return next(axes for axes in self.layouts if len(axes) == len(x.shape)).index("C")

    def normalize_counted(self, x: Tensor, mask: Array, spec: NormSpec) -> tuple[Tensor, list[Array]]:
        """Return y, and the mean and variance of what counts."""
        seen = launch(in_view(mask, spec).astype, x.dtype)
        affine = [ops.reshape(each, spec["affine"]) if each is not None else each for each in (self.weight, self.bias)]
        given = [start if each is None else each for each, start in zip(affine, (1.0, 0.0), strict=True)]
        op = masked_op(fusible(self.activation))
        y, mean, var = op(x, seen, *given, axes=spec["axes"], eps=spec["eps"], view=spec["view"])
        return y, [mean.raw, var.raw]


def in_view(mask: Array, spec: NormSpec) -> Array:
    """A mask of x's rank as one of the view's, in which channels may be in groups."""
    if len(spec["view"]) == mask.ndim:
        return mask
    groups = (1, 1) if mask.shape[1] == 1 else spec["view"][1:3]
    return mask.reshape(mask.shape[0], *groups, *mask.shape[2:])


class MaskedRunningNorm(Masked):
    """What masked batch and instance norm share: the running statistics, which are those of what counts."""

    keeps_variance: ClassVar[bool] = False
    op: ClassVar[Callable[..., Tensor]]

    def normalize(self, x: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().normalize(x)
        mask = as_mask(type(self).__name__, x.shape, mask, (self.channel_axis(x),))
        above: Any = super()
        found: Tensor = above.normalize(x, mask)
        return found

    def batches_in(self, x: Tensor, *given: Any) -> Any:
        """Return 0 of what is wholly masked, where running statistics are averages, and 1 else."""
        return launch(np.any, *given) if given and self.momentum is None else 1

    def compute(
        self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float, mask: Array | None = None
    ) -> Tensor:
        """Normalize by statistics of what counts, or by the running ones."""
        above: Any = super()
        if mask is None:
            y: Tensor = above.compute(x, running, own, momentum)
            return y
        mask = mask.reshape((1,) * (len(x.shape) - mask.ndim) + mask.shape)  # of one image, now a batch of one
        if not own:
            return ops.where(mask, above.compute(ops.where(mask, x, 0.0), running, own, momentum), 0.0)

        def normalize(spec: NormSpec) -> tuple[Tensor, Sequence[Array]]:
            count = launch(how_many, mask, x.shape, spec["axes"])
            y, statistics = self.normalize_counted(x, mask, spec)
            if running[0] is not None:
                before = tuple([each.raw for each in running if each is not None])
                move(running, launch(averaged, before, tuple(statistics), count), momentum)
            return y, ()

        affine, name = (self.weight, self.bias), type(self).op.__name__
        return norm_with_running(name, x, running, affine, own, momentum, self.eps, self.activation, normalize)


def how_many(mask: Array, shape: Shape, axes: Shape) -> Array:
    """How many values of an input count along some axes: [images, channels], or one row for all images."""
    shared = math.prod(shape[axis] // mask.shape[axis] for axis in axes)
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return np.broadcast_to(mask.sum(axis=axes, keepdims=True) * shared, kept).reshape(-1, shape[1])


def averaged(running: Sequence[Array], statistics: Sequence[Array], count: Array) -> list[Array]:
    """The mean and the unbiased variance of each channel, averaged over the images that have one.

    Where none has, they are the running ones, which so stay as they are.
    """
    found = []
    factors = np.ones(count.shape), count / np.maximum(count - 1, 1)
    for old, new, factor, least in zip(running, statistics, factors, (1, 2), strict=True):
        enough = count >= least
        total = np.where(enough, new.reshape(count.shape) * factor, 0.0).sum(axis=0)
        found.append(np.where(enough.any(axis=0), total / np.maximum(enough.sum(axis=0), 1), old))
    return found


def _check_count(name: str, count: Array) -> None:
    if (fewest := count.min()) < 2:
        raise ValueError(
            f"{name}: of each channel at least 2 values count, as fewer have no variance, "
            f"got {fewest} of channel {count.argmin()}; use a larger batch, or eval()"
        )


class MaskedBatchNorm(MaskedRunningNorm, BatchNorm):
    """Batch norm by the mean and variance of the values that count: `norm(x, mask)`.

    The running variance is unbiased by how many count. Inference takes the running statistics, and its mask says only
    where y is 0. Arguments as in `BatchNorm2D`.

    Raises:
        ValueError: also, in training, where fewer than two values of a channel count.
    """

    def compute(
        self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float, mask: Array | None = None
    ) -> Tensor:
        """Normalize by statistics of what counts; where that is the same for all channels, as rows of batch norm."""
        if mask is None or not own or 0 in x.shape:
            return super().compute(x, running, own, momentum, mask)
        count = launch(how_many, mask, x.shape, (0, *range(2, len(x.shape))))
        launch(_check_count, label(type(self).__name__), count)
        if mask.shape[1] == 1:
            read("a norm of what a mask counts, as many rows as that is,")
            counted = np.broadcast_to(mask[:, 0], (x.shape[0], *x.shape[2:]))
            rows = BatchNorm.compute(self, Packed()(x, mask=counted), running, own, momentum)
            return Unpacked()(rows, mask=counted)
        return super().compute(x, running, own, momentum, mask)


class MaskedBatchNorm1D(MaskedBatchNorm):
    """Masked batch norm of (N, C) or (N, C, L), with a mask as (N,) or (N, L), or one that broadcasts against x.

    Example:
        >>> norm = nn.MaskedBatchNorm1D(1)
        >>> x, mask = Tensor([[0.0], [2.0], [np.nan]]), np.array([True, True, False])
        >>> print(norm(x, mask).numpy().round(3).ravel())
        [-1.  1.  0.]
    """

    layouts = ("NC", "NCL")


class MaskedBatchNorm2D(MaskedBatchNorm):
    """Masked batch norm of (N, C, H, W), with a mask as (N, H, W), or one that broadcasts against x.

    Example:
        >>> norm = nn.MaskedBatchNorm2D(3)
        >>> x, mask = np.random.default_rng(0).normal(size=(2, 3, 4, 4)), np.ones((2, 4, 4), bool)
        >>> mask[1] = False
        >>> print(norm(Tensor(x, dtype="float32"), mask).numpy().any(axis=(1, 2, 3)))
        [ True False]
    """

    layouts = ("NCHW",)


class MaskedInstanceNorm(MaskedRunningNorm, InstanceNorm):
    """Instance norm by the mean and variance of the positions that count: `norm(x, mask)`.

    A channel of an image in which none counts is 0; one value that counts alone comes out as the bias. The running
    statistics are averages over the images that have some: at least one value for a mean, two for a variance; with
    momentum=None a batch in which nothing counts is none. Arguments as in `InstanceNorm2D`.
    """


class MaskedInstanceNorm1D(MaskedInstanceNorm):
    """Masked instance norm of (N, C, L) or (C, L), with a mask as (N, L) or (L,), or one that broadcasts against x.

    Example:
        >>> norm = nn.MaskedInstanceNorm1D(1)
        >>> x, mask = Tensor([[[0.0, 2.0, np.nan]]]), np.array([[True, True, False]])
        >>> print(norm(x, mask).numpy().round(3))
        [[[-1.  1.  0.]]]
    """

    layouts = ("NCL", "CL")


class MaskedInstanceNorm2D(MaskedInstanceNorm):
    """Masked instance norm of (N, C, H, W) or (C, H, W), with a mask as (N, H, W), or one that broadcasts against x.

    Example:
        >>> norm = nn.MaskedInstanceNorm2D(3)
        >>> x, mask = np.random.default_rng(0).normal(size=(2, 3, 4, 4)), np.ones((2, 4, 4), bool)
        >>> norm(Tensor(x, dtype="float32"), mask).shape
        (2, 3, 4, 4)
    """

    layouts = ("NCHW", "CHW")


class MaskedGroupNorm(Masked, GroupNorm):
    """Group norm by the mean and variance of the values that count: `norm(x, mask)`, as of padded (N, C, L).

    A group of an image in which none counts is 0; one value that counts alone comes out as the bias. The mask has shape
    (N, L) for (N, C, L), (N, H, W) for images, or one that broadcasts against x. Arguments as in `GroupNorm`.

    Example:
        >>> norm = nn.MaskedGroupNorm(1, 1)
        >>> x, mask = Tensor([[[0.0, 2.0, np.nan]]]), np.array([[True, True, False]])
        >>> print(norm(x, mask).numpy().round(3))
        [[[-1.  1.  0.]]]
    """

    def normalize(self, x: Tensor, mask: Any = None) -> Tensor:
        if mask is None or 0 in x.shape:
            return super().normalize(x)
        mask = as_mask("MaskedGroupNorm", x.shape, mask, (self.channel_axis(x),))
        affine = shape_dtypes_of(x, self.weight, self.bias)
        spec = norm_spec("group_norm", self.num_groups, self.eps, self.activation, True, *affine)
        return self.normalize_counted(x, mask, spec)[0]


class MaskedLayerNorm(Masked, LayerNorm):
    """Layer norm by the mean and variance of the values that count: `norm(x, mask)`.

    A row in which none counts is 0; one value that counts alone comes out as the bias. The mask has the shape of x
    without the normalized axes, where it tells which rows count, or one that broadcasts against x, where it tells
    which of a row's values do. Arguments as in `LayerNorm`.

    Example:
        >>> norm = nn.MaskedLayerNorm(2)
        >>> print(norm(Tensor([[0.0, 2.0], [np.nan, 1.0]]), np.array([True, False])).numpy().round(3))
        [[-1.  1.]
         [ 0.  0.]]
    """

    def normalize(self, x: Tensor, mask: Any = None) -> Tensor:
        if mask is None or 0 in x.shape:
            return super().normalize(x)
        affine = shape_dtypes_of(x, self.weight, self.bias)
        lengths = cast("Shape", self.normalized_shape)
        spec = norm_spec("layer_norm", lengths, self.eps, self.activation, True, *affine)
        mask = as_mask("MaskedLayerNorm", x.shape, mask, spec["axes"])
        return self.normalize_counted(x, mask, spec)[0]
