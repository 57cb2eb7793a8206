"""Depthwise convolution: each channel by itself, on channels-last images [N, H, W, C].

A unit of work takes a band of rows and a block of channels. It lays what its windows see into a scratch, within the
zeros of the border, so that all taps are alike. Then it walks the taps with its sums in registers: two vectors of
channels, for four neighbouring pixels of the output or for five taps of the weight.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, helper
from tinygrad_norm.kernels.cpu.vector import BYTES, lanes, load, multiply_add, store, zeros

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]

_SCRATCH = 2**12
"""About how many pixels a scratch holds."""

_BAND = 2**7
"""About how many pixels of the output meet one tap after another, while they stay in the first cache."""

_SUM = 2**10
"""About how many pixels one partial sum of a weight gradient covers, whatever the number of threads."""

_UNITS = 2**6
"""Into how many units of work a convolution is cut, each with one scratch."""

_COLUMNS, _TAPS = 4, 5


def correlate(x: Array, places: Array, start: Pair, down: Pair, up: Pair, dilation: Pair, size: Pair) -> Array:
    """The sums over i, j of places[i, j, C] times a pixel of x, for images of this size.

    Along each axis, tap i of pixel o of the output meets pixel (o down + start + i dilation) / up of x, if there is
    one. A convolution steps down by its stride; its gradient, which meets the places in reverse, up.
    """
    channels = x.shape[3]
    met, *plan = _plan(x.shape[1:3], places.shape[:2], start, down, up, dilation, size)
    x, places = _wide(x), _wide(places[met])
    y = np.empty((len(x), *size, x.shape[3]), x.dtype)
    _correlate(
        y.size * prod(places.shape[:2]), _UNITS, _flat(x), x.shape, _flat(places), down, up, *plan, _flat(y), size
    )
    return y if channels == y.shape[3] else np.ascontiguousarray(y[..., :channels])


@lru_cache(1024)
def _plan(pixels: Pair, kernel: Pair, start: Pair, down: Pair, up: Pair, dilation: Pair, size: Pair) -> tuple[Any, ...]:
    """What a correlation of this geometry does.

    For each phase of the output's pixels, modulo up, there are rows of taps, which meet the same row of x.

    Returns:
        The places that meet any pixel; where the first window starts; how many rows of the output see a scratch, and
        its extent; for each phase where its first pixel is [phases, 2], how many rows of taps there are and how many
        taps are in one [phases, 2], how far each row is from there in rows of x [phases, rows], and each tap
        [phases, rows, taps, 2]: in pixels of the scratch, and its number.
    """
    along = zip(pixels, kernel, start, down, up, dilation, size, strict=True)
    met = tuple(_met(*axis) for axis in along)
    start = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    height, width = (taps.stop - taps.start for taps in met)
    wide = -(-size[1] // (_COLUMNS * up[1])) * _COLUMNS * up[1]
    columns = ((wide - 1) * down[1] + (width - 1) * dilation[1]) // up[1] + 2
    rows = min(size[0], max(1, _SCRATCH // columns * up[0] // down[0]))
    extent = ((rows - 1) * down[0] + (height - 1) * dilation[0]) // up[0] + 2, columns
    phases = up[0] * up[1]
    begins, counts = np.zeros((2, phases, 2), np.intp)
    lines, taps = np.zeros((phases, height), np.intp), np.zeros((phases, height, width, 2), np.intp)
    for number, phase in enumerate(np.ndindex(up)):
        at = [s + p * d for s, p, d in zip(start, phase, down, strict=True)]
        begins[number] = [a // u - s // u for a, u, s in zip(at, up, start, strict=True)]
        down_, right = [
            [(i, (a + i * d) // u - a // u) for i in range(n) if (a + i * d) % u == 0]
            for a, d, u, n in zip(at, dilation, up, (height, width), strict=True)
        ]
        counts[number] = len(down_), len(right)
        for row, (i, line) in enumerate(down_):
            lines[number, row] = line
            for tap, (j, column) in enumerate(right):
                taps[number, row, tap] = line * columns + column, i * width + j
    return met, start, rows, extent, begins, counts, lines, taps


def weigh(dy: Array, x: Array, kernel: Pair, start: Pair, stride: Pair, dilation: Pair) -> Array:
    """The gradient of the places [kh, kw, C]: sums over all pixels of dy times what each place met in x."""
    channels, size = x.shape[3], dy.shape[1:3]
    dy, x = _wide(dy), _wide(x)
    met, first, rows, extent, together, steps = _weigh_plan(x.shape[1:3], kernel, start, stride, dilation, size)
    half = BYTES // x.itemsize
    parts = -(-dy.size // x.shape[3] // _SUM), -(-x.shape[3] // (2 * half)), steps.size
    sums = np.zeros((*parts, 2 * half), x.dtype)
    _weigh(
        dy.size * steps.size, _flat(dy), dy.shape, _flat(x), x.shape, first, stride, rows, extent, together, steps,
        _flat(sums), parts,
    )  # fmt: skip
    taps = [taps.stop - taps.start for taps in met]
    total = sums.sum(axis=0, dtype=np.float64 if len(sums) > 1 else None)[:, : prod(taps)].transpose(1, 0, 2)
    found = np.zeros((*kernel, x.shape[3]), x.dtype)
    whole = x.shape[3] // (2 * half)
    found[met][..., : whole * 2 * half] = total[:, :whole].reshape(*taps, -1)
    found[met][..., -2 * half :] = total[:, -1].reshape(*taps, -1)  # the last block begins earlier
    return found[..., :channels]


@lru_cache(1024)
def _weigh_plan(pixels: Pair, kernel: Pair, start: Pair, stride: Pair, dilation: Pair, size: Pair) -> tuple[Any, ...]:
    """What a weight gradient of this geometry does.

    Returns:
        The places that meet any pixel; the first pixel of the first window; how many rows of an image of dy, and how
        many images, see a scratch, and the extent of it for each image; and the taps, in pixels of the scratch.
    """
    along = zip(pixels, kernel, start, stride, (1, 1), dilation, size, strict=True)
    met = tuple(_met(*axis) for axis in along)
    first = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    height, width = (taps.stop - taps.start for taps in met)
    columns = (size[1] - 1) * stride[1] + (width - 1) * dilation[1] + 1
    rows = min(size[0], max(1, _BAND // size[1]))
    extent = (rows - 1) * stride[0] + (height - 1) * dilation[0] + 1, columns
    steps = np.add.outer(np.arange(height) * dilation[0] * columns, np.arange(width) * dilation[1]).reshape(-1)
    steps = np.resize(steps, -(-steps.size // _TAPS) * _TAPS)  # some taps are summed twice
    return met, first, rows, extent, max(1, _BAND // prod(size)) if rows == size[0] else 1, steps


def _met(pixels: int, taps: int, start: int, down: int, up: int, dilation: int, count: int) -> slice:
    """The taps that meet any pixel along one axis, and at least one."""
    first = max(0, -((start + (count - 1) * down) // dilation))
    last = min(taps - 1, ((pixels - 1) * up - start) // dilation)
    return slice(min(first, taps - 1), max(first, last) + 1) if first < taps else slice(taps - 1, taps)


def _wide(array: Array) -> Array:
    """The array with as many channels as a block has, at least."""
    missing = 2 * BYTES // array.itemsize - array.shape[-1]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)]) if missing > 0 else array


def _flat(array: Array) -> Array:
    return array.reshape(-1)


@helper
def _fill(x: Array, shape: Any, image: int, top: int, left: int, channel: int, extent: Pair, scratch: Array) -> None:
    """Copy one block of channels of a part of an image; 0 where it lies outside."""
    half = lanes(x)
    step = 2 * half
    _, height, width, channels = shape
    for row in range(extent[0]):
        line = top + row
        end = min(max(width - left, 0), extent[1]) if (line >= 0) & (line < height) else 0
        source = ((image * height + line) * width + left) * channels + channel
        at = row * extent[1] * step
        for column in range(extent[1]):
            if (column >= -left) & (column < end):
                store(scratch, at, load(x, source))
                store(scratch, at + half, load(x, source + half))
            else:
                store(scratch, at, zeros(x))
                store(scratch, at + half, zeros(x))
            at, source = at + step, source + channels


@Kernel
def _correlate(
    units: int,
    x: Array,
    shape: Any,
    places: Array,
    down: Pair,
    up: Pair,
    start: Pair,
    rows: int,
    extent: Pair,
    begins: Array,
    counts: Array,
    lines: Array,
    taps: Array,
    y: Array,
    size: Pair,
) -> None:
    """Write y; that many rows of it see a scratch of that extent."""
    for unit in prange(units):
        _correlate_unit(
            np.intp(unit), units, x, shape, places, down, up, start, rows, extent, begins, counts, lines, taps, y, size
        )


@helper
def _correlate_unit(
    unit: int,
    units: int,
    x: Array,
    shape: Any,
    places: Array,
    down: Pair,
    up: Pair,
    start: Pair,
    rows: int,
    extent: Pair,
    begins: Array,
    counts: Array,
    lines: Array,
    taps: Array,
    y: Array,
    size: Pair,
) -> None:
    """Write what one unit of work has of y."""
    images, channels = shape[0], shape[3]
    step = 2 * lanes(x)
    bands, blocks = -(-size[0] // rows), -(-channels // step)
    count = images * bands * blocks
    scratch = np.empty(extent[0] * extent[1] * step, x.dtype)
    for turn in range(count * unit // units, count * (unit + 1) // units):
        image, band, block = turn // (bands * blocks), turn // blocks % bands, turn % blocks
        channel = min(block * step, channels - step)
        above = max(0, (start[0] + band * rows * down[0]) // up[0])  # rows outside are not read
        seen = min(extent[0], shape[1] - above), extent[1]
        _fill(x, shape, image, above, start[1] // up[1], channel, seen, scratch)
        for row in range(band * rows, min((band + 1) * rows, size[0])):
            for phase in range(row % up[0] * up[1], row % up[0] * up[1] + min(up[1], size[1])):
                line = row // up[0] * down[0] + start[0] // up[0] + begins[phase, 0]
                low, high = 0, counts[phase, 0]
                while low < high and line + lines[phase, low] < 0:
                    low += 1
                while low < high and line + lines[phase, high - 1] >= shape[1]:
                    high -= 1
                place = ((line - above) * extent[1] + begins[phase, 1]) * step
                to = ((image * size[0] + row) * size[1] + phase % up[1]) * channels + channel
                met = taps[phase, low:high, : counts[phase, 1]]
                columns = (size[1] - phase % up[1] + up[1] - 1) // up[1]
                _line(scratch, place, down[1] * step, places, channel, channels, met, y, to, up[1] * channels, columns)


@helper
def _line(
    scratch: Array, place: int, apart: int, places: Array, channel: int, channels: int, taps: Array, y: Array, to: int,
    apiece: int, columns: int,
) -> None:  # fmt: skip
    """Write a row of one phase of the output, four pixels at a time."""
    half = lanes(scratch)
    step = 2 * half
    for column in range(0, columns, 4):
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros(scratch)
        for row in range(taps.shape[0]):
            for tap in range(taps.shape[1]):
                p0, factor = place + taps[row, tap, 0] * step, taps[row, tap, 1] * channels + channel
                p1, p2, p3 = p0 + apart, p0 + 2 * apart, p0 + 3 * apart
                f, g = load(places, factor), load(places, factor + half)
                a0 = multiply_add(load(scratch, p0), f, a0)
                b0 = multiply_add(load(scratch, p0 + half), g, b0)
                a1 = multiply_add(load(scratch, p1), f, a1)
                b1 = multiply_add(load(scratch, p1 + half), g, b1)
                a2 = multiply_add(load(scratch, p2), f, a2)
                b2 = multiply_add(load(scratch, p2 + half), g, b2)
                a3 = multiply_add(load(scratch, p3), f, a3)
                b3 = multiply_add(load(scratch, p3 + half), g, b3)
        store(y, to, a0)
        store(y, to + half, b0)
        if column + 1 < columns:
            store(y, to + apiece, a1)
            store(y, to + apiece + half, b1)
        if column + 2 < columns:
            store(y, to + 2 * apiece, a2)
            store(y, to + 2 * apiece + half, b2)
        if column + 3 < columns:
            store(y, to + 3 * apiece, a3)
            store(y, to + 3 * apiece + half, b3)
        place, to = place + 4 * apart, to + 4 * apiece


@Kernel
def _weigh(
    dy: Array,
    outputs: Any,
    x: Array,
    shape: Any,
    first: Pair,
    stride: Pair,
    rows: int,
    extent: Pair,
    together: int,
    steps: Array,
    sums: Array,
    parts: Any,
) -> None:
    """Add to sums [parts, blocks, taps, step]; `steps` are where each tap of the first pixel is in the scratch."""
    for unit in prange(parts[0] * parts[1]):
        _weigh_unit(np.intp(unit), dy, outputs, x, shape, first, stride, rows, extent, together, steps, sums, parts)


@helper
def _weigh_unit(
    unit: int,
    dy: Array,
    outputs: Any,
    x: Array,
    shape: Any,
    first: Pair,
    stride: Pair,
    rows: int,
    extent: Pair,
    together: int,
    steps: Array,
    sums: Array,
    parts: Any,
) -> None:
    """Add up one block of channels of one part."""
    images, height, width, channels = outputs
    count, blocks, taps = parts
    half = lanes(x)
    step, bands = 2 * half, -(-height // rows)
    line, apart, area = stride[0] * extent[1] * step, stride[1] * step, extent[0] * extent[1] * step
    groups = -(-images // together)
    part, block = unit // blocks, unit % blocks
    channel = min(block * step, channels - step)
    scratch = np.empty(together * area, x.dtype)
    for turn in range(groups * bands * part // count, groups * bands * (part + 1) // count):
        image, begin = turn // bands * together, turn % bands * rows
        for n in range(min(together, images - image)):
            seen = scratch[n * area : (n + 1) * area]
            _fill(x, shape, image + n, first[0] + begin * stride[0], first[1], channel, extent, seen)
        deep = min(rows, height - begin)
        for tap in range(0, taps, 5):
            to = (unit * taps + tap) * step
            a0, b0 = load(sums, to), load(sums, to + half)
            a1, b1 = load(sums, to + step), load(sums, to + step + half)
            a2, b2 = load(sums, to + 2 * step), load(sums, to + 2 * step + half)
            a3, b3 = load(sums, to + 3 * step), load(sums, to + 3 * step + half)
            a4, b4 = load(sums, to + 4 * step), load(sums, to + 4 * step + half)
            s0, s1, s2 = steps[tap] * step, steps[tap + 1] * step, steps[tap + 2] * step
            s3, s4 = steps[tap + 3] * step, steps[tap + 4] * step
            for row in range(min(together, images - image) * deep):
                place = row // deep * area + row % deep * line
                at = ((image + row // deep) * height + begin + row % deep) * width * channels + channel
                p0, p1, p2, p3, p4 = place + s0, place + s1, place + s2, place + s3, place + s4
                for _ in range(width):
                    f, g = load(dy, at), load(dy, at + half)
                    a0 = multiply_add(load(scratch, p0), f, a0)
                    b0 = multiply_add(load(scratch, p0 + half), g, b0)
                    a1 = multiply_add(load(scratch, p1), f, a1)
                    b1 = multiply_add(load(scratch, p1 + half), g, b1)
                    a2 = multiply_add(load(scratch, p2), f, a2)
                    b2 = multiply_add(load(scratch, p2 + half), g, b2)
                    a3 = multiply_add(load(scratch, p3), f, a3)
                    b3 = multiply_add(load(scratch, p3 + half), g, b3)
                    a4 = multiply_add(load(scratch, p4), f, a4)
                    b4 = multiply_add(load(scratch, p4 + half), g, b4)
                    at += channels
                    p0, p1, p2, p3, p4 = p0 + apart, p1 + apart, p2 + apart, p3 + apart, p4 + apart
            store(sums, to, a0)
            store(sums, to + half, b0)
            store(sums, to + step, a1)
            store(sums, to + step + half, b1)
            store(sums, to + 2 * step, a2)
            store(sums, to + 2 * step + half, b2)
            store(sums, to + 3 * step, a3)
            store(sums, to + 3 * step + half, b3)
            store(sums, to + 4 * step, a4)
            store(sums, to + 4 * step + half, b4)
