"""Pooling: at each place of the output, the largest value or the average of a window; and norms by such averages."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import definitions, kernels
from tinygrad_norm.checks import FINITE, check_flag, check_integer, check_number, check_pair
from tinygrad_norm.definitions.windows import Window, windows
from tinygrad_norm.dtypes import Array, Pair, Shape
from tinygrad_norm.launch import constant
from tinygrad_norm.operands import wrap
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.arguments import check_dtypes, check_images, label, shape_dtype_of
from tinygrad_norm.ops.interpolation import resample
from tinygrad_norm.ops.reduction import mean, shape_of
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class MaxPool2D(FusedOp):
    """The largest value of each window; of equal ones the first in row order, which gets the whole gradient.

    A NaN wins, the last one of several. The way back needs its position in the window, a byte for each output, and not
    the input: what was chosen does not change with it, so `MaxUnpool2D` is the derivative of the definition as well.
    """

    definition = staticmethod(definitions.max_pool2d)
    saves_inputs = False

    def forward(self, x: Array, *, window: Window) -> Array:
        y, position = kernels.of(x).max_pool2d(x, window)
        self.save(position, x.shape)
        return y

    def backward(self, grad: Tensor) -> tuple[Tensor]:
        position, shape = self.saved
        return (MaxUnpool2D()(grad, position, shape=shape, window=self.params["window"]),)


class MaxUnpool2D(Op):
    """The sum, at each pixel of an image of that shape, of the values of the windows that chose it."""

    def forward(self, y: Array, position: Array, *, shape: Shape, window: Window) -> Array:
        self.save(position)
        return kernels.of(y).max_pool2d_gradient(y, position, shape, window)

    def backward(self, grad: Tensor) -> tuple[Tensor, None]:
        (position,) = self.saved
        chosen = [
            e.where(e.equal(position, place), value, 0.0)
            for place, value in enumerate(windows(grad, self.params["window"]))
        ]
        return functools.reduce(e.add, chosen), None


class AvgPool2D(FusedOp):
    """The sum of each window, over its divisor (H', W')."""

    definition = staticmethod(definitions.avg_pool2d)

    def composed(self, x: Tensor, *, divisor: Array, window: Window) -> Tensor:
        return definitions.avg_pool2d(x, wrap(divisor), window)

    def gradient(self, grad: Array, x: Array) -> tuple[Array]:
        return (kernels.of(grad).avg_pool2d_gradient(grad, shape=x.shape, **self.params),)


def max_pool2d(
    x: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the largest value of each window; of equal ones, the first in row order gets the gradient.

    Args:
        x: shape (N, C, H, W), or (C, H, W) for one image.
        kernel_size: the height and width of the window; a number or a pair.
        stride: by how many pixels the window moves; None for its own size.
        padding: by how many pixels windows may begin before the image and end after it, at most half of kernel_size.
        dilation: the distance in the input between neighbours in the window.
        ceil_mode: whether a last window may reach further, if it begins in the image or in the padding before it.

    Returns:
        Shape (N, C, H', W') where H' = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1, rounded down (up in
        ceil_mode), and W' likewise.

    Raises:
        ValueError: x has another number of axes or is too small for the window, or an argument is out of range.
        TypeError: x holds no floats, or an argument is of another type.

    Example:
        >>> ops.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
        Tensor([[[ 5.,  7.],
                 [13., 15.]]], dtype=float64)
    """
    shape = shape_of(x)
    if len(shape) == 3:
        y = max_pool2d(reshape(x, (1, *shape)), kernel_size, stride, padding, dilation, ceil_mode)
        return y.reshape(y.shape[1:])
    name = label("max_pool2d")
    return MaxPool2D()(x, window=_window(name, x, kernel_size, stride, padding, dilation, ceil_mode))


