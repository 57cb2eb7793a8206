"""What the nets of the zoo share: arguments and checks, a convolution with its norm, how weights are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import partial
from types import UnionType
from typing import Any, ClassVar

from tinygrad_norm import nn
from tinygrad_norm.checks import POSITIVE, check_flag, check_integer, check_number
from tinygrad_norm.models.norms import NormChoice, Norms
from tinygrad_norm.nn import init
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.ops.activation import ActivationSpec
from tinygrad_norm.tensor import Tensor

he_normal = partial(init.kaiming_normal_, mode="fan_out", nonlinearity="relu")
"""The weights of convolutions as in He et al., Delving deep into rectifiers, 2015."""


class ImageClassifier(DataclassModule):
    """A net from images (N, in_channels, H, W) to logits (N, num_classes): its modules `in_order`, or its `logits(x)`.

    Args:
        num_classes, in_channels: how many logits and how many channels.
        norm, norm_momentum: see `Norms`.
        small_images: whether this is the form for small images, or that for ImageNet's.
        image_size: height and width of the images; None: 32, or 224 in the ImageNet form.

    Raises:
        TypeError: a number is not whole, or small_images neither True nor False.
        ValueError: a number is below 1, or the images are too small; in the call: they have another shape.

    Example:
        >>> class Tiny(models.ImageClassifier):
        ...     in_order = ("conv", "norm", "pool", "fc")
        ...     def __post_init__(self):
        ...         norms, size = self.prepare(smallest=3)
        ...         self.conv, self.norm = nn.Conv2D(self.in_channels, 8, 3), norms(8, "relu")
        ...         self.pool, self.fc = nn.GlobalAvgPool2D(), nn.Linear(8, self.num_classes)
        >>> Tiny(in_channels=1, norm="group")(ops.ones((2, 1, 32, 32))).shape
        (2, 10)
    """

    in_order: ClassVar[tuple[str, ...]] = ("features", "avgpool", "classifier")
    of_rows: ClassVar[bool] = False
    """Whether its norms are for rows rather than images."""
    num_classes: int = 10
    in_channels: int = 3
    norm: NormChoice = "batch"
    small_images: bool = True
    image_size: int | None = None
    norm_momentum: float | None = None

    def prepare(self, smallest: int, fixed: bool = False) -> tuple[Norms, int]:
        """Check the arguments; return what makes the norms, and the height and width of the images.

        Args:
            smallest: the least height and width that the net can take.
            fixed: whether it takes images of `image_size` alone, as a net without a pool before its linear layers does.
        """
        name = type(self).__name__
        check_flag(f"{name}: small_images", self.small_images)
        if self.image_size is None:
            self.image_size = 32 if self.small_images else 224
        for number in ("num_classes", "in_channels"):
            check_integer(f"{name}: {number}", getattr(self, number), 1)
        self.smallest, self.fixed = smallest, fixed
        size = check_integer(f"{name}: image_size", self.image_size, smallest)
        return Norms(self.norm, self.norm_momentum, self.of_rows), size

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images that fit."""
        shape, size = input_shape(self, x), self.image_size
        fit = shape[2:] == (size, size) if self.fixed else min(shape[2:], default=0) >= self.smallest
        if len(shape) != 4 or shape[1] != self.in_channels or not fit:
            sides = (
                f"{size}, {size}) with image_size={size}" if self.fixed else f"H, W) of {self.smallest} pixels or more"
            )
            hint = "; the channels come before height and width here" if shape[3:] == (self.in_channels,) else ""
            raise ValueError(f"{type(self).__name__}: images are (N, {self.in_channels}, {sides}, got {shape}{hint}")
        y: Tensor = self.logits(x)
        return y

    def logits(self, x: Tensor) -> Any:
        """Return what the modules `in_order` make of x, one after the other."""
        for name in self.in_order:
            x = getattr(self, name)(x)
        return x


class SmallClassifier(ImageClassifier):
    """A net that has the form for small images alone."""

    small_images: bool = field(default=True, init=False)


def draw_weights(net: nn.Module, kind: type[nn.Module] | UnionType, draw: Callable[[Tensor], object]) -> None:
    """Draw the weights of all layers of a kind anew, and set their biases to 0."""
    for layer in net.modules():
        if isinstance(layer, kind):
            draw(layer.weight)
            if layer.bias is not None:
                init.zeros_(layer.bias)


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norms: Norms,
    activation: ActivationSpec = "relu",
    bias: bool | None = None,
    **options: Any,
) -> list[nn.Module | None]:
    """Return a convolution, its norm, and an empty place for the activation, which the norm applies.

    Args:
        in_channels, out_channels, kernel_size: of the convolution.
        norms: makes the norm; where it makes none, the activation follows the convolution at once.
        activation: applied in the norm.
        bias: whether the convolution has one; None: if the norm has none.
        options: what else the convolution takes; its padding is half the kernel unless said.
    """
    options.setdefault("padding", (kernel_size - 1) // 2)
    bias = norms.bias if bias is None else bias
    conv = nn.Conv2D(in_channels, out_channels, kernel_size, bias=bias, **options)
    layer = norms(out_channels, activation)
    return [conv, layer] if norms.norm == "none" or activation is None else [conv, layer, None]


def numbered(*layers: nn.Module | None) -> nn.Sequential:
    """Return the layers in a Sequential, named by their places; None leaves a place empty."""
    return nn.Sequential({str(place): layer for place, layer in enumerate(layers) if layer is not None})


def widened(channels: int, width: float) -> int:
    """Return `width` times as many channels, and at least one.

    Raises:
        TypeError, ValueError: the width is not a positive number.
    """
    return max(1, round(channels * check_number("width", width, POSITIVE)))
