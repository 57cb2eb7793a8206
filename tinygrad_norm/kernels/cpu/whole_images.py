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
    groups, *_, depth, out_depth = filters.shape
    size = x.shape[1:3]
    joined = np.zeros((groups, *size, depth, *window.size, out_depth), filters.dtype)
    for (i, j), (row, column), (h, w) in _joined(size, window):
        joined[:, h, w, :, i, j] = filters[:, row, column]
    y = np.empty((groups, len(x), prod(window.size) * out_depth), x.dtype)
    multiply(_rows(x, groups), joined.reshape(groups, prod(size) * depth, -1), y)
    images = y.reshape(groups, len(x), *window.size, out_depth).transpose(1, 2, 3, 0, 4)
    return images.reshape(len(x), *window.size, groups * out_depth)


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
