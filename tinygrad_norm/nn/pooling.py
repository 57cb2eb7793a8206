"""Pooling and resizing of images (N, C, H, W), with PyTorch's arguments; pooling also takes one image (C, H, W)."""

from __future__ import annotations

from tinygrad_norm import ops
from tinygrad_norm.checks import check_flag
from tinygrad_norm.dtypes import Pair
from tinygrad_norm.nn.checks import shape_of
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.ops.interpolation import check_interpolation
from tinygrad_norm.ops.pooling import check_divisor, check_output_size, check_window
from tinygrad_norm.tensor import Tensor


class MaxPool2D(OpModule, op=ops.max_pool2d):
    """The largest value of each window; of equal ones, the first in row order gets the gradient.

    Raises:
        ValueError, TypeError: an argument is out of range, or no integer or pair.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        stride = kernel_size if stride is None else stride
        super().__init__(
            kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
        )
        check_window("MaxPool2D", kernel_size, stride, padding, dilation, ceil_mode)


class AvgPool2D(OpModule, op=ops.avg_pool2d):
    """The average of each window.

    Raises:
        ValueError, TypeError: an argument is out of range, or no integer or pair.
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        stride = kernel_size if stride is None else stride
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            divisor_override=divisor_override,
        )
        check_window("AvgPool2D", kernel_size, stride, padding, ceil_mode=ceil_mode)
        check_flag("AvgPool2D: count_include_pad", count_include_pad)
        check_divisor("AvgPool2D", divisor_override)


class AdaptiveAvgPool2D(OpModule, op=ops.adaptive_avg_pool2d):
    """The averages of as many windows as the output has pixels, spread evenly; None keeps a side as it is.

    Raises:
        ValueError, TypeError: a size is less than 1, or no integer.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__(output_size=output_size)
        check_output_size("AdaptiveAvgPool2D", output_size)


class GlobalAvgPool2D(Module):
    """The average of each channel over all its pixels: (N, C, H, W) to (N, C), or to (N, C, 1, 1) with keepdims.

    Source: Lin, Chen and Yan, "Network in network", ICLR 2014.
    """

    def __init__(self, keepdims: bool = False) -> None:
        super().__init__()
        self.keepdims = keepdims

    def forward(self, x: Tensor) -> Tensor:
        shape = shape_of(self, x)
        if len(shape) not in (3, 4) or 0 in shape[-3:]:
            name = label("GlobalAvgPool2D")
            raise ValueError(f"{name}: the input has shape (N, C, H, W) or (C, H, W), not empty, got {shape}")
        return ops.mean(x, axis=(-2, -1), keepdims=self.keepdims)

    def extra_repr(self) -> str:
        return "keepdims=True" if self.keepdims else ""


class Upsample(OpModule, op=ops.interpolate):
    """Images made larger or smaller, to a size or by a factor: by the nearest pixel, or "bilinear" between pixels.

    Raises:
        ValueError, TypeError: as `ops.interpolate`, for what can be known without an image.
    """

    def __init__(
        self,
        size: int | Pair | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> None:
        super().__init__(size=size, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
        check_interpolation("Upsample", size, scale_factor, mode, align_corners)
