"""Normalization: choose the axes whose values share a mean and a variance, subtract, scale, apply weight and bias.

Each norm is a choice of axes. Batch norm: all but the channels. Layer norm: the trailing ones. LayerNorm2D: the
channels at each pixel. Group and instance norm: the channels in groups. RMS norm: as layer norm, without the mean.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from tinygrad_norm import kernels
from tinygrad_norm.definitions.ranges import are_moderate, group_unit
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.ops.arguments import ShapeDtype, cached, check_dtypes, constant, kind_of, kind_or_none, label
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Activation = str | tuple[str, float] | None


_quiet = np.errstate(all="ignore")
"""Statistics may be infinite or NaN, as numbers in any op."""


class Choice(TypedDict):
    """What tells one norm from another."""

    axes: Shape  # their values share a mean and a variance
    view: Shape  # the shape that x is seen in
    affine: Shape  # the shape that weight and bias are seen in, with length 1 where they are shared
    eps: float
    activation: tuple[str, float] | None


class Normalization(FusedOp):
    """(x - mean) / √(var + eps), times weight, plus bias, activated; mean and variance taken over `axes`.

    After a call, `statistics` holds the mean and the biased variance, kept as length 1 over `axes`.
    """

    statistics: tuple[Array, Array]

    @_quiet
    def composed(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, **how: Unpack[Choice]) -> Tensor:
        seen, unit, eps = _measured(x, centred=True, **how)
        mean = seen.mean(how["axes"], keepdims=True)
        centred = seen - mean
        centred = centred - centred.mean(how["axes"], keepdims=True)  # 0, but for the rounding of a large mean
        var = centred.square().mean(how["axes"], keepdims=True)
        self.statistics = mean.raw * unit, var.raw * unit * unit
        y = _affine(centred * (var + eps).rsqrt(), weight, bias, how["affine"])
        return _as(x.dtype, activate(y.reshape(x.shape), how["activation"]))

    def forward(self, x: Array, weight: Array | None, bias: Array | None, **how: Unpack[Choice]) -> Array:
        y, mean, var = kernels.of(x).normalize(*_seen(how, x, weight, bias), how["axes"], how["eps"], how["activation"])
        self.statistics = mean, var
        self.save(mean, var)
        return y.reshape(x.shape)

    def gradient(self, grad: Array, *saved: Any) -> tuple[Array | None, ...]:
        *inputs, mean, var = saved
        grad, how = grad.reshape(self.params["view"]), self.params
        found = kernels.of(grad).normalize_gradient(
            grad, *_seen(how, *inputs), mean, var, how["axes"], how["eps"], how["activation"]
        )
        return _like(inputs, found)


class BatchNorm(Normalization):
    """Batch norm in training. Source: Ioffe and Szegedy 2015."""


class LayerNorm(Normalization):
    """Layer norm. Source: Ba, Kiros and Hinton 2016."""


class GroupNorm(Normalization):
    """Group norm. Source: Wu and He 2018."""


class InstanceNorm(Normalization):
    """Instance norm. Source: Ulyanov, Vedaldi and Lempitsky 2016."""


class InferenceNorm(FusedOp):
    """Normalization with a given mean and variance: constants, through which no gradient goes."""

    @_quiet
    def composed(
        self, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, **how: Unpack[Choice]
    ) -> Tensor:
        mean, var, eps = mean.reshape(how["affine"]), var.reshape(how["affine"]), how["eps"]
        if are_moderate(x.dtype, 1 + np.abs(mean.raw)) and are_moderate(x.dtype, var.raw + eps):
            normal = (x - mean) * (var + eps).rsqrt()
        else:
            unit = np.where(np.abs(mean.raw) < 1e290, 1.0, 2.0)  # in which no difference leaves the range
            normal = (_wide(x) / unit - _wide(mean) / unit) * ((_wide(var) + eps).rsqrt() * unit)
        return _as(x.dtype, activate(_affine(normal, weight, bias, how["affine"]), how["activation"]))

    def forward(self, x: Array, *given: Array | None, **how: Unpack[Choice]) -> Array:
        return kernels.of(x).normalize_inference(*_seen(how, x, *given), how["eps"], how["activation"])

    def gradient(self, grad: Array, *inputs: Any) -> tuple[Array | None, ...]:
        dx, *others = kernels.of(grad).normalize_inference_gradient(
            grad, *_seen(self.params, *inputs), self.params["eps"], self.params["activation"]
        )
        return _like(inputs, (dx, None, None, *others))


class RMSNorm(FusedOp):
    """x / √(mean(x²) + eps), times weight, activated. Source: Zhang and Sennrich 2019."""

    @_quiet
    def composed(self, x: Tensor, weight: Tensor | None, **how: Unpack[Choice]) -> Tensor:
        seen, _, eps = _measured(x, centred=False, **how)
        square = seen.square().mean(how["axes"], keepdims=True)
        y = _affine(seen * (square + eps).rsqrt(), weight, None, how["affine"])
        return _as(x.dtype, activate(y, how["activation"]))

    def forward(self, x: Array, weight: Array | None, **how: Unpack[Choice]) -> Array:
        y, square = kernels.of(x).rms_normalize(*_seen(how, x, weight), how["axes"], how["eps"], how["activation"])
        self.save(square)
        return y

    def gradient(self, grad: Array, x: Array, weight: Array | None, square: Array) -> tuple[Array | None, ...]:
        how = self.params
        found = kernels.of(grad).rms_normalize_gradient(
            grad, *_seen(how, x, weight), square, how["axes"], how["eps"], how["activation"]
        )
        return _like((x, weight), found)


def _measured(x: Tensor, centred: bool, **how: Unpack[Choice]) -> tuple[Tensor, Any, Any]:
    """x in the shape that it is seen in; where squares may leave the range, in float64 and in units of its own.

    Returns:
        x, the unit of each group (a constant, and a power of two, so that it rounds nothing), and eps in its square.
    """
    seen, eps = x.reshape(how["view"]), how["eps"]
    unit = group_unit(seen.raw, how["axes"], eps, centred)
    if are_moderate(x.dtype, unit):
        return seen, 1.0, eps
    return _wide(seen) / unit, unit, eps / unit / unit


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype.itemsize >= 8 else x.astype(np.float64)


def _as(dtype: Any, x: Tensor) -> Tensor:
    return x if x.dtype == dtype else x.astype(dtype)


def _affine(normal: Tensor, weight: Any, bias: Any, shape: Shape) -> Tensor:
    y = normal if weight is None else normal * reshape(weight, shape)
    return y if bias is None else y + reshape(bias, shape)


def _seen(how: Any, x: Array, *others: Array | None) -> tuple[Array | None, ...]:
    """x and what goes with its channels or features, in shapes of one rank."""
    return x.reshape(how["view"]), *[None if array is None else array.reshape(how["affine"]) for array in others]


def _like(inputs: Sequence[Array | None], gradients: Sequence[Array | None]) -> tuple[Array | None, ...]:
    """Gradients in the shapes of the inputs."""
    return tuple(
        None if array is None or gradient is None else gradient.reshape(array.shape)
        for array, gradient in zip(inputs, gradients, strict=True)
    )


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Tensor:
    """Normalize each channel over the batch and all positions (training), or with the running statistics.

    Args:
        x: shape (N, C) or (N, C, d1, ...).
        running_mean, running_var: shape (C,), arrays or tensors, or None (training only). In training they move to the
            batch's mean and unbiased variance by `momentum`: running = (1 - momentum) running + momentum batch.
        weight, bias: shape (C,), or None for 1 and 0.
        training: whether to use the batch's statistics.
        momentum: the weight of the new value, 0 to 1.
        eps: added to the variance, not negative.
        activation: the name of an activation to apply in the same kernel, or (name, parameter).

    Raises:
        ValueError: shapes do not fit, a parameter is out of range, or training sees one value per channel. (Of no value
            the output is empty, and running statistics stay.)
        TypeError: the dtypes differ, or are no floats.

    Source: Ioffe and Szegedy 2015.
    """
    _check_running("batch_norm", running_mean, running_var, momentum)
    given = tuple(map(kind_or_none, (running_mean, running_var, weight, bias)))
    how = _with_statistics("batch_norm", kind_of(x), given, training, eps, activation)
    if not training:
        return _with_running(x, running_mean, running_var, weight, bias, how)
    op = BatchNorm()
    y = _normalized(op, x, how, weight, bias)
    if y.size and not (running_mean is running_var is None):
        mean, var = op.statistics
        _move((running_mean, running_var), mean.reshape(-1), var.reshape(-1), y.size // mean.size, momentum)
    return y


def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Tensor:
    """Normalize over the trailing axes of length `normalized_shape`, for every index before them.

    Args:
        x: shape (..., *normalized_shape).
        normalized_shape: the trailing lengths, or one number.
        weight, bias: shape `normalized_shape`, or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Ba, Kiros and Hinton 2016.
    """
    lengths = _lengths("layer_norm", normalized_shape)
    how = _layer_norm(kind_of(x), lengths, kind_or_none(weight), kind_or_none(bias), eps, activation)
    return _normalized(LayerNorm(), x, how, weight, bias)


@cached
def _layer_norm(
    x: ShapeDtype,
    lengths: Shape,
    weight: ShapeDtype | None,
    bias: ShapeDtype | None,
    eps: float,
    activation: Activation,
) -> Choice:
    shape = _checked("layer_norm", x, eps, weight=weight, bias=bias)
    axes, affine = _trailing("layer_norm", shape, lengths)
    _check_shapes("layer_norm", shape, lengths, weight=weight, bias=bias)
    return _choice(shape, axes, affine, eps, activation)


def layer_norm_2d(
    x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-6, activation: Activation = None
) -> Tensor:
    """Normalize over the channels at each pixel.

    Args:
        x: shape (N, C, H, W).
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Liu et al. 2022 (ConvNeXt).
    """
    how = _layer_norm_2d(kind_of(x), kind_or_none(weight), kind_or_none(bias), eps, activation)
    return _normalized(LayerNorm(), x, how, weight, bias)


@cached
def _layer_norm_2d(
    x: ShapeDtype, weight: ShapeDtype | None, bias: ShapeDtype | None, eps: float, activation: Activation
) -> Choice:
    shape = _checked("layer_norm_2d", x, eps, at_least=4, at_most=4, weight=weight, bias=bias)
    _check_shapes("layer_norm_2d", shape, shape[1:2], weight=weight, bias=bias)
    return _choice(shape, (1,), _per_channel(shape), eps, activation)


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, activation: Activation = None
) -> Tensor:
    """Normalize each image over its positions and the channels of each of `num_groups` groups.

    Args:
        x: shape (N, C, ...).
        num_groups: divides C.
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError: as in `batch_norm`; a group of one value is one too (PyTorch returns the bias there if N > 1).
        TypeError: as in `batch_norm`.

    Source: Wu and He 2018.
    """
    how = _group_norm(kind_of(x), num_groups, kind_or_none(weight), kind_or_none(bias), eps, activation)
    return _normalized(GroupNorm(), x, how, weight, bias)


@cached
def _group_norm(
    x: ShapeDtype,
    num_groups: int,
    weight: ShapeDtype | None,
    bias: ShapeDtype | None,
    eps: float,
    activation: Activation,
) -> Choice:
    shape = _checked("group_norm", x, eps, at_least=2, weight=weight, bias=bias)
    _check_shapes("group_norm", shape, shape[1:2], weight=weight, bias=bias)
    if num_groups < 1 or shape[1] % num_groups:
        raise ValueError(f"{label('group_norm')}: {shape[1]} channels cannot be cut into {num_groups} equal groups")
    view = (shape[0], num_groups, shape[1] // num_groups, *shape[2:])
    axes, affine = tuple(range(2, len(view))), (1, *view[1:3]) + (1,) * (len(shape) - 2)
    _check_count("group_norm", view, axes, "group", "use fewer groups")
    return _choice(view, axes, affine, eps, activation)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Activation = None,
) -> Tensor:
    """Normalize each channel of each image over its positions, or with the running statistics.

    Args:
        x: shape (N, C, d1, ...).
        running_mean, running_var: as in `batch_norm`; they move to the averages over the batch of each image's.
        weight, bias: shape (C,), or None.
        use_input_stats: whether to use the images' own statistics.
        momentum, eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Ulyanov, Vedaldi and Lempitsky 2016.
    """
    _check_running("instance_norm", running_mean, running_var, momentum)
    given = tuple(map(kind_or_none, (running_mean, running_var, weight, bias)))
    how = _with_statistics("instance_norm", kind_of(x), given, use_input_stats, eps, activation)
    if not use_input_stats:
        return _with_running(x, running_mean, running_var, weight, bias, how)
    op = InstanceNorm()
    y = _normalized(op, x, how, weight, bias)
    if y.size and not (running_mean is running_var is None):
        count = y.size // op.statistics[0].size
        mean, var = [array.reshape(y.shape[:2]).mean(axis=0) for array in op.statistics]
        _move((running_mean, running_var), mean, var, count, momentum)
    return y


def rms_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
    activation: Activation = None,
) -> Tensor:
    """Divide by the root of the mean square over the trailing axes of length `normalized_shape`.

    Args:
        x: shape (..., *normalized_shape).
        normalized_shape: the trailing lengths, or one number.
        weight: shape `normalized_shape`, or None.
        eps: added to the mean square; None: the machine epsilon of x's dtype.
        activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Zhang and Sennrich 2019.
    """
    lengths = _lengths("rms_norm", normalized_shape)
    how = _rms_norm(kind_of(x), lengths, kind_or_none(weight), eps, activation)
    return _normalized(RMSNorm(), x, how, weight)


@cached
def _rms_norm(
    x: ShapeDtype, lengths: Shape, weight: ShapeDtype | None, eps: float | None, activation: Activation
) -> Choice:
    shape = _checked("rms_norm", x, 0.0 if eps is None else eps, weight=weight)
    axes, affine = _trailing("rms_norm", shape, lengths)
    _check_shapes("rms_norm", shape, lengths, weight=weight)
    return _choice(shape, axes, affine, np.finfo(x[1]).eps if eps is None else eps, activation)


def rms_norm_2d(x: Any, weight: Any = None, eps: float = 1e-6, activation: Activation = None) -> Tensor:
    """Divide by the root of the mean square over the channels at each pixel.

    Args:
        x: shape (N, C, H, W).
        weight: shape (C,), or None.
        eps: added to the mean square.
        activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Zhang and Sennrich 2019.
    """
    how = _rms_norm_2d(kind_of(x), kind_or_none(weight), eps, activation)
    return _normalized(RMSNorm(), x, how, weight)


@cached
def _rms_norm_2d(x: ShapeDtype, weight: ShapeDtype | None, eps: float, activation: Activation) -> Choice:
    shape = _checked("rms_norm_2d", x, eps, at_least=4, at_most=4, weight=weight)
    _check_shapes("rms_norm_2d", shape, shape[1:2], weight=weight)
    return _choice(shape, (1,), _per_channel(shape), eps, activation)


_HINTS = {
    "batch_norm": "use a larger batch (DataLoader(drop_last=True) leaves out a short last one), or eval()",
    "instance_norm": "use larger images, or another norm",
}


@cached
def _with_statistics(
    name: str, x: ShapeDtype, given: tuple[ShapeDtype | None, ...], own: bool, eps: float, activation: Activation
) -> Choice:
    """The choice of batch or instance norm, with statistics of its own or running ones, after their checks."""
    batch = name == "batch_norm"
    named = dict(zip(("running_mean", "running_var", "weight", "bias"), given, strict=True))
    shape = _checked(name, x, eps, at_least=2 if batch else 3, weight=named["weight"], bias=named["bias"])
    _check_shapes(name, shape, shape[1:2], **named)
    _check_given(name, given[0], given[1], not own)
    axes = (*((0,) if batch else ()), *range(2, len(shape)))
    if own:
        _check_count(name, shape, axes, "channel" if batch else "channel of an image", _HINTS[name])
    return _choice(shape, axes, _per_channel(shape), eps, activation)


def _normalized(op: FusedOp, x: Any, how: Choice, *affine: Any) -> Tensor:
    return _of_nothing(x, how, *affine) if 0 in how["view"] else op(x, *affine, **how)


def _of_nothing(x: Any, how: Choice, weight: Any, bias: Any = None) -> Tensor:
    """An empty input after weight and bias alone, which get gradients of 0: of no numbers there are no statistics."""
    y = _affine(reshape(x, how["view"]), weight, bias, how["affine"])
    return activate(reshape(y, shape_of(x)), how["activation"])


def _with_running(x: Any, mean: Any, var: Any, weight: Any, bias: Any, how: Choice) -> Tensor:
    if 0 in how["view"]:
        return _of_nothing(x, how, weight, bias)
    # As arrays that are nobody's tensor the tape copies them, so they may move on before the way back.
    mean, var = [np.asarray(_array(running), kind_of(x)[1]) for running in (mean, var)]
    return InferenceNorm()(x, mean, var, weight, bias, **how)


def _move(running: tuple[Any, Any], mean: Array, var: Array, count: int, momentum: float) -> None:
    """running = (1 - momentum) running + momentum new, in `running`: arrays, or tensors, which get new arrays.

    New are the mean and the unbiased variance of `count` values.
    """
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinity
        moved = [
            None if old is None else ((1 - momentum) * np.asarray(_array(old)) + momentum * new).astype(old.dtype)
            for old, new in zip(running, (mean, var * (count / (count - 1))), strict=True)
        ]
    for old in running:
        if isinstance(old, np.ndarray) and not old.flags.writeable:
            raise ValueError("running statistics: the array given cannot be written, so it cannot move; give a copy")
    for old, value in zip(running, moved, strict=True):
        if isinstance(old, np.ndarray):
            old[...] = value
        elif old is not None:
            old.raw = value


def _array(value: Any) -> Any:
    return getattr(value, "raw", value)


def _choice(view: Shape, axes: Shape, affine: Shape, eps: Any, activation: Activation) -> Choice:
    return {"axes": axes, "view": view, "affine": affine, "eps": float(eps), "activation": fusible(activation)}


def _per_channel(shape: Shape) -> Shape:
    """The shape in which an array of shape (C,) meets x."""
    return (1, shape[1]) + (1,) * (len(shape) - 2)


def _lengths(name: str, normalized_shape: Any) -> Shape:
    """One length or several, as integers."""
    lengths = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    try:
        return tuple(map(operator.index, lengths))  # what equals an integer and is none would be remembered as one
    except TypeError:
        raise TypeError(
            f"{label(name)}: normalized_shape should be an integer or several, got {normalized_shape!r}"
        ) from None


def _trailing(name: str, shape: Shape, lengths: Shape) -> tuple[Shape, Shape]:
    """The last axes, which have these lengths, and the shape in which arrays of that shape meet x."""
    before = len(shape) - len(lengths)
    if not lengths or before < 0 or shape[before:] != lengths:
        raise ValueError(f"{label(name)}: the input of shape {shape} does not end in normalized_shape {lengths}")
    return tuple(range(before, len(shape))), (1,) * before + shape[before:]


def _checked(
    name: str, x: ShapeDtype, eps: float, at_least: int = 1, at_most: int = 64, **affine: ShapeDtype | None
) -> Shape:
    """The shape of x, after what every norm checks."""
    shape = x[0]
    if not at_least <= len(shape) <= at_most:
        wanted = f"{at_least}" if at_least == at_most else f"{at_least} or more"
        raise ValueError(f"{label(name)}: the input needs {wanted} axes (N, C, ...), it has shape {shape}")
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"{label(name)}: eps is added to the variance and must be 0 or a positive number, not {eps}")
    check_dtypes(label(name), input=x, **affine)
    return shape


def _check_shapes(name: str, shape: Shape, wanted: Shape, **given: ShapeDtype | None) -> None:
    for key, kind in given.items():
        if kind is not None and kind[0] != wanted:
            raise ValueError(f"{label(name)}: for an input of shape {shape}, {key} needs shape {wanted}, not {kind[0]}")


def _check_running(name: str, mean: Any, var: Any, momentum: float) -> None:
    """What may change from call to call, and what a kind does not tell."""
    for what, running in (("running_mean", mean), ("running_var", var)):
        if running is not None and not hasattr(running, "dtype"):
            raise TypeError(f"{label(name)}: running statistics are arrays or tensors of floats, not {running!r}")
        constant(name, what, running)
    if not 0 <= momentum <= 1:
        raise ValueError(f"{label(name)}: momentum is the weight of the new value, between 0 and 1, not {momentum}")


def _check_given(name: str, mean: ShapeDtype | None, var: ShapeDtype | None, needed: bool) -> None:
    if needed and (mean is None or var is None):
        raise ValueError(f"{label(name)}: inference needs running_mean and running_var, both")
    for kind in (mean, var):
        if kind is not None and getattr(kind[1], "kind", None) != "f":
            raise TypeError(f"{label(name)}: running statistics are arrays or tensors of floats, not of {kind[1]}")


def _check_count(name: str, shape: Shape, axes: Shape, what: str, hint: str) -> None:
    """Refuse one value to share a mean and a variance."""
    if math.prod([shape[axis] for axis in axes]) == 1 and 0 not in shape:
        raise ValueError(f"{label(name)}: one value per {what} has no variance; the input has shape {shape}: {hint}")
