"""Norms by how strongly a channel responds, without a mean: FRN with its threshold, and GRN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar
from typing import Any

from tinygrad_norm.checks import check_flag
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.nn.normalization import ChannelNorm
from tinygrad_norm.nn.norms.base import ChannelsAnywhere, FromDefinition
from tinygrad_norm.ops.activation import ActivationSpec
from tinygrad_norm.ops.arguments import label
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


def learned_response_norm(x: Any, weight: Any, bias: Any, learned_eps: Any, *, axes: Any, eps: Any = 1e-6) -> Any:
    """weight · x / √(mean(x²) + eps + |learned_eps|) + bias."""
    eps = eps + x.__array_namespace__().abs(learned_eps)
    return filter_response_norm(x, weight, bias, axes=axes, eps=eps)


def thresholded_learned_response_norm(
    x: Any, weight: Any, bias: Any, threshold: Any, learned_eps: Any, *, axes: Any, eps: Any = 1e-6
) -> Any:
    """max(weight · x / √(mean(x²) + eps + |learned_eps|) + bias, threshold)."""
    y = learned_response_norm(x, weight, bias, learned_eps, axes=axes, eps=eps)
    return x.__array_namespace__().maximum(y, threshold)


def global_response_norm(x: Any, weight: Any, bias: Any, *, positions: Any, channels: Any, eps: Any = 1e-6) -> Any:
    """weight · x · size / (mean(size) + eps) + bias + x, where size = √(Σ x²) of a channel, and the mean is theirs."""
    xp = x.__array_namespace__()
    energy = xp.sum(xp.square(x), axis=positions, keepdims=True)
    size = xp.where(energy > 0, xp.sqrt(xp.where(energy > 0, energy, 1.0)), 0.0)  # no gradient where all is 0
    level = xp.mean(size, axis=channels, keepdims=True)
    return weight * (x * (size / (level + eps))) + bias + x


DEFINITIONS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): filter_response_norm,
    (False, True): learned_response_norm,
    (True, False): thresholded_response_norm,
    (True, True): thresholded_learned_response_norm,
}
"""FRN with a threshold or without, and with a learned eps or without."""


class FilterResponseNorm2D(FromDefinition, ChannelNorm):
    """Divide each channel of each image by the root of its mean square, and keep what is above a learned threshold.

    y = max(weight · x / √(mean(x²) + eps) + bias, threshold). The maximum is the activation, called TLU, which belongs
    to the norm: without a mean that is subtracted, a ReLU would not know where to stand. Where both are equal, each
    gets half of the gradient, as of PyTorch's maximum.

    Args:
        num_features: C.
        eps: added to the mean square.
        affine: whether there are weight and bias, shape (C,).
        threshold: whether there is one, shape (C,), which begins with 0.
        learned_eps: whether a number that is learned is added to eps by its magnitude, which begins with 1e-4. The
            paper has it for images of one pixel, of whose values a small eps leaves the sign alone.

    Raises:
        ValueError, TypeError: an argument is out of range; in the call: the shape does not fit, or training sees images
            of one pixel without a learned eps.

    Source: Singh and Krishnan, Filter response normalization layer: eliminating batch dependence in the training of
        deep neural networks, 2020.

    Example:
        >>> norm = nn.FilterResponseNorm2D(1)
        >>> print(norm(Tensor([[[[3.0, -4.0]]]])).numpy().round(3).ravel())  # over √12.5, and not below 0
        [0.849 0.   ]
    """

    definition = staticmethod(thresholded_response_norm)
    layouts = ("NCHW",)
    num_features: int
    eps: float = 1e-6
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True
    threshold: InitVar[bool] = True
    learned_eps: InitVar[bool] = False

    def __post_init__(
        self, dtype: DTypeOrNone, bias: bool = True, threshold: bool = True, learned_eps: bool = False
    ) -> None:
        super().__post_init__(dtype, bias)
        self.threshold = self.learned_eps = None
        for name, wanted, shape, start in (
            ("threshold", threshold, self.shape, 0.0),
            ("learned_eps", learned_eps, (), 1e-4),
        ):
            check_flag(f"FilterResponseNorm2D: {name}", wanted)
            if wanted:
                self.add_parameter(name, shape, start, dtype)

    def normalize(self, x: Tensor) -> Tensor:
        if self.training and self.learned_eps is None and x.shape[0] and x.shape[2:] == (1, 1):
            raise ValueError(
                f"{label('FilterResponseNorm2D')}: one value per channel of an image, divided by its magnitude, is a "
                f"sign, got shape {x.shape}; use larger images, or learned_eps=True, as the paper has it for such"
            )
        given = [each for each in (self.threshold, self.learned_eps) if each is not None]
        definition = DEFINITIONS[self.threshold is not None, self.learned_eps is not None]
        return self.derived(x, *self.affine_parameters(), *given, axes=(2, 3), eps=self.eps, definition=definition)

    def activates(self) -> ActivationSpec:
        return super().activates() if self.threshold is None else "relu"

    def extra_repr(self) -> str:
        words = ", threshold=False" * (self.threshold is None) + ", learned_eps=True" * (self.learned_eps is not None)
        return super().extra_repr() + words


class GlobalResponseNorm(ChannelsAnywhere):
    """Let channels compete: scale each by its size over all positions, relative to the mean size of all channels.

    y = weight · x · size / (mean(size) + eps) + bias + x, where size is the root of a channel's sum of squares. Weight
    and bias begin with 0, so the layer begins as the identity.

    Args:
        num_features: C.
        eps: added to the mean size.
        channels_last: whether the channels stand on the last axis.

    Source: Woo et al., ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders, 2023.

    Example:
        >>> x = Tensor([[[[1.0]], [[3.0]]]])  # two channels of one pixel, with a mean size of 2
        >>> norm = nn.GlobalResponseNorm(2)
        >>> norm.weight.replace(np.ones(2, "float32"))
        >>> print(norm(x).numpy().round(3).ravel())
        [1.5 7.5]
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
