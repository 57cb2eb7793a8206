"""Small nets whose norm and depth are to be chosen: plain and residual for digits of 8×8 pixels, one for MNIST-1D."""

from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.models.norms import NormChoice, Norms
from tinygrad_norm.models.parts import conv_norm, draw_weights, he_normal, numbered
from tinygrad_norm.tensor import Tensor


def plain_net(norm: NormChoice, width: int = 16, convolutions: int = 2) -> nn.Sequential:
    """Return a net of three stages of 3×3 convolutions, (N, 1, 8, 8) → 8×8 → 4×4 → 2×2 → 10.

    Each convolution has a norm and ReLU; the channels are 1, 2 and 4 times `width`. What is left is averaged.
    """
    norms, channels = Norms(norm), 1
    layers: list[nn.Module | None] = []
    for stage in range(3):
        for _ in range(convolutions):
            layers += conv_norm(channels, width * 2**stage, 3, norms)
            channels = width * 2**stage
        layers.append(nn.MaxPool2D(2) if stage < 2 else nn.AdaptiveAvgPool2D(1))
    return _drawn(numbered(*layers, nn.Flatten(), nn.Linear(channels, 10)))


def signal_net(norm: NormChoice, width: int = 16) -> nn.Sequential:
    """Return a net of three convolutions over five neighbours, (N, 1, 1, 40) → 40 → 20 → 10 → 10 classes.

    Each has a norm and ReLU; the channels are 1, 2 and 4 times `width`. What is left is averaged.
    """
    norms, channels = Norms(norm), 1
    layers: list[nn.Module | None] = []
    for stage in range(3):
        conv = nn.Conv2D(channels, width * 2**stage, (1, 5), padding=(0, 2), bias=norms.bias)
        channels = width * 2**stage
        layers += [conv, norms(channels, "relu"), nn.MaxPool2D((1, 2)) if stage < 2 else nn.AdaptiveAvgPool2D(1)]
    return _drawn(numbered(*layers, nn.Flatten(), nn.Linear(channels, 10)))


def residual_net(norm: NormChoice, blocks: int, width: int = 8) -> nn.Sequential:
    """Return a residual net of 2 · `blocks` blocks, the second half of them at half the pixels and twice the channels.

    It has 4 · `blocks` + 2 layers with weights, beside the one that widens, (N, 1, 8, 8) → 8×8 → 4×4 → 10.

    Source: He et al., Deep residual learning for image recognition, 2015, section 4.2, with two of the three stages.
    """
    norms = Norms(norm)
    layers: list[nn.Module | None] = [*conv_norm(1, width, 3, norms)]
    layers += [Block(width, norms) for _ in range(blocks)]
    layers += conv_norm(width, 2 * width, 1, norms, stride=2)
    layers += [Block(2 * width, norms) for _ in range(blocks)]
    return _drawn(numbered(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(2 * width, 10)))


class Block(nn.Module):
    """Two 3×3 convolutions with norms, added to what comes in; then ReLU."""

    def __init__(self, channels: int, norms: Norms) -> None:
        super().__init__()
        self.branch = numbered(
            *conv_norm(channels, channels, 3, norms), *conv_norm(channels, channels, 3, norms, activation=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = x + self.branch(x)
        return total.relu()


def _drawn(net: nn.Sequential) -> nn.Sequential:
    """Draw the weights of the convolutions as He et al. do for ReLU."""
    draw_weights(net, nn.Conv2D, he_normal)
    return net
