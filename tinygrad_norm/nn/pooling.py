"""Pooling and resizing of images (N, C, H, W), with PyTorch's arguments; pooling also takes one image (C, H, W)."""

from __future__ import annotations

from tinygrad_norm import ops
from tinygrad_norm.checks import check_flag
from tinygrad_norm.dtypes import Pair
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.ops.interpolation import check_interpolation
from tinygrad_norm.ops.pooling import check_divisor, check_output_size, check_window
from tinygrad_norm.tensor import Tensor


class Pool2D(OpModule):
    """Pooling has windows of `kernel_size`, which lie as far apart as they are wide unless `stride` says otherwise."""

    kernel_size: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0

    def __post_init__(self) -> None:
        if self.stride is None:
            self.stride = self.kernel_size
        dilation = getattr(self, "dilation", 1)
        check_window(type(self).__name__, self.kernel_size, self.stride, self.padding, dilation, self.ceil_mode)


class MaxPool2D(Pool2D, op=ops.max_pool2d):
    """The largest value of each window; of equal ones, the first in row order gets the gradient.

    Raises:
        ValueError, TypeError: an argument is out of range, or no integer or pair.

    Example:
        >>> nn.MaxPool2D(2)(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        Tensor([[[[4.]]]])
    """

    dilation: int | Pair = 1
    ceil_mode: bool = False


class AvgPool2D(Pool2D, op=ops.avg_pool2d):
    """The average of each window.

    Raises:
        ValueError, TypeError: an argument is out of range, or no integer or pair.

    Example:
        >>> nn.AvgPool2D(2)(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
        Tensor([[[[2.5]]]])
    """

    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("AvgPool2D: count_include_pad", self.count_include_pad)
        check_divisor("AvgPool2D", self.divisor_override)


class AdaptiveAvgPool2D(OpModule, op=ops.adaptive_avg_pool2d):
    """The averages of as many windows as the output has pixels, spread evenly; None keeps a side as it is.

    Raises:
        ValueError, TypeError: a size is less than 1, or no integer.

    Example:
        >>> nn.AdaptiveAvgPool2D((1, None))(ops.ones((2, 3, 4, 5))).shape
        (2, 3, 1, 5)
    """

    output_size: int | tuple[int | None, int | None] | None

    def __post_init__(self) -> None:
        check_output_size("AdaptiveAvgPool2D", self.output_size)


class GlobalAvgPool2D(DataclassModule):
    """The average of each channel over all its pixels: (N, C, H, W) to (N, C), or to (N, C, 1, 1) with keepdims.

    Source: Lin, Chen and Yan, Network in network, ICLR 2014.

    Example:
        >>> nn.GlobalAvgPool2D()(ops.ones((2, 3, 4, 4))).shape
        (2, 3)
    """

    keepdims: bool = False

    def forward(self, x: Tensor) -> Tensor:
        shape = input_shape(self, x)
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

    Example:
        >>> nn.Upsample(scale_factor=2)(ops.ones((1, 3, 4, 4))).shape
        (1, 3, 8, 8)
    """

    size: int | Pair | None = None
    scale_factor: float | tuple[float, float] | None = None
    mode: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        check_interpolation("Upsample", **self._arguments())
