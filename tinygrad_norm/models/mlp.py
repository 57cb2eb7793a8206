"""The multi-layer perceptron: linear layers on the pixels as one row."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_norm import nn
from tinygrad_norm.models.norms import Norm, Norms
from tinygrad_norm.models.parts import ImageClassifier
from tinygrad_norm.tensor import Tensor


class MLP(ImageClassifier):
    """Hidden layers of Linear, norm and ReLU, and a last Linear: the first net of the batch norm paper.

    With `in_channels=1, image_size=28`: 784 → 256 → 128 → 10, of 235,530 parameters.

    Args:
        num_classes, in_channels, image_size: of the images (N, in_channels, image_size, image_size).
        norm, norm_momentum: see `Norms`; of rows, so there is no "instance".
        hidden: the widths of the hidden layers.

    Source: Ioffe and Szegedy 2015, section 4.1.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        norm: Norm = "batch",
        image_size: int | None = None,
        norm_momentum: float | None = None,
        hidden: Iterable[int] = (256, 128),
    ) -> None:
        super().__init__(num_classes, in_channels, image_size, smallest=1, fixed=True)
        if not isinstance(hidden, Iterable) or isinstance(hidden, str):
            raise TypeError(f"MLP: hidden should be a sequence of widths, such as (256, 128), got {hidden!r}")
        norms = Norms(norm, norm_momentum, rows=True)
        features = in_channels * self.image_size**2
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers += [nn.Linear(features, width, bias=norms.bias), norms(width, "relu")]
            features = width
        self.layers = nn.Sequential(*layers, nn.Linear(features, num_classes))

    def logits(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y
