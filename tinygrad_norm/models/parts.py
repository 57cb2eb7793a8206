"""What the nets of the zoo share: the checks of their input, and a convolution with its norm and activation."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from tinygrad_norm import nn
from tinygrad_norm.checks import check_flag, check_integer
from tinygrad_norm.models.norms import Activation, Norms
from tinygrad_norm.nn.checks import shape_of
from tinygrad_norm.tensor import Tensor


class ImageClassifier(nn.Module):
    """A net from images (N, in_channels, H, W) to logits (N, num_classes), which it defines as `logits(x)`.

    Args:
        num_classes, in_channels: how many logits and how many channels.
        image_size: height and width of the images; None: 32, or 224 in the ImageNet form.
        smallest: the least height and width that the net can take.
        small_images: whether this is the form for small images.
        fixed: whether it takes images of `image_size` alone, as a net without a pool before its linear layers does.

    Raises:
        TypeError: a number is not whole, or small_images neither True nor False.
        ValueError: a number is below 1, or the images are too small; in the call: they have another shape.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int | None,
        smallest: int,
        small_images: bool = True,
        fixed: bool = False,
    ) -> None:
        super().__init__()
        check_flag(f"{type(self).__name__}: small_images", small_images)
        image_size = (32 if small_images else 224) if image_size is None else image_size
        given = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        for name, value in given.items():
            check_integer(f"{type(self).__name__}: {name}", value, 1)
        self.in_channels, self.image_size, self.smallest, self.fixed = in_channels, image_size, smallest, fixed
        if image_size < smallest:
            raise ValueError(
                f"{type(self).__name__}: image_size should be {smallest} or more in this form of the net, "
                f"got {image_size}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images that fit."""
        self._check_images(shape_of(self, x))
        return self.logits(x)

    def logits(self, x: Tensor) -> Tensor:
        """Compute the logits; each net defines its own."""
        raise TypeError(f"{type(self).__name__} defines no logits(x)")

    def _check_images(self, shape: tuple[int, ...]) -> None:
        net, size = type(self).__name__, self.image_size
        if len(shape) != 4 or shape[1] != self.in_channels:
            hint = "; the channels come before height and width here" if shape[3:] == (self.in_channels,) else ""
            raise ValueError(f"{net}: images should have shape (N, {self.in_channels}, H, W), got {shape}{hint}")
        if self.fixed and shape[2:] != (size, size):
            raise ValueError(
                f"{net}: made for images of {size}×{size} pixels, got shape {shape}; say image_size= when making it"
            )
        if min(shape[2:]) < self.smallest:
            raise ValueError(f"{net}: images should be {self.smallest} pixels wide and high or more, got shape {shape}")


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norms: Norms,
    activation: Activation = "relu",
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


def scaled(channels: int, width: float) -> int:
    """Return `width` times as many channels, and at least one.

    Raises:
        TypeError, ValueError: the width is not a positive number.
    """
    if not isinstance(width, Real) or isinstance(width, bool):
        raise TypeError(f"width: should be a positive number, got {width!r}")
    if not (width > 0 and math.isfinite(width)):
        raise ValueError(f"width: multiplies the channels and should be a positive number, got {width}")
    return max(1, round(channels * width))