def avg_pool2d(
    x: Any,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Return the average of each window.

    Args:
        x, kernel_size, stride, padding, ceil_mode: as in `max_pool2d`.
        count_include_pad: whether padding counts as zeros; what lies beyond the padding never counts.
        divisor_override: what to divide the sum of a window by, instead of the number of its pixels.

    Raises:
        ValueError, TypeError: as in `max_pool2d`; or divisor_override is 0.

    Example:
        >>> ops.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
        Tensor([[[ 2.5,  4.5],
                 [10.5, 12.5]]], dtype=float64)
    """
    shape = shape_of(x)
    if len(shape) == 3:
        images = reshape(x, (1, *shape))
        y = avg_pool2d(images, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        return y.reshape(y.shape[1:])
    name = label("avg_pool2d")
    check_divisor(name, divisor_override)
    check_flag(f"{name}: count_include_pad", count_include_pad)
    window = _window(name, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is None:
        along = zip(shape[2:], window.kernel_size, window.stride, window.padding, window.size, strict=True)
        divisor = np.multiply.outer(*[_counted(*axis, count_include_pad) for axis in along])
    else:
        divisor = np.full(window.size, divisor_override)
    return AvgPool2D()(x, divisor=constant(divisor.astype(getattr(x, "dtype", np.float32))), window=window)


def adaptive_avg_pool2d(x: Any, output_size: int | tuple[int | None, int | None] | None) -> Tensor:
    """Return the averages of windows that are spread evenly, and overlap where the sizes do not divide.

    Window i of n goes from floor(i H / n) to ceil((i + 1) H / n). Where they overlap, it is by a matrix product, in
    which a NaN or an infinity leaves no finite value in its channel of the image.

    Args:
        x: shape (N, C, H, W), or (C, H, W) for one image.
        output_size: the height and width of the output: a number, or a pair; None keeps that of the input.

    Raises:
        ValueError: x has another number of axes or is empty, or a size is less than 1.
        TypeError: x holds no floats, or a size is no integer.

    Example:
        >>> ops.adaptive_avg_pool2d(np.arange(6.0).reshape(1, 2, 3), (1, 3))
        Tensor([[[1.5, 2.5, 3.5]]], dtype=float64)
    """
    shape = shape_of(x)
    if len(shape) == 3:
        y = adaptive_avg_pool2d(reshape(x, (1, *shape)), output_size)
        return y.reshape(y.shape[1:])
    name = label("adaptive_avg_pool2d")
    check_images(name, x)
    size = [m or n for n, m in zip(shape[2:], check_output_size(name, output_size), strict=True)]
    if size == [1, 1]:
        return mean(x, (2, 3), keepdims=True)
    if shape[2] % size[0] == shape[3] % size[1] == 0:
        return avg_pool2d(x, (shape[2] // size[0], shape[3] // size[1]))
    dtype = getattr(x, "dtype", np.float32)
    rows, columns = [constant(_averages(n, count).astype(dtype)) for n, count in zip(shape[2:], size, strict=True)]
    return resample(x, rows, columns)


class LocalResponseNorm(FusedOp):
    definition = staticmethod(definitions.local_response_norm)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide each value by how strongly its neighbours in the channels respond: x / (k + alpha · mean(x²))^beta.

    The mean is over the `size` channels around it, of an even size one more before it than after; outside are zeros.

    Args:
        x: shape (N, C, d1, ...), with at least one position axis.
        size: how many channels.
        alpha, beta, k: numbers.

    Raises:
        ValueError: x has fewer axes, or size is less than 1.
        TypeError: x holds no floats, or an argument is no number.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012,
        section 3.3, who leave out the division by size.

    Example:
        >>> print(ops.local_response_norm(np.ones((1, 3, 1)), size=3, alpha=3.0, beta=1.0).numpy().round(3).ravel())
        [0.333 0.25  0.333]
    """
    name = label("local_response_norm")
    size, alpha, beta, k = check_response(name, size, alpha, beta, k)
    kind = shape, _ = shape_dtype_of(x)
    check_dtypes(name, input=kind)
    if len(shape) < 3:
        raise ValueError(f"{name}: the input has shape (N, C, L), or more axes, got {shape}")
    if 0 in shape:
        return e.divide(x, k**beta)
    return LocalResponseNorm()(x, size=size, alpha=alpha, beta=beta, k=k)


def check_response(name: str, size: Any, alpha: Any, beta: Any, k: Any) -> tuple[int, float, float, float]:
    """Return what `local_response_norm` takes.

    Raises:
        ValueError, TypeError: size is no integer of at least 1, or another is no number.
    """
    size = check_integer(f"{name}: size", size, 1)
    alpha, beta = check_number(f"{name}: alpha", alpha, FINITE), check_number(f"{name}: beta", beta, FINITE)
    return size, alpha, beta, check_number(f"{name}: k", k, FINITE)


def check_window(
    name: str, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: Any = False
) -> tuple[Pair, Pair, Pair, Pair]:
    """Return the kernel's size, stride, padding and dilation as pairs.

    Raises:
        ValueError, TypeError: one is out of range, or no integer or pair; or ceil_mode is neither True nor False.
    """
    check_flag(f"{name}: ceil_mode", ceil_mode)
    kernel = check_pair(f"{name}: kernel_size", kernel_size, 1)
    strides = kernel if stride is None else check_pair(f"{name}: stride", stride, 1)
    border, spread = check_pair(f"{name}: padding", padding, 0), check_pair(f"{name}: dilation", dilation, 1)
    if any(2 * p > k for p, k in zip(border, kernel, strict=True)):
        raise ValueError(
            f"{name}: padding is at most half of kernel_size, got padding={padding!r} with kernel_size={kernel_size!r}"
        )
    return kernel, strides, border, spread


def check_output_size(name: str, output_size: Any) -> tuple[int | None, int | None]:
    """Return the size of what `adaptive_avg_pool2d` returns as a pair.

    Raises:
        ValueError, TypeError: one is less than 1, or neither an integer nor None.
    """
    given = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size, output_size)
    height, width = check_pair(f"{name}: output_size", [1 if n is None else n for n in given], 1)
    return None if given[0] is None else height, None if given[1] is None else width


