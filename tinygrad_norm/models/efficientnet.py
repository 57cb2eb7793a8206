"""EfficientNet-B0: inverted bottlenecks with depthwise convolutions and squeeze-and-excitation."""

from __future__ import annotations

import math
from typing import NamedTuple

from tinygrad_norm import nn
from tinygrad_norm.models.norms import Norms, needs_positions
from tinygrad_norm.models.parts import ImageClassifier, conv_norm, draw_weights, he_normal, numbered, widened
from tinygrad_norm.nn import init
from tinygrad_norm.tensor import Tensor


class Stage(NamedTuple):
    """One row of the paper's table 1; the stride is that of the stage's first block."""

    expansion: int
    kernel_size: int
    stride: int
    channels: int
    blocks: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


class MBConv(nn.Module):
    """Expand the channels, convolve each by itself, weigh them, and project; x is added where the shapes are equal.

    Input (N, in_channels, H, W), output (N, channels, ⌈H / stride⌉, ⌈W / stride⌉).

    Source: Sandler et al., MobileNetV2, 2018; Hu et al., "Squeeze-and-excitation networks", 2018.
    """

    def __init__(self, in_channels: int, stride: int, stage: Stage, norms: Norms, stochastic_depth: float) -> None:
        super().__init__()
        wide = in_channels * stage.expansion
        expand = [numbered(*conv_norm(in_channels, wide, 1, norms, "silu"))] if wide != in_channels else []
        depthwise = conv_norm(wide, wide, stage.kernel_size, norms, "silu", stride=stride, groups=wide)
        self.block = nn.Sequential(
            *expand,
            numbered(*depthwise),
            nn.SqueezeExcite(wide, max(1, in_channels // 4), activation=nn.SiLU),
            numbered(*conv_norm(wide, stage.channels, 1, norms, activation=None)),
        )
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth)
        self.adds = stride == 1 and in_channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return self.stochastic_depth(y) + x if self.adds else y


class EfficientNetB0(ImageClassifier):
    """A convolution, seven stages of inverted bottlenecks, a 1×1 convolution, the average, dropout, a linear layer.

    ImageNet form: (N, 3, 224, 224) → 32×112×112 → 16×112×112 → 24×56×56 → 40×28×28 → 80×14×14 → 112×14×14 → 192×7×7 →
    320×7×7 → 1280×7×7 → classes; it is torchvision's `efficientnet_b0`, with 5,288,548 parameters at 1,000 classes.
    Small form: the stem has stride 1, (N, C, 32, 32) → 32×32×32 → … → 1280×2×2 → classes; 4,020,358 parameters with
    3 channels and 10 classes.

    Args:
        num_classes, in_channels: of the images.
        norm, norm_momentum: see `Norms`.
        small_images: the small form, for 16 pixels or more, or the ImageNet form, for 32 or more; with instance norm
            or IBN, whose last layer needs two pixels, 17 and 33.
        image_size: 32 in the small form, 224 in the other, unless given.
        width: multiplies the channels, which are then rounded to a multiple of 8.
        dropout: the probability of the dropout before the linear layer.
        stochastic_depth: the probability to leave out a block, which grows from 0 for the first to this after the last.

    Source: Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks, 2019.

    Example:
        >>> net = models.EfficientNetB0(width=0.25).eval()
        >>> net(ops.ones((2, 3, 32, 32))).shape
        (2, 10)
    """

    width: float = 1.0
    dropout: float = 0.2
    stochastic_depth: float = 0.2

    def __post_init__(self) -> None:
        norms, _ = self.prepare((16 if self.small_images else 32) + needs_positions(self.norm))
        channels = rounded(STEM, self.width)
        features = [
            numbered(*conv_norm(self.in_channels, channels, 3, norms, "silu", stride=1 if self.small_images else 2))
        ]
        done, blocks = 0, sum(stage.blocks for stage in STAGES)
        for row in STAGES:
            stage = row._replace(channels=rounded(row.channels, self.width))
            made: list[nn.Module] = []
            for stride in (stage.stride, *[1] * (stage.blocks - 1)):
                made.append(MBConv(channels, stride, stage, norms, self.stochastic_depth * done / blocks))
                channels, done = stage.channels, done + 1
            features.append(nn.Sequential(*made))
        features.append(numbered(*conv_norm(channels, 4 * channels, 1, norms, "silu")))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.GlobalAvgPool2D()
        self.classifier = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(4 * channels, self.num_classes))
        self.reset_weights()

    def reset_weights(self) -> None:
        """Draw the weights anew: of convolutions as He et al. 2015, of the linear layer within 1 / √num_classes."""
        draw_weights(self, nn.Conv2D, he_normal)
        bound = 1 / math.sqrt(self.num_classes)
        draw_weights(self, nn.Linear, lambda weight: init.uniform_(weight, -bound, bound))


def rounded(channels: int, width: float) -> int:
    """Return `width` times as many channels, as a multiple of 8 that is at most a tenth less."""
    wanted = widened(channels, width)
    nearest = max(8, (wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8
