"""Squeeze and excitation: each channel of an image is scaled by what all its channels are on average."""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_norm import ops
from tinygrad_norm.checks import check_choice
from tinygrad_norm.nn.activation import ACTIVATION_LAYERS, activation_layer
from tinygrad_norm.nn.convolution import Conv2D
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.pooling import AdaptiveAvgPool2D
from tinygrad_norm.tensor import Tensor


class SqueezeExcite(Module):
    """x times a weight for each of its channels: the average of each, through two 1×1 convolutions and activations.

    Input and output (N, channels, H, W).

    Args:
        channels: of the input.
        squeeze_channels: between the two convolutions, usually a quarter to a sixteenth of them.
        activation: after the first convolution: a name, or what makes the module.
        scale_activation: after the second, likewise.

    Raises:
        ValueError: an activation's name is not known.
        TypeError, ValueError: as `Conv2D`, for the channels.

    Source: Hu, Shen and Sun, Squeeze-and-excitation networks, CVPR 2018; the names are torchvision's.

    Example:
        >>> nn.SqueezeExcite(8, squeeze_channels=2)(ops.ones((2, 8, 4, 4))).shape
        (2, 8, 4, 4)
    """

    followed_by = (("fc1", "activation"), ("fc2", "scale_activation"))

    def __init__(
        self,
        channels: int,
        squeeze_channels: int,
        activation: str | Callable[[], Module] = "relu",
        scale_activation: str | Callable[[], Module] = "sigmoid",
    ) -> None:
        super().__init__()
        self.avgpool = AdaptiveAvgPool2D(1)
        self.fc1 = Conv2D(channels, squeeze_channels, 1)
        self.fc2 = Conv2D(squeeze_channels, channels, 1)
        self.activation = _made("activation", activation)
        self.scale_activation = _made("scale_activation", scale_activation)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.activation(self.fc1(self.avgpool(x)))
        return ops.scale(x, self.scale_activation(self.fc2(squeezed)))


def _made(argument: str, activation: str | Callable[[], Module]) -> Module:
    name = f"SqueezeExcite: {argument}"
    if isinstance(activation, Module):
        raise TypeError(f"{name} is a name, or makes a module, as nn.ReLU does, got {activation!r}")
    check_choice(name, activation, ACTIVATION_LAYERS, "what makes a module, as nn.ReLU does")
    return activation_layer(activation) if isinstance(activation, str) else activation()
