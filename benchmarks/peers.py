"""The zoo in plain PyTorch: the same nets, with the same parameters in the same order, as its users write them.

Activations work in place, which saves PyTorch time and memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.nets import EFFICIENTNET

CLASSES = 10
NORM_EPS = 1e-6


def conv_norm(inputs: int, outputs: int, kernel: int, activation: Any = None, stride: int = 1, groups: int = 1) -> Any:
    """A convolution without bias, its batch norm, and the activation where there is one."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), *([activation] if activation else [])]


def mlp() -> Any:
    """784-256-128-10 with batch norm and ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 128, bias=False),
        nn.BatchNorm1d(128),
        nn.ReLU(inplace=True),
        nn.Linear(128, CLASSES),
    )


def baseline_cnn() -> Any:
    """Three 3×3 convolutions, two pools, two linear layers, dropout."""
    return nn.Sequential(
        *conv_norm(3, 32, 3, nn.ReLU(inplace=True)),
        *conv_norm(32, 64, 3, nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Dropout(0.15),
        *conv_norm(64, 128, 3, nn.LeakyReLU(0.1, inplace=True)),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(128 * 8 * 8, 256),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(256, CLASSES),
    )


def alexnet() -> Any:
    """The small form: five 3×3 convolutions, three pools, three linear layers, dropout."""
    return nn.Sequential(
        *conv_norm(3, 64, 3, nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        *conv_norm(64, 192, 3, nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        *conv_norm(192, 384, 3, nn.ReLU(inplace=True)),
        *conv_norm(384, 256, 3, nn.ReLU(inplace=True)),
        *conv_norm(256, 256, 3, nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(256 * 4 * 4, 1024),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(1024, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, CLASSES),
    )


def vgg16() -> Any:
    """The small form: thirteen 3×3 convolutions, five pools, the average, one linear layer."""
    layers, channels = [], 3
    for wide, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += conv_norm(channels, wide, 3, nn.ReLU(inplace=True))
            channels = wide
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class BasicBlock(nn.Module):  # type: ignore[misc] # PyTorch has no types here
    """relu(x + f(x)), where f is two 3×3 convolutions with norms."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.f = nn.Sequential(
            *conv_norm(inputs, channels, 3, nn.ReLU(inplace=True), stride), *conv_norm(channels, channels, 3)
        )
        same = stride == 1 and inputs == channels
        self.downsample = nn.Identity() if same else nn.Sequential(*conv_norm(inputs, channels, 1, stride=stride))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.relu(self.f(x) + self.downsample(x))


def resnet18() -> Any:
    """The small form: a 3×3 stem without a pool, four stages of two blocks."""
    layers, channels = conv_norm(3, 64, 3, nn.ReLU(inplace=True)), 64
    for wide, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [BasicBlock(channels, wide, stride), BasicBlock(wide, wide, 1)]
        channels = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class StochasticDepth(nn.Module):  # type: ignore[misc]
    """In training, leave out what a branch adds to an image, with probability p."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0:
            return x
        kept = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * kept


class SqueezeExcite(nn.Module):  # type: ignore[misc]
    """x times a weight for each of its channels, made from the averages of all."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Any) -> Any:
        return self.scale(x) * x


class MBConv(nn.Module):  # type: ignore[misc]
    """Expand the channels, convolve each by itself, weigh them, and project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, p: float) -> None:
        super().__init__()
        wide = inputs * expansion
        self.block = nn.Sequential(
            *(conv_norm(inputs, wide, 1, nn.SiLU(inplace=True)) if expansion > 1 else []),
            *conv_norm(wide, wide, kernel, nn.SiLU(inplace=True), stride, groups=wide),
            SqueezeExcite(wide, inputs // 4),
            *conv_norm(wide, outputs, 1),
        )
        self.stochastic_depth = StochasticDepth(p)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Any) -> Any:
        y = self.block(x)
        return self.stochastic_depth(y) + x if self.adds else y


def efficientnet_b0() -> Any:
    """The form with a stem of stride 1."""
    layers, channels, done = conv_norm(3, 32, 3, nn.SiLU(inplace=True)), 32, 0
    for expansion, kernel, stride, outputs, blocks in EFFICIENTNET:
        for block in range(blocks):
            layers.append(MBConv(channels, outputs, expansion, kernel, stride if block == 0 else 1, 0.2 * done / 16))
            channels, done = outputs, done + 1
    layers += conv_norm(channels, 1280, 1, nn.SiLU(inplace=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, CLASSES))


class Permute(nn.Module):  # type: ignore[misc]
    """Change the order of the axes."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Any) -> Any:
        return x.permute(self.axes)


def layer_norm_2d(channels: int) -> Any:
    """Layer norm over the channels at each pixel, as torchvision has it."""
    return [Permute(0, 2, 3, 1), nn.LayerNorm(channels, eps=NORM_EPS), Permute(0, 3, 1, 2)]


class ConvNeXtBlock(nn.Module):  # type: ignore[misc]
    """x + scale · f(x), where f is a 7×7 depthwise convolution, a norm, and at each pixel Linear, GELU, Linear."""

    def __init__(self, channels: int, p: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),
            nn.LayerNorm(channels, eps=NORM_EPS),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.stochastic_depth = StochasticDepth(p)

    def forward(self, x: Any) -> Any:
        return self.stochastic_depth(self.layer_scale * self.block(x)) + x


def convnext_tiny() -> Any:
    """The form with patches of 2×2: four stages of blocks, each after the first behind a norm and a 2×2 convolution."""
    layers, channels, done = [nn.Conv2d(3, 96, 2, stride=2), *layer_norm_2d(96)], 96, 0
    for wide, blocks in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if wide != channels:
            layers += [*layer_norm_2d(channels), nn.Conv2d(channels, wide, 2, stride=2)]
        layers += [ConvNeXtBlock(wide, 0.1 * (done + block) / 17) for block in range(blocks)]
        channels, done = wide, done + blocks
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), *layer_norm_2d(channels), nn.Flatten(), nn.Linear(channels, CLASSES)
    )


PEERS: dict[str, Callable[[], Any]] = {
    net.__name__: net for net in (mlp, baseline_cnn, alexnet, vgg16, resnet18, efficientnet_b0, convnext_tiny)
}
