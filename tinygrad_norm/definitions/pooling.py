"""Pooling. Images are [N, C, H, W]. Place k in a window is its row k // kw and its column k % kw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = Any
Pair = tuple[int, int]
"""One number for the height and one for the width."""


class Window(NamedTuple):
    """The windows that are pooled, and how many of them there are along the height and the width."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair


def max_pool2d(x: Array, window: Window) -> tuple[Array, Array]:
    """The largest value of each window, and its place: the first of equal ones, but a NaN beats all before it.

    Returns:
        y, and the places as small integers; kh kw where a window misses the image, whose largest value is -inf.
    """
    xp = x.__array_namespace__()
    nowhere = math.prod(window.kernel_size)
    y = xp.full((*x.shape[:2], *window.size), -xp.inf, dtype=x.dtype)
    position = xp.full(y.shape, nowhere, dtype=xp.uint8 if nowhere < 256 else xp.int32)
    for k, windows, pixels in _meetings(x.shape, window):
        value, best, at = x[pixels], y[windows], position[windows]
        better = (value > best) | xp.isnan(value) | (at == nowhere)
        y[windows] = xp.where(better, value, best)
        position[windows] = xp.where(better, xp.full_like(at, k), at)
    return y, position


def max_pool2d_gradient(dy: Array, position: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The gradient with respect to x, of this shape: dy where the largest value was."""
    xp = dy.__array_namespace__()
    dx = xp.zeros(shape, dtype=dy.dtype)
    for k, windows, pixels in _meetings(shape, window):
        dx[pixels] += xp.where(position[windows] == k, dy[windows], xp.zeros_like(dy[windows]))
    return dx


def mean_of_pixels(x: Array) -> Array:
    """The mean of each channel of each image, taken in float64."""
    xp = x.__array_namespace__()
    return xp.astype(xp.mean(xp.astype(x, xp.float64), axis=(2, 3)), x.dtype)


def avg_pool2d(x: Array, divisor: Array, window: Window) -> Array:
    """The sum of each window, over its divisor [H', W']; a sum that is not finite is taken of shares instead."""
    xp = x.__array_namespace__()
    y = xp.zeros((*x.shape[:2], *window.size), dtype=x.dtype)
    for _, windows, pixels in _meetings(x.shape, window):
        y[windows] += x[pixels]
    y /= divisor
    if xp.all(xp.isfinite(y)):
        return y
    shares = xp.zeros_like(y)
    for _, windows, pixels in _meetings(x.shape, window):
        shares[windows] += x[pixels] / divisor[windows[1:]]
    return xp.where(xp.isfinite(y), y, shares)


def avg_pool2d_gradient(dy: Array, divisor: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The gradient with respect to x, of this shape: the sum of dy / divisor over the windows that a pixel is in."""
    dx, share = dy.__array_namespace__().zeros(shape, dtype=dy.dtype), dy / divisor
    for _, windows, pixels in _meetings(shape, window):
        dx[pixels] += share[windows]
    return dx


def _meetings(shape: tuple[int, ...], window: Window) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """For each place k in a window: the windows in which it meets a pixel of the image, and these pixels."""
    for k, place in enumerate(np.ndindex(window.kernel_size)):
        windows, pixels = [], []
        for n, i, _, s, p, d, count in zip(shape[2:], place, *window, strict=True):
            shift = i * d - p  # window w meets pixel s w + shift
            first, end = max(0, -(shift // s)), min(count, (n - 1 - shift) // s + 1)
            if first < end:
                windows.append(slice(first, end))
                pixels.append(slice(s * first + shift, s * (end - 1) + shift + 1, s))
        if len(pixels) == 2:
            yield k, (..., *windows), (..., *pixels)
