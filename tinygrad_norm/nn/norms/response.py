"""Norms by how strongly a channel responds, without a mean: FRN with its threshold, and GRN."""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar
from typing import Any

from tinygrad_norm.checks import check_flag
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.nn.normalization import ChannelNorm
from tinygrad_norm.nn.norms.base import ChannelsAnywhere, FromDefinition
from tinygrad_norm.ops.activation import ActivationSpec
from tinygrad_norm.tensor import Tensor


def filter_response_norm(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-6) -> Any:
    """weight · x / √(mean(x²) + eps) + bias."""
    xp = x.__array_namespace__()
    square = xp.mean(xp.square(x), axis=axes, keepdims=True)
    return weight * x / xp.sqrt(square + eps) + bias


def thresholded_response_norm(x: Any, weight: Any, bias: Any, threshold: Any, *, axes: Any, eps: Any = 1e-6) -> Any:
    """max(weight · x / √(mean(x²) + eps) + bias, threshold): FRN and its activation, TLU."""
    y = filter_response_norm(x, weight, bias, axes=axes, eps=eps)
    return x.__array_namespace__().maximum(y, threshold)


def global_response_norm(x: Any, weight: Any, bias: Any, *, positions: Any, channels: Any, eps: Any = 1e-6) -> Any:
    """weight · x · size / (mean(size) + eps) + bias + x, where size = √(Σ x²) of a channel, and the mean is theirs."""
    xp = x.__array_namespace__()
    energy = xp.sum(xp.square(x), axis=positions, keepdims=True)
    size = xp.where(energy > 0, xp.sqrt(xp.where(energy > 0, energy, 1.0)), 0.0)  # no gradient where all is 0
    level = xp.mean(size, axis=channels, keepdims=True)
    return weight * (x * (size / (level + eps))) + bias + x


class FilterResponseNorm2D(FromDefinition, ChannelNorm):
    """Divide each channel of each image by the root of its mean square, and keep what is above a learned threshold.

    y = max(weight · x / √(mean(x²) + eps) + bias, threshold). The maximum is the activation, called TLU, which belongs
    to the norm: without a mean that is subtracted, a ReLU would not know where to stand.

    Args:
        num_features: C.
        eps: added to the mean square.
        affine: whether there are weight and bias, shape (C,).
        threshold: whether there is one, shape (C,), which begins with 0.

    eps is a number, and not learned, as the paper has it for maps of one pixel: there y would be a sign.

    Source: Singh and Krishnan, Filter response normalization layer: eliminating batch dependence in the training of
        deep neural networks, 2020.
    """

    definition = staticmethod(thresholded_response_norm)
    layouts = ("NCHW",)
    num_features: int
    eps: float = 1e-6
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True
    threshold: InitVar[bool] = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True, threshold: bool = True) -> None:
        super().__post_init__(dtype, bias)
        check_flag("FilterResponseNorm2D: threshold", threshold)
        self.threshold = None
        if threshold:
            self.add_parameter("threshold", self.shape, 0.0, dtype)

    def normalize(self, x: Tensor) -> Tensor:
        inputs = (x, *self.affine_parameters())
        if self.threshold is None:
            return self.derived(*inputs, axes=(2, 3), eps=self.eps, definition=filter_response_norm)
        return self.derived(*inputs, self.threshold, axes=(2, 3), eps=self.eps)

    def activates(self) -> ActivationSpec:
        return super().activates() if self.threshold is None else "relu"

    def extra_repr(self) -> str:
        return super().extra_repr() + ", threshold=False" * (self.threshold is None)


class GlobalResponseNorm(ChannelsAnywhere):
    """Let channels compete: scale each by its size over all positions, relative to the mean size of all channels.

    y = weight · x · size / (mean(size) + eps) + bias + x, where size is the root of a channel's sum of squares. Weight
    and bias begin with 0, so the layer begins as the identity.

    Args:
        num_features: C.
        eps: added to the mean size.
        channels_last: whether the channels stand on the last axis.

    Source: Woo et al., ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders, 2023.
    """

    definition = staticmethod(global_response_norm)
    first_weight = 0.0
    num_features: int
    eps: float = 1e-6
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def normalize(self, x: Tensor) -> Tensor:
        return self.derived(
            x,
            *self.affine_parameters(),
            seen=self.seen(x),
            positions=self.positions(x),
            channels=self.channel_axis(x),
            eps=self.eps,
        )
