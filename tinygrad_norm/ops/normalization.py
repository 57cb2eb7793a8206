"""Normalization: choose the axes whose values share a mean and a variance, subtract, scale, apply weight and bias.

Each norm is a choice of axes. Batch norm: all but the channels. Layer norm: the trailing ones. LayerNorm2D: the channels
at each pixel. Group and instance norm: the channels in groups. RMS norm: as layer norm, without the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels, tape
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.ops.matmul import check_dtypes
from tinygrad_norm.tape import Array, FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Shape = tuple[int, ...]
Activation = str | tuple[str, float] | None


class Normalization(FusedOp):
    """(x - mean) / √(var + eps), times weight, plus bias, activated; mean and variance taken over `axes`.

    x is seen in the shape `view`, weight and bias in `affine`, which has length 1 where they are shared.
    After a call, `statistics` holds the mean and the biased variance, kept as length 1 over `axes`.
    """

    statistics: tuple[Array, Array]

    def composed(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        axes: Shape,
        view: Shape,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Tensor:
        seen = x.reshape(view)
        mean = seen.mean(axes, keepdims=True)
        centred = seen - mean
        var = centred.square().mean(axes, keepdims=True)
        self.statistics = mean.raw, var.raw
        y = _affine(centred * (var + eps).rsqrt(), weight, bias, affine)
        return activate(y.reshape(x.shape), activation)

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        axes: Shape,
        view: Shape,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Array:
        y, mean, var = kernels.of(x).normalize(
            x.reshape(view), _as(weight, affine), _as(bias, affine), axes, eps, activation
        )
        self.statistics = mean, var
        self.save(mean, var)
        return y.reshape(x.shape)

    def gradient(
        self, grad: Array, x: Array, weight: Array | None, bias: Array | None, mean: Array, var: Array
    ) -> tuple[Array | None, ...]:
        view, affine, axes, eps, activation = map(self.params.get, ("view", "affine", "axes", "eps", "activation"))
        dx, dweight, dbias = kernels.of(x).normalize_gradient(
            grad.reshape(view), x.reshape(view), _as(weight, affine), _as(bias, affine), mean, var, axes, eps, activation
        )
        return dx.reshape(x.shape), _like(dweight, weight), _like(dbias, bias)


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

    def composed(
        self,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        mean: Array,
        var: Array,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Tensor:
        y = _affine((x - mean.reshape(affine)) * (1 / np.sqrt(var + eps)).reshape(affine), weight, bias, affine)
        return activate(y, activation)

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        mean: Array,
        var: Array,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Array:
        given = [_as(array, affine) for array in (mean, var, weight, bias)]
        y: Array = kernels.of(x).normalize_inference(x, *given, eps, activation)
        return y

    def gradient(self, grad: Array, x: Array, weight: Array | None, bias: Array | None) -> tuple[Array | None, ...]:
        given = [_as(array, self.params["affine"]) for array in (self.params["mean"], self.params["var"], weight, bias)]
        dx, dweight, dbias = kernels.of(x).normalize_inference_gradient(
            grad, x, *given, self.params["eps"], self.params["activation"]
        )
        return dx, _like(dweight, weight), _like(dbias, bias)


class RMSNorm(FusedOp):
    """x / √(mean(x²) + eps), times weight, activated. Source: Zhang and Sennrich 2019."""

    def composed(
        self,
        x: Tensor,
        weight: Tensor | None,
        *,
        axes: Shape,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Tensor:
        square = x.square().mean(axes, keepdims=True)
        return activate(_affine(x * (square + eps).rsqrt(), weight, None, affine), activation)

    def forward(
        self,
        x: Array,
        weight: Array | None,
        *,
        axes: Shape,
        affine: Shape,
        eps: float,
        activation: tuple[str, float] | None,
    ) -> Array:
        y, square = kernels.of(x).rms_normalize(x, _as(weight, affine), axes, eps, activation)
        self.save(square)
        return y  # type: ignore[no-any-return]

    def gradient(self, grad: Array, x: Array, weight: Array | None, square: Array) -> tuple[Array | None, ...]:
        axes, affine, eps, activation = map(self.params.get, ("axes", "affine", "eps", "activation"))
        dx, dweight = kernels.of(x).rms_normalize_gradient(grad, x, _as(weight, affine), square, axes, eps, activation)
        return dx, _like(dweight, weight)


def _affine(normal: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Shape) -> Tensor:
    y = normal if weight is None else normal * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _as(array: Array | None, shape: Shape) -> Array | None:
    return None if array is None else array.reshape(shape)


def _like(gradient: Array | None, array: Array | None) -> Array | None:
    return None if gradient is None or array is None else gradient.reshape(array.shape)


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
    """Normalize each channel over the batch and all pixels (training), or with the running statistics.

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
        ValueError: shapes do not fit, a parameter is out of range, or training sees one value per channel.
        TypeError: the dtypes differ, or are no floats.

    Source: Ioffe and Szegedy 2015.
    """
    shape = _checked("batch_norm", x, eps, at_least=2, weight=weight, bias=bias)
    _check_channels("batch_norm", shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    affine = (1, shape[1]) + (1,) * (len(shape) - 2)
    if not training:
        return _with_running("batch_norm", x, running_mean, running_var, weight, bias, affine, eps, activation)
    axes = (0, *range(2, len(shape)))
    _check_momentum("batch_norm", momentum)
    count = _check_count("batch_norm", shape, axes, "channel")
    op = BatchNorm()
    y = op(x, weight, bias, axes=axes, view=shape, affine=affine, eps=float(eps), activation=fusible(activation))
    mean, var = (array.reshape(-1) for array in op.statistics)
    move(running_mean, mean, momentum)
    move(running_var, var * (count / (count - 1)), momentum)
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

    Source: Ba, Kiros and Hinton 2016.
    """
    shape = _checked("layer_norm", x, eps, weight=weight, bias=bias)
    trailing = _trailing("layer_norm", shape, normalized_shape, weight=weight, bias=bias)
    axes = tuple(range(len(shape) - len(trailing), len(shape)))
    affine = (1,) * axes[0] + trailing
    return LayerNorm()(
        x, weight, bias, axes=axes, view=shape, affine=affine, eps=float(eps), activation=fusible(activation)
    )


