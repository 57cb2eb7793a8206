"""Depthwise convolution: each channel by itself, on channels-last images [N, H, W, C].

Algorithm: direct sums. A unit of work takes bands of rows and blocks of channels. It copies what the windows of a band
see to a scratch, within the zeros of the border, so that all taps are alike. Then it walks the taps with its sums in
registers: a vector of channels, for four neighbouring pixels of the output or for five taps of the weight.

Source: Zhang, Lo and Lu, High Performance Depthwise and Pointwise Convolutions on Mobile Devices, AAAI 2020.

Blocking: a block of channels is a vector, 64 bytes. The last block begins earlier where channels are no multiple,
and fewer channels than a block are padded. `python -m benchmarks --only convolutions` measures the constants again.

Accuracy: the output is summed in its own dtype, tap after tap. A weight gradient is summed in its own dtype over about
1,024 pixels, and over these partial sums in float64.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, device
from tinygrad_norm.kernels.cpu.vector import BYTES, length, load, multiply_add, store, zeros
from tinygrad_norm.kernels.cpu.window import Pair
from tinygrad_norm.launch import Array, constant, empty, launch, prepared

_SCRATCH = 2**12
"""About how many pixels a scratch holds."""

_BAND = 2**7
"""About how many pixels of the output meet one tap after another, while they stay in the first cache."""

_SUM = 2**10
"""About how many pixels one partial sum of a weight gradient covers, whatever the number of threads."""

_UNITS = 2**6
"""Into how many units of work a convolution is cut, each with one scratch."""

_COLUMNS, _TAPS = 4, 5
"""The pixels of the output, and the taps of the weight, whose sums are in registers: `_line` and `_sum` name them."""


class _Windows(NamedTuple):
    """Where windows lie, and how the output is cut in bands of rows: single numbers, as `prange` takes no pairs."""

    top: int
    """Where the first window begins."""
    left: int
    down: int
    """From a window to the next one below it, in parts of a pixel."""
    right: int
    down_parts: int
    """Into how many parts a step divides a pixel; the output has as many phases."""
    right_parts: int
    rows: int
    """The rows of the output that one band has."""
    height: int
    """The height of the scratch, which holds the pixels that a band meets in one image; `width` goes with it."""
    width: int
    together: int
    """The images whose bands meet one tap after another."""


class _Phases(NamedTuple):
    """For each phase of the output's pixels, modulo `up`: its rows of taps, which meet the same row of x."""

    top: Array
    """The row [phases] of the input that the first window meets, from that of the first phase."""
    left: Array
    height: Array
    """How many rows [phases] of taps there are."""
    width: Array
    """How many taps [phases] are in such a row."""
    lines: Array
    """How far each row [phases, rows] is from the top, in rows of x."""
    steps: Array
    """How far each tap [phases, rows, taps] is from there, in pixels of the scratch."""
    taps: Array
    """The number of each tap [phases, rows, taps]."""


class _Strided(NamedTuple):
    """Vectors in the memory of an array: the first, and how far each is from the one before."""

    array: Array
    start: int
    step: int


def correlate(x: Array, places: Array, start: Pair, down: Pair, up: Pair, dilation: Pair, size: Pair) -> Array:
    """The sums over i, j of places[i, j, C] times a pixel of x, for images of this size.

    Along each axis, tap i of pixel o of the output meets pixel (o down + start + i dilation) / up of x, if there is
    one. A convolution steps down by its stride; its gradient, which meets the places in reverse, up.
    """
    channels = x.shape[3]
    met, windows, phases = _plan(x.shape[1:3], places.shape[:2], start, down, up, dilation, size)
    x, places = _wide(x), prepared(_side_by_side, places[met])
    y = empty((len(x), *size, x.shape[3]), x.dtype)
    launch(_correlate, y.size * prod(places.shape[:2]), x, places, windows, phases, y)
    return launch(np.ascontiguousarray, y[..., :channels])


