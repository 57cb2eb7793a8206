"""VGG-16: 3×3 convolutions all the way, and a pool wherever the channels double."""

from __future__ import annotations

from typing import Any

from tinygrad_norm import nn
from tinygrad_norm.models.parts import ImageClassifier, conv_norm, draw_weights, he_normal, numbered, widened
from tinygrad_norm.nn import init
from tinygrad_norm.tensor import Tensor

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of each stage; a pool ends it. Configuration D of the paper."""


class VGG16(ImageClassifier):
    """Thirteen 3×3 convolutions in five stages, each of which ends in a pool, and linear layers.

    ImageNet form: (N, 3, 224, 224) → 64×112×112 → 128×56×56 → 256×28×28 → 512×14×14 → 512×7×7 → 4096 → 4096 → classes;
    it is torchvision's `vgg16_bn`, with 138,365,992 parameters at 1,000 classes (whose convolutions keep their biases),
    and with `norm="none"` its `vgg16`, with 138,357,544.
    Small form: (N, C, 32, 32) → 64×16×16 → 128×8×8 → 256×4×4 → 512×2×2 → 512×1×1 → classes; 14,724,042 parameters with
    3 channels and 10 classes. Its pools round up, so that 28 pixels are enough, and what they leave is averaged.

    Args:
        num_classes, in_channels: of the images.
        norm, norm_momentum: see `Norms`.
        small_images: the small form, for 17 pixels or more, or the ImageNet form, for 32 or more.
        image_size: 32 in the small form, 224 in the other, unless given.
        width: multiplies the channels and the hidden features.
        dropout: the probability of the dropout after each hidden linear layer.

    Source: Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition, 2015.

    Example:
        >>> net = models.VGG16(width=0.125).eval()
        >>> net(ops.ones((2, 3, 32, 32))).shape
        (2, 10)
    """

    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        norms, _ = self.prepare(17 if self.small_images else 32)
        layers: list[nn.Module | None] = []
        channels = self.in_channels
        for wide, convolutions in STAGES:
            for _ in range(convolutions):
                out_channels = widened(wide, self.width)
                layers += conv_norm(channels, out_channels, 3, norms, bias=norms.bias or not self.small_images)
                channels = out_channels
            layers.append(nn.MaxPool2D(2, ceil_mode=self.small_images))
        self.features = numbered(*layers)
        if self.small_images:
            self.avgpool: nn.Module = nn.AdaptiveAvgPool2D(1)
            self.classifier: nn.Module = nn.Linear(channels, self.num_classes)
        else:
            hidden = widened(4096, self.width)
            self.avgpool = nn.AdaptiveAvgPool2D(7)
            self.classifier = nn.Sequential(
                nn.Linear(channels * 7 * 7, hidden),
                nn.ReLU(),
                nn.Dropout(self.dropout),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Dropout(self.dropout),
                nn.Linear(hidden, self.num_classes),
            )
        self.reset_weights()

    def reset_weights(self) -> None:
        """Draw the weights anew: of convolutions as He et al. 2015, of linear layers with deviation 0.01."""
        draw_weights(self, nn.Conv2D, he_normal)
        draw_weights(self, nn.Linear, lambda weight: init.normal_(weight, std=0.01))

    def logits(self, x: Tensor) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
