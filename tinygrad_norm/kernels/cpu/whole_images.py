"""Convolution of images smaller than the kernel: most places of most windows are outside of them, and multiply zeros.

Here a whole image is a row of one matrix, and the other has, at [pixel of the output, O, pixel of the input, C], the
filters at the place that joins the two pixels, or 0. Images are [N, H, W, C] and filters [G, kh, kw, C / G, O / G]; in
memory, the filters follow each other.

Algorithm: one matrix product for each group; the accuracy is that of `gemm.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from tinygrad_norm.kernels.cpu.gemm import gemm
from tinygrad_norm.kernels.cpu.window import Pair, Window
from tinygrad_norm.launch import Array, empty, launch, prepared


def suits(size: Pair, kernel: Pair) -> bool:
    """Whether images of this size have less than half as many pixels as the kernel has places."""
    return 2 * prod(size) < prod(kernel)


def correlate(x: Array, filters: Array, window: Window) -> Array:
    """The sum over each window of its products with the filters."""
    joined = prepared(_join, filters, x.shape[1:3], window)
    y = empty((len(filters), len(x), joined.shape[1]), x.dtype)
    gemm(_rows(x, len(filters)), joined.transpose(0, 2, 1), y)
    return _images(y, window.size)


def input_gradient(dy: Array, filters: Array, size: Pair, window: Window) -> Array:
    """The gradient of x, which has that size."""
    joined = prepared(_join, filters, size, window)
    dx = empty((len(filters), len(dy), joined.shape[2]), dy.dtype)
    gemm(_rows(dy, len(filters)), joined, dx)
    return _images(dx, size)


def filter_gradient(dy: Array, x: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The sum over all windows of their products with dy, in the shape of the filters."""
    groups, *_, depth, out_depth = shape
    size, pixels, grads = x.shape[1:3], _rows(x, groups), _rows(dy, groups)
    joined = empty((groups, grads.shape[2], pixels.shape[2]), x.dtype)
    gemm(grads.transpose(0, 2, 1), pixels, joined)
    joined = joined.reshape(groups, *window.size, out_depth, *size, depth)
    total = launch(np.zeros, (groups, out_depth, *window.kernel, depth), joined.dtype)
    for (i, j), (row, column), (h, w) in _joined(size, window):
        some = total[:, :, row, column]
        launch(np.add, some, joined[:, i, j, :, h, w], some)
    return total.transpose(0, 2, 3, 4, 1)


def _join(filters: Array, size: Pair, window: Window) -> Array:
    """The other matrix, [G, H' W' O / G, H W C / G]."""
    groups, *_, depth, out_depth = filters.shape
    joined = launch(np.zeros, (groups, *window.size, out_depth, *size, depth), filters.dtype)
    for (i, j), (row, column), (h, w) in _joined(size, window):
        launch(np.copyto, joined[:, i, j, :, h, w], filters[:, row, column].transpose(0, 2, 1))
    return joined.reshape(groups, prod(window.size) * out_depth, prod(size) * depth)


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
    pixels = x.reshape(n, height * width, groups, depth).transpose(2, 0, 1, 3)
    return launch(pixels.reshape, (groups, n, height * width * depth))


def _images(rows: Array, size: Pair) -> Array:
    """The inverse of `_rows`."""
    groups, n, length = rows.shape
    depth = length // prod(size)
    images = rows.reshape(groups, n, *size, depth).transpose(1, 2, 3, 0, 4)
    return launch(images.reshape, (n, *size, groups * depth))
