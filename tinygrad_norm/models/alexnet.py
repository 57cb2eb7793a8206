"""AlexNet, in the form with one path through the net."""

from __future__ import annotations

from typing import Any

from tinygrad_norm import nn
from tinygrad_norm.models.parts import ImageClassifier, conv_norm, numbered, widened
from tinygrad_norm.tensor import Tensor


class AlexNet(ImageClassifier):
    """Five convolutions, three max pools, three linear layers with dropout.

    ImageNet form: (N, 3, 224, 224) → 64×55×55 → 192×27×27 → 384×13×13 → 256×13×13 → 256×6×6 → 4096 → 4096 → classes;
    with `norm="none"` it is torchvision's `alexnet`, with 61,100,840 parameters at 1,000 classes.
    Small form: (N, C, 32, 32) → 64×32×32 → 192×16×16 → 384×8×8 → 256×8×8 → 256×4×4 → 1024 → 512 → classes; 6,977,994
    parameters with batch norm, 3 channels and 10 classes.

    Args:
        num_classes, in_channels: of the images.
        norm, norm_momentum: see `Norms`; Krizhevsky's has "none" of them.
        small_images: the small form, for 8 pixels or more, or the ImageNet form, for 63 or more.
        image_size: 32 in the small form, 224 in the other, unless given.
        width: multiplies the channels and the hidden features.
        dropout: the probability of the dropout before each hidden linear layer.

    Source: Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014; Krizhevsky, Sutskever
        and Hinton 2012.

    Example:
        >>> net = models.AlexNet(width=0.125).eval()
        >>> net(ops.ones((2, 3, 32, 32))).shape
        (2, 10)
    """

    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        norms, size = self.prepare(8 if self.small_images else 63, fixed=self.small_images)
        c1, c2, c3, c4 = [widened(channels, self.width) for channels in (64, 192, 384, 256)]
        h1, h2 = [widened(features, self.width) for features in ((1024, 512) if self.small_images else (4096, 4096))]
        if self.small_images:
            stem, kernel, pool, side = conv_norm(self.in_channels, c1, 3, norms), 3, (2, 2), size // 8
        else:
            stem, kernel, pool, side = conv_norm(self.in_channels, c1, 11, norms, stride=4, padding=2), 5, (3, 2), 6
        self.features = numbered(
            *stem,
            nn.MaxPool2D(*pool),
            *conv_norm(c1, c2, kernel, norms),
            nn.MaxPool2D(*pool),
            *conv_norm(c2, c3, 3, norms),
            *conv_norm(c3, c4, 3, norms),
            *conv_norm(c4, c4, 3, norms),
            nn.MaxPool2D(*pool),
        )
        self.avgpool = nn.Identity() if self.small_images else nn.AdaptiveAvgPool2D(side)
        self.classifier = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(c4 * side**2, h1),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(h1, h2),
            nn.ReLU(),
            nn.Linear(h2, self.num_classes),
        )

    def logits(self, x: Tensor) -> Any:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))
