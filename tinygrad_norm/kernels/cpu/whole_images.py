"""Convolution of images smaller than the kernel: most places of most windows are outside of them, and multiply zeros.

Here a whole image is a row of one matrix, and the other has, at [pixel of the input, C, pixel of the output, O], the
filters at the place that joins the two pixels, or 0. Images are [N, H, W, C] and filters [G, kh, kw, C / G, O / G].
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from tinygrad_norm.kernels.cpu.product import multiply, multiply_transposed
from tinygrad_norm.kernels.cpu.window import Pair, Window

Array = np.ndarray[Any, np.dtype[Any]]


def suits(size: Pair, kernel: Pair) -> bool:
    """Whether images of this size have less than half as many pixels as the kernel has places."""
    return 2 * prod(size) < prod(kernel)


def correlate(x: Array, filters: Array, window: Window) -> Array:
    """The sum over each window of its products with the filters."""
    joined = _join(filters, x.shape[1:3], window)
    y = np.empty((len(filters), len(x), joined.shape[2]), x.dtype)
    multiply(_rows(x, len(filters)), joined, y)
    return _images(y, window.size)


def input_gradient(dy: Array, filters: Array, size: Pair, window: Window) -> Array:
    """The gradient of x, which has that size."""
    joined = _join(filters, size, window)
    dx = np.empty((len(filters), len(dy), joined.shape[1]), dy.dtype)
    multiply(_rows(dy, len(filters)), joined.transpose(0, 2, 1), dx)
    return _images(dx, size)


def filter_gradient(dy: Array, x: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The sum over all windows of their products with dy, in the shape of the filters."""
    groups, *_, depth, out_depth = shape
    size = x.shape[1:3]
    joined = multiply_transposed(_rows(x, groups), _rows(dy, groups))
    joined = joined.reshape(groups, *size, depth, *window.size, out_depth)
    total = np.zeros(shape, joined.dtype)
    for (i, j), (row, column), (h, w) in _joined(size, window):
        total[:, row, column] += joined[:, h, w, :, i, j]
    return total


def _join(filters: Array, size: Pair, window: Window) -> Array:
    """The other matrix, [G, H W C / G, H' W' O / G]."""
    groups, *_, depth, out_depth = filters.shape
    joined = np.zeros((groups, *size, depth, *window.size, out_depth), filters.dtype)
    for (i, j), (row, column), (h, w) in _joined(size, window):
        joined[:, h, w, :, i, j] = filters[:, row, column]
    return joined.reshape(groups, prod(size) * depth, prod(window.size) * out_depth)


def _joined(size: Pair, window: Window) -> Iterator[tuple[Pair, Pair, Pair]]:
    """Each pixel of the output, each place in the kernel, and the pixel of the input that it meets there."""
    for pixel in np.ndindex(*window.size):
        for place in np.ndindex(*window.kernel):
            along = zip(window.start, pixel, window.stride, place, window.dilation, strict=True)
            h, w = [start + p * stride + k * dilation for start, p, stride, k, dilation in along]
            if 0 <= h < size[0] and 0 <= w < size[1]:
                yield pixel, place, (h, w)


def _rows(x: Array, groups: int) -> Array:
    """Images as [G, N, H W C / G]."""
    n, height, width, channels = x.shape
    depth = channels // groups
    return x.reshape(n, height * width, groups, depth).transpose(2, 0, 1, 3).reshape(groups, n, height * width * depth)


def _images(rows: Array, size: Pair) -> Array:
    """The inverse of `_rows`."""
    groups, n, length = rows.shape
    depth = length // prod(size)
    return rows.reshape(groups, n, *size, depth).transpose(1, 2, 3, 0, 4).reshape(n, *size, groups * depth)
