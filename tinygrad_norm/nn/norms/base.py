"""What the norms of the literature share: each is a definition, and a layer that calls the op derived from it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from typing import Any, cast

from tinygrad_norm import ops
from tinygrad_norm.checks import check_flag, check_integer
from tinygrad_norm.definitions import special
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.dtypes import Array, DTypeOrNone, Shape
from tinygrad_norm.launch import launch
from tinygrad_norm.nn.activation import activation_layer
from tinygrad_norm.nn.module import Parameter
from tinygrad_norm.nn.normalization import BatchNorm, ChannelNorm, Normalization
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.normalization import move, norm_with_running
from tinygrad_norm.tensor import Tensor


@functools.cache
def op_of(definition: Callable[..., Any], rectified: bool = False) -> DerivedNorm:
    """Return the op that is derived from a definition, with a ReLU behind it if wanted."""
    if not rectified:
        return derive(definition)

    @functools.wraps(definition)
    def with_relu(*inputs: Any, **options: Any) -> Any:
        found = definition(*inputs, **options)
        y, *statistics = found if isinstance(found, tuple) else (found,)
        return (special.relu(y), *statistics) if statistics else special.relu(y)

    return derive(with_relu)


_layer = functools.cache(activation_layer)


class FromDefinition(Normalization):
    """A norm layer that calls the op of its `definition`."""

    def derived(
        self,
        x: Tensor,
        *parameters: Any,
        definition: Callable[..., Any] | None = None,
        seen: Any = None,
        **options: Any,
    ) -> Tensor:
        """Call the op, with the layer's activation: ReLU in the same kernel, others, which cost more, in their own.

        Args:
            x: the input.
            parameters: those of the definition: tensors, of which a vector has a number for each channel, or numbers.
            definition: another one than the layer's.
            seen: the shape in which a vector broadcasts; None: along axis 1.
            options: those of the definition.
        """
        seen = (-1, *(1,) * (len(x.shape) - 2)) if seen is None else seen
        shaped = [_in_shape(each, seen) for each in parameters]
        rectified = self.activation == "relu"
        op = op_of(definition or type(self).definition, rectified)
        if any(getattr(each, "dtype", x.dtype) != x.dtype for each in shaped):
            names = ("x", *(str(each.value) for each in op.traced.parameters))
            kinds = dict(zip(names, shape_dtypes_of(x, *shaped), strict=True))
            check_dtypes(label(type(self).__name__), **kinds)
        found = op(x, *shaped, **options)
        if self.activation is not None and not rectified:
            y, *statistics = found if isinstance(found, tuple) else (found,)
            y = _layer(self.activation).forward(y)
            found = (y, *statistics) if statistics else y
        return cast("Tensor", found)

    def derived_with_statistics(self, x: Tensor, *parameters: Any, **options: Any) -> tuple[Tensor, list[Array]]:
        """Call the op of a definition that returns statistics too, which come as arrays."""
        y, *statistics = cast("tuple[Tensor, ...]", self.derived(x, *parameters, **options))
        return y, [each.raw for each in statistics]

    def affine_parameters(self) -> tuple[Parameter | float, Parameter | float]:
        """Weight and bias, or the numbers that stand for them."""
        return 1.0 if self.weight is None else self.weight, 0.0 if self.bias is None else self.bias


def _in_shape(parameter: Any, seen: Shape) -> Any:
    is_vector = len(getattr(parameter, "shape", ())) == 1 and len(seen) > 1
    return parameter.reshape(seen) if is_vector else parameter


class ChannelsAnywhere(FromDefinition, ChannelNorm):
    """A norm of channels that stand on axis 1, or, with `channels_last=True`, on the last axis."""

    _: KW_ONLY
    channels_last: bool = False

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        check_flag(f"{type(self).__name__}: channels_last", self.channels_last)
        super().__post_init__(dtype, bias)

    @property
    def layouts(self) -> tuple[str, ...]:  # type: ignore[override] # which depends on an argument here
        """The shapes of input that fit."""
        return ("NC", "NLC", "NHWC", "NDHWC") if self.channels_last else ("NC", "NCL", "NCHW", "NCDHW")

    def channel_axis(self, x: Tensor) -> int:
        """The axis of x that its channels stand on."""
        return len(x.shape) - 1 if self.channels_last else 1

    def positions(self, x: Tensor) -> Shape:
        """The axes of x that are neither the batch's nor the channels'."""
        return tuple(axis for axis in range(1, len(x.shape)) if axis != self.channel_axis(x))

    def seen(self, x: Tensor) -> Shape:
        """The shape in which a vector broadcasts along the channels."""
        return (-1, *(1,) * (len(x.shape) - 1 - self.channel_axis(x)))


class DefinedBatchNorm(FromDefinition, BatchNorm):
    """A batch norm whose training is computed by `definition`, and whose inference is that of batch norm."""

    _infers_affinely = BatchNorm._infers_affinely

    def running(self, x: Tensor) -> tuple[Array, Array]:
        """The running mean and variance in the dtype of x, as numbers that no gradient goes to."""
        mean, var = self.running_mean.raw, self.running_var.raw
        return launch(mean.astype, x.dtype), launch(var.astype, x.dtype)

    def normalize_batch(self, x: Tensor) -> tuple[Tensor, Sequence[Array]]:
        """Return y and the batch's mean and variance; each layer defines its own."""
        raise TypeError(f"{type(self).__name__} defines no normalize_batch(x)")

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize by the definition, or by the running statistics."""

        def normalize(_: Any) -> tuple[Tensor, Sequence[Array]]:
            y, statistics = self.normalize_batch(x)
            if self.keeps_variance or running[0] is running[1] is None:
                return y, statistics
            move(running, [each.reshape(-1) for each in statistics], momentum)  # no variance, so none that is biased
            return y, ()

        affine, rest = (self.weight, self.bias), (own, momentum, self.eps, self.activation)
        y = norm_with_running("batch_norm", x, running, affine, *rest, normalize)
        if own and 0 in x.shape:  # to nothing, parameters of a layer's own add nothing, and so get gradients of 0
            for parameter in self.parameters():
                y = y + ops.sum(parameter) * 0.0
        return y


def check_groups(name: str, of: str, channels: int, groups: int) -> None:
    """Raise a ValueError unless the channels, an argument called `of`, are a multiple of the groups."""
    if channels % check_integer(f"{name}: num_groups", groups, 1):
        raise ValueError(f"{name}: {of} is a multiple of num_groups, got {channels} and {groups}")