@lru_cache(1024)
def _plan(
    pixels: Pair, kernel: Pair, start: Pair, down: Pair, up: Pair, dilation: Pair, size: Pair
) -> tuple[tuple[slice, ...], _Windows, _Phases]:
    """What a correlation of this geometry does, and which places meet any pixel."""
    along = zip(pixels, kernel, start, down, up, dilation, size, strict=True)
    met = tuple(_met(*axis) for axis in along)
    start = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    height, width = (taps.stop - taps.start for taps in met)
    wide = -(-size[1] // (_COLUMNS * up[1])) * _COLUMNS * up[1]
    columns = ((wide - 1) * down[1] + (width - 1) * dilation[1]) // up[1] + 2
    rows = min(size[0], max(1, _SCRATCH // columns * up[0] // down[0]))
    extent = ((rows - 1) * down[0] + (height - 1) * dilation[0]) // up[0] + 2, columns
    count = up[0] * up[1]
    shape = count, height, width
    phases = _Phases(
        *constant(np.zeros((4, count), np.intp)), *(constant(np.zeros(shape[:axes], np.intp)) for axes in (2, 3, 3))
    )
    for number, phase in enumerate(np.ndindex(up)):
        at = [s + p * d for s, p, d in zip(start, phase, down, strict=True)]
        phases.top[number], phases.left[number] = [a // u - s // u for a, u, s in zip(at, up, start, strict=True)]
        below, right = [
            [(i, (a + i * d) // u - a // u) for i in range(n) if (a + i * d) % u == 0]
            for a, d, u, n in zip(at, dilation, up, (height, width), strict=True)
        ]
        phases.height[number], phases.width[number] = len(below), len(right)
        for row, (i, line) in enumerate(below):
            phases.lines[number, row] = line
            for tap, (j, column) in enumerate(right):
                phases.steps[number, row, tap] = line * columns + column
                phases.taps[number, row, tap] = i * width + j
    return met, _Windows(*start, *down, *up, rows, *extent, 1), phases


def weight_gradient(dy: Array, x: Array, kernel: Pair, start: Pair, stride: Pair, dilation: Pair) -> Array:
    """The gradient of the places [kh, kw, C]: sums over all pixels of dy times what each place met in x."""
    channels, size = x.shape[3], dy.shape[1:3]
    dy, x = _wide(dy), _wide(x)
    met, windows, steps = _gradient_plan(x.shape[1:3], kernel, start, stride, dilation, size)
    step = BYTES // x.itemsize
    parts, blocks = max(1, -(-dy.size // x.shape[3] // _SUM)), -(-x.shape[3] // step)
    sums = empty((parts, blocks, steps.size, step), x.dtype)
    launch(_sum_parts, dy.size * steps.size, dy, x, windows, steps, sums)
    dplaces = empty((*kernel, channels), x.dtype)
    (top, left), (bottom, right) = [taps.start for taps in met], [taps.stop for taps in met]
    launch(_add_parts, sums.size, sums, x.shape[3], (top, left), (bottom, right), dplaces)
    return dplaces


@lru_cache(1024)
def _gradient_plan(
    pixels: Pair, kernel: Pair, start: Pair, stride: Pair, dilation: Pair, size: Pair
) -> tuple[tuple[slice, ...], _Windows, Array]:
    """What a weight gradient of this geometry does.

    Returns:
        The places that meet any pixel, the windows, and how far each tap is from the first, in pixels of the scratch.
    """
    along = zip(pixels, kernel, start, stride, (1, 1), dilation, size, strict=True)
    met = tuple(_met(*axis) for axis in along)
    first = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    height, width = (taps.stop - taps.start for taps in met)
    columns = (size[1] - 1) * stride[1] + (width - 1) * dilation[1] + 1
    rows = min(size[0], max(1, _BAND // size[1]))
    extent = (rows - 1) * stride[0] + (height - 1) * dilation[0] + 1, columns
    together = max(1, _BAND // prod(size)) if rows == size[0] else 1
    steps = np.add.outer(np.arange(height) * dilation[0] * columns, np.arange(width) * dilation[1])
    steps = constant(np.resize(steps, -(-steps.size // _TAPS) * _TAPS))  # some taps are summed twice
    return met, _Windows(*first, *stride, 1, 1, rows, *extent, together), steps


def _met(pixels: int, taps: int, start: int, down: int, up: int, dilation: int, count: int) -> slice:
    """The taps that meet any pixel along one axis, and at least one."""
    first = max(0, -((start + (count - 1) * down) // dilation))
    last = min(taps - 1, ((pixels - 1) * up - start) // dilation)
    return slice(min(first, taps - 1), max(first, last) + 1) if first < taps else slice(taps - 1, taps)


def _side_by_side(places: Array) -> Array:
    return launch(np.ascontiguousarray, _wide(places))


def _wide(array: Array) -> Array:
    """The array with as many channels as a block has, at least."""
    channels = BYTES // array.itemsize
    if array.shape[-1] >= channels:
        return array
    wide: Array = launch(np.zeros, (*array.shape[:-1], channels), array.dtype)
    launch(np.copyto, wide[..., : array.shape[-1]], array)
    return wide


@device
def _fill(x: Array, image: int, top: int, left: int, channel: int, extent: Pair, scratch: Array) -> None:
    """Copy one block of channels of a part of an image; 0 where it lies outside."""
    at, step, (_, height, width, channels) = 0, length(x), x.shape
    for row in range(extent[0]):
        line = top + row
        end = min(max(width - left, 0), extent[1]) if (line >= 0) & (line < height) else 0
        source = ((image * height + line) * width + left) * channels + channel
        for column in range(extent[1]):
            inside = (column >= -left) & (column < end)
            store(scratch, at, load(x, source) if inside else zeros(x))
            at, source = at + step, source + channels


@Kernel
def _correlate(x: Array, places: Array, windows: _Windows, phases: _Phases, y: Array) -> None:
    for unit in prange(_UNITS):
        _correlate_unit(np.intp(unit), x, places, windows, phases, y)


@device
def _correlate_unit(unit: int, x: Array, places: Array, windows: _Windows, phases: _Phases, y: Array) -> None:
    """Write what one unit of work has of y."""
    top, left, down, right, up, across, rows, height, width, _ = windows
    (images, x_height, _, channels), (_, y_height, y_width, _), step = x.shape, y.shape, length(x)
    bands, blocks = -(-y_height // rows), -(-channels // step)
    count, scratch = images * bands * blocks, np.empty(height * width * step, x.dtype)
    for turn in range(count * unit // _UNITS, count * (unit + 1) // _UNITS):
        image, band, block = turn // (bands * blocks), turn // blocks % bands, turn % blocks
        channel = min(block * step, channels - step)
        above = max(0, (top + band * rows * down) // up)  # rows outside are not read
        _fill(x, image, above, left // across, channel, (min(height, x_height - above), width), scratch)
        for row in range(band * rows, min((band + 1) * rows, y_height)):
            for phase in range(row % up * across, row % up * across + min(across, y_width)):
                line = row // up * down + top // up + phases.top[phase]
                low, high = 0, phases.height[phase]
                while low < high and line + phases.lines[phase, low] < 0:
                    low += 1
                while low < high and line + phases.lines[phase, high - 1] >= x_height:
                    high -= 1
                place = ((line - above) * width + phases.left[phase]) * step
                to = ((image * y_height + row) * y_width + phase % across) * channels + channel
                taps = phases.width[phase]
                _line(
                    (y_width - phase % across + across - 1) // across,
                    _Strided(scratch, place, right * step),
                    _Strided(places, channel, channels),
                    phases.steps[phase, low:high, :taps],
                    phases.taps[phase, low:high, :taps],
                    _Strided(y, to, across * channels),
                )


@device
def _line(columns: int, pixels: _Strided, places: _Strided, steps: Array, taps: Array, y: _Strided) -> None:
    """Write a row of one phase of the output, four pixels at a time."""
    scratch, place, far = pixels
    out, to, apiece = y
    step = length(scratch)
    for column in range(0, columns, _COLUMNS):
        a0 = a1 = a2 = a3 = zeros(scratch)
        for row in range(steps.shape[0]):
            for tap in range(steps.shape[1]):
                at = place + steps[row, tap] * step
                factor = load(places.array, places.start + taps[row, tap] * places.step)
                a0 = multiply_add(load(scratch, at), factor, a0)
                a1 = multiply_add(load(scratch, at + far), factor, a1)
                a2 = multiply_add(load(scratch, at + 2 * far), factor, a2)
                a3 = multiply_add(load(scratch, at + 3 * far), factor, a3)
        store(out, to, a0)
        if column + 1 < columns:
            store(out, to + apiece, a1)
        if column + 2 < columns:
            store(out, to + 2 * apiece, a2)
        if column + 3 < columns:
            store(out, to + 3 * apiece, a3)
        place, to = place + _COLUMNS * far, to + _COLUMNS * apiece


@Kernel
def _sum_parts(dy: Array, x: Array, windows: _Windows, steps: Array, sums: Array) -> None:
    """Write the partial sums [parts, blocks, taps, channels of a block]."""
    for unit in prange(sums.shape[0] * sums.shape[1]):
        _sum_part(np.intp(unit), dy, x, windows, steps, sums)


@device
def _sum_part(unit: int, dy: Array, x: Array, windows: _Windows, steps: Array, sums: Array) -> None:
    """Write one block of channels of one part."""
    rows, height, width, together = windows.rows, windows.height, windows.width, windows.together
    (number, dy_height, dy_width, channels), (parts, blocks, taps, step) = dy.shape, sums.shape
    bands, area, part, block = -(-dy_height // rows), height * width * step, unit // blocks, unit % blocks
    count, channel = -(-number // together) * bands, min(block * step, channels - step)
    scratch = np.empty(together * area, x.dtype)
    sums[part, block] = 0
    for turn in range(count * part // parts, count * (part + 1) // parts):
        image, begin = turn // bands * together, turn % bands * rows
        images, deep = min(together, number - image), min(rows, dy_height - begin)
        for n in range(images):
            seen = scratch[n * area : (n + 1) * area]
            _fill(x, image + n, windows.top + begin * windows.down, windows.left, channel, (height, width), seen)
        at = ((image * dy_height + begin) * dy_width) * channels + channel
        for tap in range(0, taps, _TAPS):
            some = slice(tap, tap + _TAPS)
            _sum(dy, at, images, deep, scratch, windows, steps[some], sums[part, block, some])


@device
def _sum(
    dy: Array, first: int, images: int, rows: int, scratch: Array, windows: _Windows, steps: Array, sums: Array
) -> None:
    """Add to five taps' sums what some rows of some images of dy, from number `first` on, met in the scratch."""
    step, (_, height, width, channels) = length(scratch), dy.shape
    line, right = windows.down * windows.width * step, windows.right * step
    area = windows.height * windows.width * step
    a0, a1, a2 = load(sums, 0), load(sums, step), load(sums, 2 * step)
    a3, a4 = load(sums, 3 * step), load(sums, 4 * step)
    for row in range(images * rows):
        place = row // rows * area + row % rows * line
        at = first + (row // rows * height + row % rows) * width * channels
        p0, p1, p2 = place + steps[0] * step, place + steps[1] * step, place + steps[2] * step
        p3, p4 = place + steps[3] * step, place + steps[4] * step
        for _ in range(width):
            factor = load(dy, at)
            a0 = multiply_add(load(scratch, p0), factor, a0)
            a1 = multiply_add(load(scratch, p1), factor, a1)
            a2 = multiply_add(load(scratch, p2), factor, a2)
            a3 = multiply_add(load(scratch, p3), factor, a3)
            a4 = multiply_add(load(scratch, p4), factor, a4)
            at += channels
            p0, p1, p2, p3, p4 = p0 + right, p1 + right, p2 + right, p3 + right, p4 + right
    store(sums, 0, a0)
    store(sums, step, a1)
    store(sums, 2 * step, a2)
    store(sums, 3 * step, a3)
    store(sums, 4 * step, a4)


@Kernel
def _add_parts(sums: Array, channels: int, first: Pair, last: Pair, dplaces: Array) -> None:
    """Write the sums of all parts [parts, blocks, taps, step]; 0 for places before the first met and from the last."""
    parts, _, _, step = sums.shape
    height, width, _ = dplaces.shape
    for place in prange(height * width):
        i, j = place // width, place % width
        if i < first[0] or i >= last[0] or j < first[1] or j >= last[1]:
            dplaces[i, j] = 0
            continue
        tap = (i - first[0]) * (last[1] - first[1]) + j - first[1]
        for channel in range(dplaces.shape[2]):
            block = channel // step
            at = channel - min(block * step, channels - step)  # the last block begins earlier
            total = np.float64(sums[0, block, tap, at])
            for part in range(1, parts):
                total += sums[part, block, tap, at]
            dplaces[i, j, channel] = total
