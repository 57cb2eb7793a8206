"""The multi-layer perceptron: linear layers on the pixels as one row."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_norm import nn
from tinygrad_norm.checks import check_type
from tinygrad_norm.models.parts import SmallClassifier


class MLP(SmallClassifier):
    """Hidden layers of Linear, norm and ReLU, and a last Linear: the first net of the batch norm paper.

    With `in_channels=1, image_size=28`: 784 → 256 → 128 → 10, of 235,530 parameters.

    Args:
        num_classes, in_channels, image_size: of the images (N, in_channels, image_size, image_size).
        norm, norm_momentum: see `Norms`; of rows, so none of `models.norms.UNFIT_FOR_ROWS`.
        hidden: the widths of the hidden layers.

    Source: Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
        shift, 2015, section 4.1.

    Example:
        >>> net = models.MLP(in_channels=1, image_size=28)
        >>> f"{sum(each.size for each in net.parameters()):,}", net.eval()(ops.ones((2, 1, 28, 28))).shape
        ('235,530', (2, 10))
    """

    in_order = ("layers",)
    of_rows = True
    hidden: Iterable[int] = (256, 128)

    def __post_init__(self) -> None:
        check_type("MLP: hidden", self.hidden, Iterable, "a sequence of widths, such as (256, 128)")
        norms, size = self.prepare(1, fixed=True)
        features = self.in_channels * size**2
        layers: list[nn.Module] = [nn.Flatten()]
        for width in self.hidden:
            layers += [nn.Linear(features, width, bias=norms.bias), norms(width, "relu")]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, self.num_classes))