def layer_norm_2d(
    x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-6, activation: Activation = None
) -> Tensor:
    """Normalize over the channels at each pixel.

    Args:
        x: shape (N, C, H, W).
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Source: Liu et al. 2022 (ConvNeXt).
    """
    shape = _checked("layer_norm_2d", x, eps, at_least=4, at_most=4, weight=weight, bias=bias)
    _check_channels("layer_norm_2d", shape[1], weight=weight, bias=bias)
    return LayerNorm()(
        x,
        weight,
        bias,
        axes=(1,),
        view=shape,
        affine=(1, shape[1], 1, 1),
        eps=float(eps),
        activation=fusible(activation),
    )


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, activation: Activation = None
) -> Tensor:
    """Normalize each image over its pixels and the channels of each of `num_groups` groups.

    Args:
        x: shape (N, C, ...).
        num_groups: divides C.
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Source: Wu and He 2018.
    """
    shape = _checked("group_norm", x, eps, at_least=2, weight=weight, bias=bias)
    channels = shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"{_where('group_norm')}: {channels} channels cannot be cut into {num_groups} equal groups")
    _check_channels("group_norm", channels, weight=weight, bias=bias)
    view = (shape[0], num_groups, channels // num_groups, *shape[2:])
    axes = tuple(range(2, len(view)))
    _check_count("group_norm", view, axes, "group")
    affine = (1, *view[1:3]) + (1,) * (len(shape) - 2)
    return GroupNorm()(
        x, weight, bias, axes=axes, view=view, affine=affine, eps=float(eps), activation=fusible(activation)
    )


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
    """Normalize each channel of each image over its pixels, or with the running statistics.

    Args:
        x: shape (N, C, d1, ...).
        running_mean, running_var: as in `batch_norm`; they move to the mean over the batch of each image's.
        weight, bias: shape (C,), or None.
        use_input_stats: whether to use the images' own statistics.
        momentum, eps, activation: as in `batch_norm`.

    Source: Ulyanov, Vedaldi and Lempitsky 2016.
    """
    shape = _checked("instance_norm", x, eps, at_least=3, weight=weight, bias=bias)
    _check_channels("instance_norm", shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    affine = (1, shape[1]) + (1,) * (len(shape) - 2)
    if not use_input_stats:
        return _with_running("instance_norm", x, running_mean, running_var, weight, bias, affine, eps, activation)
    axes = tuple(range(2, len(shape)))
    _check_momentum("instance_norm", momentum)
    count = _check_count("instance_norm", shape, axes, "channel of an image")
    op = InstanceNorm()
    y = op(x, weight, bias, axes=axes, view=shape, affine=affine, eps=float(eps), activation=fusible(activation))
    if running_mean is not None or running_var is not None:
        mean, var = (array.reshape(shape[:2]).mean(axis=0) for array in op.statistics)
        move(running_mean, mean, momentum)
        move(running_var, var * (count / (count - 1)), momentum)
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

    Source: Zhang and Sennrich 2019.
    """
    shape = _checked("rms_norm", x, 0.0 if eps is None else eps, weight=weight)
    trailing = _trailing("rms_norm", shape, normalized_shape, weight=weight)
    axes = tuple(range(len(shape) - len(trailing), len(shape)))
    added = float(np.finfo(x.dtype).eps if eps is None else eps)
    return RMSNorm()(x, weight, axes=axes, affine=(1,) * axes[0] + trailing, eps=added, activation=fusible(activation))


def move(running: Any, new: Array, momentum: float) -> None:
    """running = (1 - momentum) running + momentum new, in `running`: an array, or a tensor, which gets a new array."""
    if isinstance(running, np.ndarray):
        running[...] = (1 - momentum) * running + momentum * new
    elif running is not None:
        running.raw = ((1 - momentum) * running.raw + momentum * new).astype(running.dtype)


def _with_running(
    name: str, x: Any, mean: Any, var: Any, weight: Any, bias: Any, affine: Shape, eps: float, activation: Activation
) -> Tensor:
    if mean is None or var is None:
        raise ValueError(f"{_where(name)}: inference needs running_mean and running_var; without them, use training=True")
    # Copies, as the running statistics may move on before the way back.
    mean, var = (np.array(getattr(value, "raw", value), x.dtype) for value in (mean, var))
    return InferenceNorm()(
        x, weight, bias, mean=mean, var=var, affine=affine, eps=float(eps), activation=fusible(activation)
    )


def _where(name: str) -> str:
    """The op, and the layer that called it where there is one."""
    scope = tape.current_scope()
    return f"{name} in {scope}" if scope else name


def _checked(name: str, x: Any, eps: float, at_least: int = 1, at_most: int = 9, **affine: Any) -> Shape:
    """The shape of x, after what every norm checks."""
    shape = tuple(np.shape(getattr(x, "raw", x)))
    if not at_least <= len(shape) <= at_most:
        wanted = f"{at_least}" if at_least == at_most else f"{at_least} or more"
        raise ValueError(f"{_where(name)}: the input needs {wanted} axes (N, C, ...), it has shape {shape}")
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"{_where(name)}: eps is added to the variance and must be 0 or a positive number, not {eps}")
    check_dtypes(_where(name), input=x, **affine)
    return shape


def _check_channels(name: str, channels: int, **parameters: Any) -> None:
    for key, value in parameters.items():
        if value is not None and np.shape(getattr(value, "raw", value)) != (channels,):
            given = np.shape(getattr(value, "raw", value))
            raise ValueError(f"{_where(name)}: the input has {channels} channels (axis 1), but {key} has shape {given}")


def _check_momentum(name: str, momentum: float) -> None:
    if not 0 <= momentum <= 1:
        raise ValueError(f"{_where(name)}: momentum is the weight of the new value, between 0 and 1, not {momentum}")


def _check_count(name: str, shape: Shape, axes: Shape, what: str) -> int:
    count = math.prod(shape[axis] for axis in axes)
    if 0 in shape:
        raise ValueError(f"{_where(name)}: the input of shape {shape} is empty, there is nothing to take statistics of")
    if count == 1:
        raise ValueError(
            f"{_where(name)}: one value per {what} has no variance: the input has shape {shape}. "
            "Use a larger batch (DataLoader(drop_last=True) leaves out a short last one), or eval()"
        )
    return count


def _trailing(name: str, shape: Shape, normalized_shape: int | Sequence[int], **affine: Any) -> Shape:
    trailing = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not trailing or len(trailing) > len(shape) or shape[len(shape) - len(trailing) :] != trailing:
        raise ValueError(f"{_where(name)}: the input of shape {shape} does not end in normalized_shape {trailing}")
    for key, value in affine.items():
        if value is not None and np.shape(getattr(value, "raw", value)) != trailing:
            given = np.shape(getattr(value, "raw", value))
            raise ValueError(f"{_where(name)}: {key} has shape {given}, normalized_shape is {trailing}")
    return trailing