def check_divisor(name: str, divisor: Any) -> None:
    """Refuse a divisor_override that is no integer, or 0."""
    if divisor is None:
        return
    if not isinstance(divisor, int | np.integer) or isinstance(divisor, bool):
        raise TypeError(f"{name}: divisor_override is an integer or None, got {divisor!r}")
    if divisor == 0:
        raise ValueError(f"{name}: divisor_override is not 0")


def _window(name: str, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Window:
    """Return the windows of x, after the checks of all arguments."""
    given = check_window(name, kernel, stride, padding, dilation, ceil_mode)
    shape = check_images(name, x)
    rows, columns = [_count(*axis, ceil_mode) for axis in zip(shape[2:], *given, strict=True)]
    if min(rows, columns) < 1:
        raise ValueError(
            f"{name}: the image is too small: windows of {given[0]} with dilation {given[3]} do not fit in an input "
            f"of shape {shape} with padding {given[2]}; pool less often, or use larger images"
        )
    return Window(*given, (rows, columns))


def _count(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Return how many windows there are along an axis of length n."""
    room = n + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - ((count - 1) * stride >= n + padding)  # the last one may not begin after the image


def _counted(n: int, kernel: int, stride: int, padding: int, count: int, count_include_pad: bool) -> Array:
    """Return how many pixels of each window along an axis count."""
    begin = np.arange(count) * stride - padding
    end = np.minimum(begin + kernel, n + padding)
    return end - begin if count_include_pad else np.minimum(end, n) - np.maximum(begin, 0)


def _averages(n: int, count: int) -> Array:
    """Return the matrix (count, n) whose rows average windows that are spread evenly over n pixels."""
    i, pixel = np.arange(count)[:, None], np.arange(n)
    begin, end = i * n // count, -(-(i + 1) * n // count)
    return ((begin <= pixel) & (pixel < end)) / (end - begin)
