"""The baseline: a small convolutional net with batch norm and dropout, for images of 28 to 64 pixels."""

from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.models.parts import SmallClassifier, conv_norm, numbered, widened


class BaselineCNN(SmallClassifier):
    """Three 3×3 convolutions with norm, two pools, two linear layers, and dropout.

    (N, C, 32, 32) → 32×32×32 → 64×32×32 → 64×16×16 → 128×16×16 → 128×8×8 → 256 → classes; 2,193,450 parameters with
    3 channels and 10 classes.

    Args:
        num_classes, in_channels, image_size: of the images; 4 pixels or more.
        norm, norm_momentum: see `Norms`.
        width: multiplies the channels and the hidden features.

    Example:
        >>> net = models.BaselineCNN(in_channels=1, width=0.25, norm="group").eval()
        >>> net(ops.ones((2, 1, 32, 32))).shape
        (2, 10)
    """

    in_order = ("features", "classifier")
    width: float = 1.0

    def __post_init__(self) -> None:
        norms, size = self.prepare(4, fixed=True)
        c1, c2, c3, hidden = [widened(channels, self.width) for channels in (32, 64, 128, 256)]
        self.features = numbered(
            *conv_norm(self.in_channels, c1, 3, norms),
            *conv_norm(c1, c2, 3, norms),
            nn.MaxPool2D(2),
            nn.Dropout(0.15),
            *conv_norm(c2, c3, 3, norms, ("leaky_relu", 0.1)),
            nn.MaxPool2D(2),
            nn.Dropout(0.25),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c3 * (size // 4) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, self.num_classes),
        )
