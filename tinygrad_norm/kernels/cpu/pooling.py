"""Pooling on channels-last memory [N, H, W, C]: the innermost loop runs over the channels of one pixel.

A row of pixels is a unit of work: of the output on the way there, of the input on the way back, where each row gathers
what the windows over it give it. So no two threads write to one place, and their number changes no bit.

Accuracy: averages are summed in the dtype of the images, and `mean_of_pixels` in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from tinygrad_norm.definitions.windows import Window
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline
from tinygrad_norm.launch import Array, empty, launch


@Kernel
def _max(x: Array, window: Window, y: Array, position: Array) -> None:
    (kernel_height, kernel_width), (down, right), (top, left), (spread_down, spread_right), _ = window
    _, height, width, channels = x.shape
    _, rows, columns, _ = y.shape
    for unit in prange(len(y) * rows):
        image, row = unit // rows, unit % rows
        for column in range(columns):
            best, at, first = y[image, row, column], position[image, row, column], True
            for i in range(kernel_height):
                h = row * down - top + i * spread_down
                if h < 0 or h >= height:
                    continue
                for j in range(kernel_width):
                    w = column * right - left + j * spread_right
                    if w < 0 or w >= width:
                        continue
                    pixel, place = x[image, h, w], position.dtype.type(i * kernel_width + j)
                    if first:
                        for c in range(channels):
                            best[c] = pixel[c]
                            at[c] = place
                    else:
                        for c in range(channels):
                            value, highest, old = pixel[c], best[c], at[c]
                            better = (value > highest) | (value != value)  # `or` would branch, and not be vectorized
                            best[c] = value if better else highest
                            at[c] = place if better else old
                    first = False
            if first:
                best[:] = -np.inf
                at[:] = kernel_height * kernel_width


@Kernel
def _max_gradient(dy: Array, position: Array, window: Window, dx: Array) -> None:
    (kernel_height, kernel_width), (down, right), (top, left), (spread_down, spread_right), _ = window
    _, height, width, channels = dx.shape
    _, rows, columns, _ = dy.shape
    for unit in prange(len(dx) * height):
        image, h = unit // height, unit % height
        dx[image, h] = 0
        for i in range(kernel_height):
            begin = h + top - i * spread_down
            row = begin // down
            if begin % down or row < 0 or row >= rows:
                continue
            for column in range(columns):
                for j in range(kernel_width):
                    w = column * right - left + j * spread_right
                    if w < 0 or w >= width:
                        continue
                    place = position.dtype.type(i * kernel_width + j)
                    for c in range(channels):
                        chosen = position[image, row, column, c] == place
                        dx[image, h, w, c] += dy[image, row, column, c] if chosen else 0


@Kernel
def _average(x: Array, divisor: Array, window: Window, y: Array) -> None:
    (kernel_height, kernel_width), (down, right), (top, left), _, _ = window
    _, height, width, channels = x.shape
    _, rows, columns, _ = y.shape
    for unit in prange(len(y) * rows):
        image, row = unit // rows, unit % rows
        y[image, row] = 0
        above, below = _met(row, down, top, kernel_height, height)
        for column in range(columns):
            first, last = _met(column, right, left, kernel_width, width)
            for h in range(above, below):
                for w in range(first, last):
                    for c in range(channels):
                        y[image, row, column, c] += x[image, h, w, c]
            finite = True
            for c in range(channels):
                y[image, row, column, c] /= divisor[row, column]
                finite &= abs(y[image, row, column, c]) < np.inf
            if not finite:
                _add_shares(x[image, above:below, first:last], divisor[row, column], y[image, row, column])


@inline
def _met(number: int, stride: int, padding: int, kernel: int, length: int) -> tuple[int, int]:
    """The first pixel that a window meets along one axis, and the end of them."""
    first = number * stride - padding
    return max(first, 0), min(first + kernel, length)


@device
def _add_shares(pixels: Array, divisor: float, y: Array) -> None:
    """Write the averages that are not finite again, as sums of shares, which may be where the sum of all is not."""
    for c in range(len(y)):
        if not np.isfinite(y[c]):
            y[c] = 0
            for h in range(pixels.shape[0]):
                for w in range(pixels.shape[1]):
                    y[c] += pixels[h, w, c] / divisor


@Kernel
def _average_gradient(dy: Array, divisor: Array, window: Window, dx: Array) -> None:
    (kernel_height, kernel_width), (down, right), (top, left), _, _ = window
    _, height, width, channels = dx.shape
    _, rows, columns, _ = dy.shape
    for unit in prange(len(dx) * height):
        image, h = unit // height, unit % height
        dx[image, h] = 0
        for i in range(kernel_height):
            begin = h + top - i
            row = begin // down
            if begin % down or row < 0 or row >= rows:
                continue
            for column in range(columns):
                first, last = _met(column, right, left, kernel_width, width)
                for w in range(first, last):
                    for c in range(channels):
                        dx[image, h, w, c] += dy[image, row, column, c] / divisor[row, column]


@Kernel
def _mean_of_pixels(images: Array, y: Array) -> None:
    for n in prange(len(y)):
        image, total = images[n], np.zeros(y.shape[1])
        for p in range(len(image)):
            for c in range(len(total)):
                total[c] += image[p, c]
        for c in range(len(total)):
            y[n, c] = total[c] / len(image)


def max_pool2d(x: Array, window: Window) -> tuple[Array, Array]:
    """As the reference; y and the places are channels-last."""
    y = empty((len(x), *window.size, x.shape[1]), x.dtype)
    position = empty(y.shape, np.uint8 if math.prod(window.kernel_size) < 256 else np.int32)
    launch(_max, x.size, _last(x), window, y, position)
    return _first(y), _first(position)


def max_pool2d_gradient(dy: Array, position: Array, shape: tuple[int, ...], window: Window) -> Array:
    """As the reference; dx is channels-last."""
    dx = empty((shape[0], *shape[2:], shape[1]), dy.dtype)
    launch(_max_gradient, dx.size, _last(dy), _last(position), window, dx)
    return _first(dx)


def avg_pool2d(x: Array, divisor: Array, window: Window) -> Array:
    """As the reference; y is channels-last."""
    y = empty((len(x), *window.size, x.shape[1]), x.dtype)
    launch(_average, x.size, _last(x), divisor, window, y)
    return _first(y)


def avg_pool2d_gradient(dy: Array, divisor: Array, shape: tuple[int, ...], window: Window) -> Array:
    """As the reference; dx is channels-last."""
    dx = empty((shape[0], *shape[2:], shape[1]), dy.dtype)
    launch(_average_gradient, dx.size, _last(dy), divisor, window, dx)
    return _first(dx)


def mean_of_pixels(x: Array) -> Array:
    """The mean of each channel of each image, taken in float64."""
    y = empty(x.shape[:2], x.dtype)
    launch(_mean_of_pixels, x.size, _last(x).reshape(len(x), math.prod(x.shape[2:]), x.shape[1]), y)
    return y


def _last(images: Array) -> Array:
    """[N, C, H, W] with the channels last, copied only if they are not in memory."""
    return launch(np.ascontiguousarray, images.transpose(0, 2, 3, 1))


def _first(images: Array) -> Array:
    return images.transpose(0, 3, 1, 2)
