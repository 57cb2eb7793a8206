"""Winograd's convolution with filters of 3×3 and a stride of 1, F(4×4, 3×3): a quarter of the multiplications.

A tile of 4×4 pixels of the output is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, for a tile d of 6×6 pixels of the input and a filter g:
one product at each of 36 points. Summed over the channels, those of all tiles at a point are a matrix product. The
gradient of the filters is Gᵀ[(Bᵀ d B) ⊙ (A e Aᵀ)]G, summed over the tiles e of the output's gradient: 36 matrix
products again. The gradient of the input is a convolution with the filters rotated by 180°.

In here images are [N, H, W, C], weights [O, C, 3, 3], tiles [36, tiles, C] and transformed filters [36, O, C]. Tiles
are made for as many images at a time as the last cache holds.

Accuracy: within 2e-5 of the largest output for float32. What is not finite, or becomes so in the transforms alone, is
computed again directly, by a kernel that reads what the transforms wrote of it: so the result is finite where a direct
convolution's is.

The constants are measured again by `python -m benchmarks --only convolutions`.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu import blas
from tinygrad_norm.kernels.cpu.compiler import GemmKernel, Kernel, device, inline, noalias, reassociate
from tinygrad_norm.kernels.cpu.window import Pair, Window
from tinygrad_norm.launch import Array, empty, launch, prepared, scratch

_BLOCK = 2**20
"""The elements of tiles that are made at a time, unless they are few, and of filters where there is one run: 4 MB."""

_FEW = 4
"""So many times smaller than the filters, the tiles of all images are made at a time."""

_CHANNELS = 16
"""The fewest channels for which products at each point are worth the transforms."""

_TILES = 32
"""The fewest tiles, of all images, for which it is worth transforming the filters."""

_GAIN = 0.55
"""The largest part of the direct algorithm's multiplications that may be left."""


def suits(window: Window, count: int, channels: Pair, dtype: np.dtype[Any]) -> bool:
    """Whether the algorithm is the fastest for that many images: tiles are full and many, and transforms cheap."""
    if (window.kernel, window.stride, window.dilation) != ((3, 3), (1, 1), (1, 1)) or dtype != np.float32:
        return False
    tiles = prod(_tiles(window.size))
    return min(channels) >= _CHANNELS and count * tiles >= _TILES and 36 * tiles < _GAIN * 9 * prod(window.size)


def correlate(x: Array, weight: Array, start: Pair, size: Pair, rotated: bool = False) -> Array:
    """The convolution of x with weight; the first window begins at `start`, and the output has that size.

    Rotated by 180°, the filters lead from O channels to C, as the gradient of the input asks for.
    """
    y = empty((len(x), *size, weight.shape[1 if rotated else 0]), x.dtype)
    weight = prepared(launch, weight.reshape, (*weight.shape[:2], 9))
    tiles = _tiles(size)
    finite = empty((len(y) * tiles[0],), np.bool_)
    runs, parts = _plan(len(x) * prod(tiles), len(x), weight.shape[:2])
    for number, images in enumerate(runs):
        given, made = _room(images, tiles, x, y)
        launch(_transform_input, given.size, x[images], start, tiles, given)
        for some in parts:
            if number == 0:
                filters = prepared(_transformed, weight[some], rotated)
            if rotated:
                launch(_multiply, given.size * y.shape[3], given[..., some], filters, False, some.start > 0, made)
            else:
                launch(_multiply, given.size * y.shape[3], given, filters, True, False, made[..., some])
        launch(
            _transform_output,
            made.size,
            made,
            tiles,
            y[images],
            finite[images.start * tiles[0] : images.stop * tiles[0]],
        )
    launch(_repair, y.size, finite, x, weight, start, rotated, y)
    return y


def _transformed(weight: Array, rotated: bool) -> Array:
    """Filters of weight [O, C, 9], transformed: [36, O, C]."""
    filters = scratch("filters", (36, *weight.shape[:2]), weight.dtype)
    launch(_transform_filters, filters.size, weight, rotated, filters)
    return filters


