"""ConvNeXt-T: a residual net that took over what made transformers good at images, layer norm included."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import nn, ops
from tinygrad_norm.models.norms import NormChoice, Norms, needs_positions
from tinygrad_norm.models.parts import ImageClassifier, draw_weights, widened
from tinygrad_norm.nn import init
from tinygrad_norm.tensor import Tensor

STAGES = ((96, 3), (192, 3), (384, 9), (768, 3))
"""Channels and number of blocks of each stage."""


class Permute(nn.Module):
    """Change the order of the axes: a view, which copies nothing."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute_dims(self.axes)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.axes))


class ConvNeXtBlock(nn.Module):
    """x + scale · f(x), where f is a 7×7 depthwise convolution, a norm, and at each pixel Linear, GELU, Linear.

    Input and output (N, channels, H, W). The layers of f go by the numbers that torchvision gives them.

    Source: Liu et al., A ConvNet for the 2020s, 2022, figure 4.
    """

    def __init__(self, channels: int, norms: Norms, layer_scale: float, stochastic_depth: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            {
                "0": nn.Conv2D(channels, channels, 7, padding=3, groups=channels),
                "2": norms(channels),
                "channels_last": Permute(0, 2, 3, 1),
                "3": nn.Linear(channels, 4 * channels),
                "4": nn.GELU(),
                "5": nn.Linear(4 * channels, channels),
                "channels_first": Permute(0, 3, 1, 2),
            }
        )
        self.layer_scale = nn.Parameter(np.full((channels, 1, 1), layer_scale), dtype=np.float32)
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.stochastic_depth(ops.scale(self.block(x), self.layer_scale)) + x
        return y


class ConvNeXtTiny(ImageClassifier):
    """A patch of pixels to a pixel, four stages of blocks with norm and 2×2 convolution between, average, norm, Linear.

    ImageNet form: patches of 4×4, (N, 3, 224, 224) → 96×56×56 → 192×28×28 → 384×14×14 → 768×7×7 → classes; it is
    torchvision's `convnext_tiny`, with 28,589,128 parameters at 1,000 classes.
    Small form: patches of 2×2, (N, C, 32, 32) → 96×16×16 → 192×8×8 → 384×4×4 → 768×2×2 → classes; 27,824,362
    parameters with 3 channels and 10 classes. Convolutions keep their biases, whatever the norm.

    Args:
        num_classes, in_channels: of the images.
        norm, norm_momentum: see `Norms`. After the average, where instance norm and IBN would see one value, it is
            layer norm.
        small_images: the small form, for 16 pixels or more, or the ImageNet form, for 32 or more; with instance norm
            or IBN, which need two pixels in the last stage, 32 and 64.
        image_size: 32 in the small form, 224 in the other, unless given.
        width: multiplies the channels.
        layer_scale: what the scale of each block begins with.
        stochastic_depth: the probability to leave out the last block; it grows from 0 for the first.

    Source: Liu et al., A ConvNet for the 2020s, 2022.

    Example:
        >>> net = models.ConvNeXtTiny(width=0.125).eval()
        >>> net(ops.ones((2, 3, 32, 32))).shape
        (2, 10)
    """

    norm: NormChoice = "layer"
    width: float = 1.0
    layer_scale: float = 1e-6
    stochastic_depth: float = 0.1

    def __post_init__(self) -> None:
        patch = 2 if self.small_images else 4
        norms, _ = self.prepare(8 * patch * (2 if needs_positions(self.norm) else 1))
        channels = widened(STAGES[0][0], self.width)
        features = [nn.Sequential(nn.Conv2D(self.in_channels, channels, patch, stride=patch), norms(channels))]
        done, last = 0, sum(blocks for _, blocks in STAGES) - 1
        for wide, blocks in STAGES:
            before, channels = channels, widened(wide, self.width)
            if done:
                features.append(nn.Sequential(norms(before), nn.Conv2D(before, channels, 2, stride=2)))
            rates = [self.stochastic_depth * (done + block) / last for block in range(blocks)]
            features.append(nn.Sequential(*[ConvNeXtBlock(channels, norms, self.layer_scale, rate) for rate in rates]))
            done += blocks
        self.features = nn.Sequential(*features)
        self.avgpool = nn.GlobalAvgPool2D(keepdims=True)
        after_average = Norms("layer") if needs_positions(self.norm) else norms
        self.classifier = nn.Sequential(after_average(channels), nn.Flatten(), nn.Linear(channels, self.num_classes))
        self.reset_weights()

    def reset_weights(self) -> None:
        """Draw the weights anew, with deviation 0.02."""
        draw_weights(self, nn.Conv2D | nn.Linear, lambda weight: init.trunc_normal_(weight, std=0.02))
