"""LeNet-5, the first convolutional net in wide use."""

from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.models.parts import SmallClassifier, conv_norm, numbered


class LeNet5(SmallClassifier):
    """Two convolutions with norm, tanh and average pool, then three linear layers.

    (N, C, 32, 32) → 6×28×28 → 6×14×14 → 16×10×10 → 16×5×5 → 120 → 84 → classes; 61,706 parameters with `norm="none"`
    and one channel. Each map of the second convolution sees all of the first, and the last layer is linear.

    Args:
        num_classes, in_channels, image_size: of the images; 16 pixels or more.
        norm, norm_momentum: see `Norms`; LeCun's has "none".

    Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998.

    Example:
        >>> net = models.LeNet5(in_channels=1, norm="none")
        >>> f"{sum(each.size for each in net.parameters()):,}"
        '61,706'
    """

    in_order = ("features", "classifier")

    def __post_init__(self) -> None:
        norms, size = self.prepare(16, fixed=True)
        side = ((size - 4) // 2 - 4) // 2
        self.features = numbered(
            *conv_norm(self.in_channels, 6, 5, norms, "tanh", padding=0),
            nn.AvgPool2D(2),
            *conv_norm(6, 16, 5, norms, "tanh", padding=0),
            nn.AvgPool2D(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * side**2, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, self.num_classes),
        )