def filter_gradient(dy: Array, x: Array, start: Pair) -> Array:
    """The gradient of the weight of `correlate`."""
    shape, tiles = (dy.shape[3], x.shape[3]), _tiles(dy.shape[1:3])
    dweight, finite = empty((*shape, 9), x.dtype), empty(shape[:1], np.bool_)
    runs, parts = _plan(len(x) * prod(tiles), len(x), shape)
    for number, images in enumerate(runs):
        given, back = _room(images, tiles, x, dy)
        launch(_transform_input, given.size, x[images], start, tiles, given)
        launch(_transform_gradient, back.size, dy[images], tiles, back)
        for some in parts:
            if number == 0:  # of several runs of images, one sum
                total = scratch("filters", (36, some.stop - some.start, shape[1]), x.dtype)
            launch(_add_products, given.size * total.shape[1], back[..., some], given, number > 0, total)
            if number == len(runs) - 1:
                launch(_transform_filters_back, total.size, total, dweight[some], finite[some])
    launch(_repair_gradient, dweight.size, finite, dy, x, start, dweight)
    return dweight.reshape(*shape, 3, 3)


def _plan(tiles: int, images: int, channels: Pair) -> tuple[list[slice], list[slice]]:
    """Runs of images, and parts of the filters [O, C], of which there are several only where there is one run.

    Where the tiles of all images are few beside the filters, they are one run, so that no more of these are held.
    """
    few = _FEW * tiles * max(channels) <= prod(channels)
    runs = 1 if few else min(images, -(-36 * tiles * max(channels) // _BLOCK))
    parts = -(-36 * prod(channels) // _BLOCK) if runs == 1 else 1
    return _cut(images, runs), _cut(channels[0], parts)


def _cut(length: int, parts: int) -> list[slice]:
    return [slice(length * part // parts, length * (part + 1) // parts) for part in range(parts)]


def _room(images: slice, tiles: Pair, x: Array, y: Array) -> tuple[Array, Array]:
    """Arrays for the tiles of some images of x and of y."""
    count = (images.stop - images.start) * prod(tiles)
    return empty((36, count, x.shape[3]), x.dtype), empty((36, count, y.shape[3]), y.dtype)


def _tiles(size: Pair) -> Pair:
    return -(-size[0] // 4), -(-size[1] // 4)


@GemmKernel
def _multiply(given: Array, filters: Array, transposed: bool, add: bool, made: Array) -> None:
    for p in prange(36):
        blas.gemm(given[p], False, filters[p], transposed, add, made[p])


@GemmKernel
def _add_products(back: Array, given: Array, add: bool, total: Array) -> None:
    for p in prange(36):
        blas.gemm(back[p], True, given[p], False, add, total[p])


@Kernel
def _transform_filters(weight: Array, rotated: bool, filters: Array) -> None:
    """Write G g Gᵀ for each filter g of weight [O, C, 9]."""
    channels = weight.shape[1]
    for o in prange(len(weight)):
        taps, rows = np.empty((9, channels), weight.dtype), np.empty((6, 3, channels), weight.dtype)
        for c in range(channels):
            for k in range(9):
                taps[k, c] = weight[o, c, 8 - k if rotated else k]
        for j in range(3):
            _filters((taps[j], taps[3 + j], taps[6 + j]), _points(rows, 0, j))
        for i in range(6):
            _filters((rows[i, 0], rows[i, 1], rows[i, 2]), _points(filters, 6 * i, o))


@Kernel
def _transform_filters_back(total: Array, dweight: Array, finite: Array) -> None:
    """Write Gᵀ t G for each t of total, and whether those that make one channel of the output are finite."""
    channels = dweight.shape[1]
    for o in prange(len(dweight)):
        taps, rows = np.empty((9, channels), total.dtype), np.empty((6, 3, channels), total.dtype)
        for i in range(6):
            _filters_back(_points(total, 6 * i, o), (rows[i, 0], rows[i, 1], rows[i, 2]))
        for j in range(3):
            _filters_back(_points(rows, 0, j), (taps[j], taps[3 + j], taps[6 + j]))
        for c in range(channels):
            for k in range(9):
                dweight[o, c, k] = taps[k, c]
        finite[o] = _sum_of_zeros(taps) == 0


@inline
def _points(x: Array, first: int, k: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Six rows of x, at place k of its second axis."""
    return x[first, k], x[first + 1, k], x[first + 2, k], x[first + 3, k], x[first + 4, k], x[first + 5, k]


@Kernel
def _transform_input(x: Array, start: Pair, tiles: Pair, given: Array) -> None:
    """Write Bᵀ d B for each tile d of x."""
    width, channels = x.shape[2:]
    low, high = max(0, start[1]), max(0, start[1], min(width, start[1] + 4 * tiles[1] + 2))
    for unit in prange(len(x) * tiles[0]):
        image, top = x[unit // tiles[0]], start[0] + unit % tiles[0] * 4
        rows, nothing = np.zeros((6, 4 * tiles[1] + 2, channels), x.dtype), np.zeros((high - low, channels), x.dtype)
        lines = (
            _line(image, top, low, high, nothing),
            _line(image, top + 1, low, high, nothing),
            _line(image, top + 2, low, high, nothing),
            _line(image, top + 3, low, high, nothing),
            _line(image, top + 4, low, high, nothing),
            _line(image, top + 5, low, high, nothing),
        )
        _input(lines, 1, 0, _six(rows, 0, low - start[1], high - start[1]))
        first, last = unit * tiles[1], (unit + 1) * tiles[1]
        for i in range(6):
            row = rows[i]
            _input((row, row, row, row, row, row), 4, 1, _six(given, 6 * i, first, last))


@Kernel
def _transform_output(made: Array, tiles: Pair, y: Array, finite: Array) -> None:
    """Write Aᵀ m A for each tile m, as far as it is within y; and whether those of each row of tiles are finite."""
    width, channels = y.shape[2:]
    for unit in prange(len(y) * tiles[0]):
        image, top = y[unit // tiles[0]], unit % tiles[0] * 4
        rows, beyond = np.empty((6, 4 * tiles[1], channels), y.dtype), np.empty((3, width, channels), y.dtype)
        first, last = unit * tiles[1], (unit + 1) * tiles[1]
        for i in range(6):
            row = rows[i]
            _output(_six(made, 6 * i, first, last), (row, row, row, row), 4, 1)
        lines = _four(image, top, beyond)
        _output(_six(rows, 0, 0, width), lines, 1, 0)
        zeros = _sum_of_zeros(lines[0]) + _sum_of_zeros(lines[1]) + _sum_of_zeros(lines[2]) + _sum_of_zeros(lines[3])
        finite[unit] = zeros == 0


# A number that is not finite, or that a transform takes beyond the largest, spoils its whole tile: what it spoilt is
# computed again, directly, a matrix product for each of the nine taps.


@GemmKernel
def _repair(finite: Array, x: Array, weight: Array, start: Pair, rotated: bool, y: Array) -> None:
    """Write the rows of tiles that are not finite again, from weight [O, C, 9]."""
    tiles = -(-y.shape[1] // 4)
    for unit in prange(len(finite)):
        if not finite[unit]:
            image, top = np.intp(unit) // tiles, np.intp(unit) % tiles * 4
            _convolve(x[image], weight, (start[0] + top, start[1]), rotated, y[image, top : top + 4])


@device
def _convolve(image: Array, weight: Array, start: Pair, rotated: bool, y: Array) -> None:
    """Write rows of the output [rows, W, channels] as sums of products."""
    height, width, channels = y.shape
    pixels = np.empty((height * width, image.shape[2]), y.dtype)
    out = np.empty((height * width, channels), y.dtype)
    for k in range(9):
        tap = weight[:, :, 8 - k if rotated else k].copy()
        _shift(image, start[0] + k // 3, start[1] + k % 3, width, pixels)
        blas.gemm(pixels, False, tap, not rotated, k > 0, out)
    for p in range(len(out)):
        y[p // width, p % width] = out[p]


@GemmKernel
def _repair_gradient(finite: Array, dy: Array, x: Array, start: Pair, dweight: Array) -> None:
    """Write dweight [O, C, 9] again, unless all of it is finite."""
    for k in prange(9):
        if not finite.all():
            _add_images(dy, x, start[0] + np.intp(k) // 3, start[1] + np.intp(k) % 3, dweight[:, :, np.intp(k)])


@device
def _add_images(dy: Array, x: Array, top: int, left: int, dweight: Array) -> None:
    """Write the sum over all pixels of dy times the pixel of x that lies so far from it."""
    images, height, width, channels = dy.shape
    pixels, total = np.empty((height * width, x.shape[3]), x.dtype), np.zeros(dweight.shape, x.dtype)
    for n in range(images):
        _shift(x[n], top, left, width, pixels)
        blas.gemm(dy[n].reshape(height * width, channels), True, pixels, False, True, total)
    dweight[:] = total


@device
def _shift(image: Array, top: int, left: int, width: int, pixels: Array) -> None:
    """Copy the pixels of rows of that width, from [top, left] on; 0 where they lie outside."""
    for p in range(len(pixels)):
        h, w = top + p // width, left + p % width
        inside = 0 <= h < image.shape[0] and 0 <= w < image.shape[1]
        for c in range(image.shape[2]):
            pixels[p, c] = image[h, w, c] if inside else 0


@Kernel
def _transform_gradient(dy: Array, tiles: Pair, back: Array) -> None:
    """Write A e Aᵀ for each tile e of dy, which is 0 outside of it."""
    width, channels = dy.shape[2:]
    for unit in prange(len(dy) * tiles[0]):
        image, top = dy[unit // tiles[0]], unit % tiles[0] * 4
        rows, beyond = np.zeros((6, 4 * tiles[1], channels), dy.dtype), np.zeros((3, width, channels), dy.dtype)
        _gradient(_four(image, top, beyond), 1, 0, _six(rows, 0, 0, width))
        first, last = unit * tiles[1], (unit + 1) * tiles[1]
        for i in range(6):
            row = rows[i]
            _gradient((row, row, row, row), 4, 1, _six(back, 6 * i, first, last))


@reassociate
def _sum_of_zeros(y: Array) -> Any:
    total = zero = y.dtype.type(0)
    for w in range(y.shape[0]):
        for c in range(y.shape[1]):
            total += zero * y[w, c]
    return total


@inline
def _line(image: Array, h: int, low: int, high: int, otherwise: Array) -> Array:
    return image[h, low:high] if 0 <= h < len(image) else otherwise


@inline
def _four(image: Array, top: int, beyond: Array) -> tuple[Array, Array, Array, Array]:
    """The lines of a row of tiles; those that the image does not have are `beyond`."""
    end = image.shape[1]
    return (
        image[top],
        _line(image, top + 1, 0, end, beyond[0]),
        _line(image, top + 2, 0, end, beyond[1]),
        _line(image, top + 3, 0, end, beyond[2]),
    )


@inline
def _six(rows: Array, first: int, low: int, high: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    # The first axis must not be cut: Numba would no longer know that pixels lie side by side.
    return (
        rows[first, low:high],
        rows[first + 1, low:high],
        rows[first + 2, low:high],
        rows[first + 3, low:high],
        rows[first + 4, low:high],
        rows[first + 5, low:high],
    )


# The transforms, down the columns of all tiles in a row, whose lines are arrays, or along the rows of tiles, in one
# array: there the pixels of a tile are `far` from each other, and a tile is `apiece` from the next.


@noalias
def _input(d: Any, apiece: int, far: int, v: Any) -> None:
    """Write v = Bᵀ d."""
    d0, d1, d2, d3, d4, d5 = d
    v0, v1, v2, v3, v4, v5 = v
    two = d0.dtype.type(2)
    four = two * two
    for t in range(v0.shape[0]):
        w = apiece * t
        for c in range(v0.shape[1]):
            e0, e1, e2, e3 = d0[w, c], d1[w + far, c], d2[w + 2 * far, c], d3[w + 3 * far, c]
            e4, e5 = d4[w + 4 * far, c], d5[w + 5 * far, c]
            even, odd, near, away = e4 - four * e2, e3 - four * e1, e4 - e2, two * (e3 - e1)
            v0[t, c], v1[t, c], v2[t, c] = four * (e0 - e2) + near, even + odd, even - odd
            v3[t, c], v4[t, c], v5[t, c] = near + away, near - away, four * (e1 - e3) + (e5 - e3)


@noalias
def _output(m: Any, y: Any, apiece: int, far: int) -> None:
    """Write y = Aᵀ m."""
    m0, m1, m2, m3, m4, m5 = m
    y0, y1, y2, y3 = y
    two = m0.dtype.type(2)
    four = two * two
    for t in range(m0.shape[0]):
        w = apiece * t
        for c in range(m0.shape[1]):
            sum1, sum2 = m1[t, c] + m2[t, c], m3[t, c] + m4[t, c]
            apart1, apart2 = m1[t, c] - m2[t, c], two * (m3[t, c] - m4[t, c])
            y0[w, c], y1[w + far, c] = m0[t, c] + sum1 + sum2, apart1 + apart2
            y2[w + 2 * far, c], y3[w + 3 * far, c] = sum1 + four * sum2, apart1 + four * apart2 + m5[t, c]


@noalias
def _gradient(e: Any, apiece: int, far: int, m: Any) -> None:
    """Write m = A e."""
    e0, e1, e2, e3 = e
    m0, m1, m2, m3, m4, m5 = m
    two = e0.dtype.type(2)
    four = two * two
    for t in range(m0.shape[0]):
        w = apiece * t
        for c in range(m0.shape[1]):
            f0, f1, f2, f3 = e0[w, c], e1[w + far, c], e2[w + 2 * far, c], e3[w + 3 * far, c]
            even1, odd1, even2, odd2 = f0 + f2, f1 + f3, f0 + four * f2, two * (f1 + four * f3)
            m0[t, c], m1[t, c], m2[t, c] = f0, even1 + odd1, even1 - odd1
            m3[t, c], m4[t, c], m5[t, c] = even2 + odd2, even2 - odd2, f3


@noalias
def _filters(g: Any, u: Any) -> None:
    """Write u = G g."""
    g0, g1, g2 = g
    u0, u1, u2, u3, u4, u5 = u
    cast = g0.dtype.type
    quarter, sixth, twelfth, twentyfourth = cast(1 / 4), cast(1 / 6), cast(1 / 12), cast(1 / 24)
    for c in range(g0.shape[0]):
        even1, even2, odd = g0[c] + g2[c], g0[c] * twentyfourth + g2[c] * sixth, g1[c]
        u0[c], u5[c] = g0[c] * quarter, g2[c]
        u1[c], u2[c] = -sixth * (even1 + odd), -sixth * (even1 - odd)
        u3[c], u4[c] = even2 + odd * twelfth, even2 - odd * twelfth


@noalias
def _filters_back(u: Any, g: Any) -> None:
    """Write g = Gᵀ u."""
    g0, g1, g2 = g
    u0, u1, u2, u3, u4, u5 = u
    cast = g0.dtype.type
    quarter, sixth, twelfth, twentyfourth = cast(1 / 4), cast(1 / 6), cast(1 / 12), cast(1 / 24)
    for c in range(g0.shape[0]):
        even1, odd1, even2, odd2 = u1[c] + u2[c], u1[c] - u2[c], u3[c] + u4[c], u3[c] - u4[c]
        g0[c] = quarter * u0[c] - sixth * even1 + twentyfourth * even2
        g1[c] = twelfth * odd2 - sixth * odd1
        g2[c] = sixth * (even2 - even1) + u5[c]
