"""Pooling of images [N, C, H, W]."""

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
    return xp.astype(xp.mean(xp.astype(x, xp.float64, copy=False), axis=(2, 3)), x.dtype, copy=False)


def avg_pool2d(x: AnyArray, divisor: AnyArray, window: Window) -> AnyArray:
    """The sum of each window, over its divisor [H', W']."""
    unit = 0.5 ** math.ceil(
        math.log2(math.prod(window.kernel_size))
    )  # no sum in it leaves the range, nor is it rounded
    return functools.reduce(operator.add, windows(x * unit, window)) / (divisor * unit)


def avg_pool2d_gradient(dy: AnyArray, divisor: AnyArray, shape: tuple[int, ...], window: Window) -> AnyArray:
    """The gradient with respect to x, of this shape: the sum of dy / divisor over the windows that a pixel is in."""
    return add_windows(itertools.repeat(dy / divisor, math.prod(window.kernel_size)), shape, window)
