"""Pooling of images [N, C, H, W], and local response normalization, a pool of channels."""

from __future__ import annotations

import functools
import itertools
import math
import operator

from tinygrad_norm.definitions.windows import Window, add_windows, windows
from tinygrad_norm.dtypes import AnyArray


def max_pool2d(x: AnyArray, window: Window) -> tuple[AnyArray, AnyArray]:
    """The largest value of each window, and its place: the first of equal ones, but a NaN beats all before it.

    Returns:
        y, and the places as small integers; kh kw where a window misses the image, whose largest value is -inf.
    """
    xp, nowhere = x.__array_namespace__(), math.prod(window.kernel_size)
    dtype = xp.uint8 if nowhere < 256 else xp.int32
    values = windows(x, window, -xp.inf)
    insides = windows(xp.ones((1, 1, *x.shape[2:]), dtype=xp.bool), window, False)
    best = next(values)
    position = xp.where(next(insides), xp.zeros_like(best, dtype=dtype), nowhere)
    for k, (value, inside) in enumerate(zip(values, insides, strict=True), start=1):
        better = inside & ((value > best) | xp.isnan(value) | (position == nowhere))
        best, position = xp.where(better, value, best), xp.where(better, k, position)
    return best, position


def max_pool2d_gradient(dy: AnyArray, position: AnyArray, shape: tuple[int, ...], window: Window) -> AnyArray:
    """The gradient with respect to x, of this shape: dy where the largest value was."""
    xp, places = dy.__array_namespace__(), range(math.prod(window.kernel_size))
    return add_windows((xp.where(position == k, dy, 0.0) for k in places), shape, window)


def mean_of_pixels(x: AnyArray) -> AnyArray:
    """The mean of each channel of each image, taken in float64."""
    xp = x.__array_namespace__()
    return xp.astype(xp.mean(_in_float64(x), axis=(2, 3)), x.dtype, copy=False)


def avg_pool2d(x: AnyArray, divisor: AnyArray, window: Window) -> AnyArray:
    """The sum of each window, over its divisor [H', W']."""
    unit = 0.5 ** math.ceil(
        math.log2(math.prod(window.kernel_size))
    )  # no sum in it leaves the range, nor is it rounded
    return functools.reduce(operator.add, windows(x * unit, window)) / (divisor * unit)


def avg_pool2d_gradient(dy: AnyArray, divisor: AnyArray, shape: tuple[int, ...], window: Window) -> AnyArray:
    """The gradient with respect to x, of this shape: the sum of dy / divisor over the windows that a pixel is in."""
    return add_windows(itertools.repeat(dy / divisor, math.prod(window.kernel_size)), shape, window)


def local_response_norm(x: AnyArray, size: int, alpha: float, beta: float, k: float) -> AnyArray:
    """x / (k + alpha · mean(x²))^beta, with the mean over `size` neighbouring channels, and zeros outside, in float64.

    Of an even size there is one channel more before than after. x is (N, C, ...).
    """
    xp, values = x.__array_namespace__(), _in_float64(x)
    return xp.astype(values / _response(values, size, alpha, k) ** beta, x.dtype, copy=False)


def local_response_norm_gradient(
    dy: AnyArray, x: AnyArray, size: int, alpha: float, beta: float, k: float
) -> tuple[AnyArray]:
    """The gradient with respect to x: of x itself, and of each neighbour whose response it is part of.

    With s = k + alpha · mean(x²), dx = dy / s^beta - 2 alpha beta / size · x · Σ dy x / s^(beta + 1), the sum over the
    windows that the channel is in.
    """
    xp, values, dy = x.__array_namespace__(), _in_float64(x), _in_float64(dy)
    s = _response(values, size, alpha, k)
    itself = dy / s**beta
    shape, window = _of_channels(x, size)
    parts = itertools.repeat(xp.reshape(itself * values / s, shape), size)
    neighbours = xp.reshape(add_windows(parts, shape, window), x.shape)
    return (xp.astype(itself - 2 * alpha * beta / size * values * neighbours, x.dtype, copy=False),)


def _response(values: AnyArray, size: int, alpha: float, k: float) -> AnyArray:
    """k + alpha · mean(x²)."""
    xp, (shape, window) = values.__array_namespace__(), _of_channels(values, size)
    total = functools.reduce(operator.add, windows(xp.reshape(xp.square(values), shape), window))
    return k + alpha / size * xp.reshape(total, values.shape)


def _of_channels(x: AnyArray, size: int) -> tuple[tuple[int, ...], Window]:
    """The shape in which channels are the rows of an image, and the windows over them."""
    n, channels, *positions = x.shape
    pixels = math.prod(positions)
    return (n, channels, pixels), Window((size, 1), (1, 1), (size // 2, 0), (1, 1), (channels, pixels))


def _in_float64(x: AnyArray) -> AnyArray:
    xp = x.__array_namespace__()
    return xp.astype(x, xp.float64, copy=False)
