"""Local response normalization on channels-last memory [pixels, C]: a pixel's channels are sums of shifted rows.

Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012.

A unit of work is some pixels, each by itself, so the number of threads changes no bit.

Accuracy: computed in the dtype of x; a pixel whose responses are far from 1 is computed in float64 instead, where its
squares stay in range. Powers are square roots where beta is 0.5 or 0.75, which is what the papers take.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, noalias
from tinygrad_norm.launch import Array, empty, launch

_PIXELS = 16
"""How many are a unit of work, which stays in the cache."""

_FAR = 1e15
"""Responses from which, and from the inverse of which, float32 may lose a power of them."""


class Numbers(NamedTuple):
    """What tells one such norm from another."""

    size: int
    alpha: float
    beta: float
    k: float


@noalias
def _add_windows(values: Array, first: int, size: int, sums: Array) -> None:
    """The sums of the `size` channels from the one `first` places further on; zeros outside."""
    pixels, channels = values.shape
    for p in range(pixels):
        for c in range(channels):
            sums[p, c] = 0
        for offset in range(max(first, 1 - channels), min(first + size, channels)):
            begin, end = max(0, -offset), min(channels, channels - offset)
            total, part = sums[p, begin:end], values[p, begin + offset : end + offset]
            for c in range(len(total)):
                total[c] += part[c]


@noalias
def _respond(x: Array, numbers: Numbers, squares: Array, s: Array) -> bool:
    """S = k + alpha · mean(x²); tell whether all are near 1."""
    scale, start = x.dtype.type(numbers.alpha / numbers.size), x.dtype.type(numbers.k)
    high, low, near = x.dtype.type(_FAR), x.dtype.type(1 / _FAR), True
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            squares[p, c] = x[p, c] * x[p, c]
    _add_windows(squares, -(numbers.size // 2), numbers.size, s)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            s[p, c] = start + scale * s[p, c]
            near &= (s[p, c] < high) & (s[p, c] > low)
    return near


@noalias
def _power(s: Array, beta: float, powers: Array) -> None:
    """S to the power of -beta."""
    one = s.dtype.type(1)
    for p in range(s.shape[0]):
        if beta == 0.75:
            for c in range(s.shape[1]):
                root = np.sqrt(s[p, c])
                powers[p, c] = one / (root * np.sqrt(root))
        elif beta == 0.5:
            for c in range(s.shape[1]):
                powers[p, c] = one / np.sqrt(s[p, c])
        else:
            for c in range(s.shape[1]):
                powers[p, c] = s[p, c] ** -beta


@noalias
def _normalize_some(x: Array, numbers: Numbers, room: Array, y: Array) -> bool:
    """Write y of some pixels; tell whether all are in range."""
    s, powers = room[0], room[1]
    near = _respond(x, numbers, powers, s)
    _power(s, numbers.beta, powers)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[p, c] = x[p, c] * powers[p, c]
    return near


@noalias
def _differentiate_some(dy: Array, x: Array, numbers: Numbers, room: Array, dx: Array) -> bool:
    """Write dx of some pixels; tell whether all are in range."""
    s, powers, shares, size = room[0], room[1], room[2], numbers.size
    near = _respond(x, numbers, powers, s)
    _power(s, numbers.beta, powers)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            shares[p, c] = dy[p, c] * x[p, c] * powers[p, c] / s[p, c]
    neighbours, scale = s, x.dtype.type(2 * numbers.alpha * numbers.beta / size)
    _add_windows(shares, size // 2 + 1 - size, size, neighbours)
    for p in range(x.shape[0]):
        for c in range(x.shape[1]):
            dx[p, c] = dy[p, c] * powers[p, c] - scale * x[p, c] * neighbours[p, c]
    return near


@Kernel
def _normalize(x: Array, numbers: Numbers, y: Array) -> None:
    pixels, channels = x.shape
    for unit in prange(-(-pixels // _PIXELS)):
        rows = slice(unit * _PIXELS, min(pixels, (unit + 1) * _PIXELS))
        room = np.empty((2, len(x[rows]), channels), x.dtype)
        if not _normalize_some(x[rows], numbers, room, y[rows]) and x.itemsize < 8:
            wide = np.empty(y[rows].shape)
            _normalize_some(x[rows].astype(np.float64), numbers, room.astype(np.float64), wide)
            y[rows] = wide


@Kernel
def _differentiate(dy: Array, x: Array, numbers: Numbers, dx: Array) -> None:
    pixels, channels = x.shape
    for unit in prange(-(-pixels // _PIXELS)):
        rows = slice(unit * _PIXELS, min(pixels, (unit + 1) * _PIXELS))
        room = np.empty((3, len(x[rows]), channels), x.dtype)
        if not _differentiate_some(dy[rows], x[rows], numbers, room, dx[rows]) and x.itemsize < 8:
            wide, given = np.empty(dx[rows].shape), (dy[rows].astype(np.float64), x[rows].astype(np.float64))
            _differentiate_some(*given, numbers, room.astype(np.float64), wide)
            dx[rows] = wide


def local_response_norm(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    """As the reference; y is channels-last."""
    pixels = _last(x)
    y = empty(pixels.shape, x.dtype)
    launch(_normalize, x.size, pixels, Numbers(size, alpha, beta, k), y)
    return _first(y, x.shape)


def local_response_norm_gradient(dy: Array, x: Array, size: int, alpha: float, beta: float, k: float) -> tuple[Array]:
    """As the reference; dx is channels-last."""
    pixels = _last(x)
    dx = empty(pixels.shape, x.dtype)
    launch(_differentiate, x.size, _last(dy), pixels, Numbers(size, alpha, beta, k), dx)
    return (_first(dx, x.shape),)


def _last(x: Array) -> Array:
    """(N, C, ...) as pixels by channels, copied only if the channels are not last in memory."""
    return launch(np.ascontiguousarray, np.moveaxis(x, 1, -1)).reshape(-1, x.shape[1])


def _first(pixels: Array, shape: tuple[int, ...]) -> Array:
    return np.moveaxis(pixels.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
