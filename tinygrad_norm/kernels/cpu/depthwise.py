"""Depthwise convolution: each channel by itself, on channels-last images [N, H, W, C].

A unit of work takes a band of rows and a block of channels. It lays what its windows see into a scratch, within the
zeros of the border, so that all taps are alike. Then it walks the taps with its sums in registers: two vectors of
channels, for four neighbouring pixels of the output or for five taps of the weight.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, helper
from tinygrad_norm.kernels.cpu.vector import BYTES, lanes, load, multiply_add, store

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]

_SCRATCH = 2**12
"""About how many pixels a scratch holds."""

_BAND = 2**7
"""About how many pixels of the output meet one tap after another, while they stay in the first cache."""

_SUM = 2**10
"""About how many pixels one partial sum of a weight gradient covers, whatever the number of threads."""

_UNITS = 2**6
"""Into how many units of work a convolution is cut at most, each with one scratch."""

_COLUMNS, _TAPS = 4, 5


def correlate(
    x: Array, places: Array, bias: Array | None, start: Pair, down: Pair, up: Pair, dilation: Pair, size: Pair
) -> Array:
    """The sums over i, j of places[i, j, C] times a pixel of x, plus bias, for images of this size.

    Along each axis, tap i of pixel o of the output meets pixel (o down + start + i dilation) / up of x, if there is
    one. A convolution steps down by its stride; its gradient, which meets the places in reverse, up.
    """
    channels = x.shape[3]
    bias = np.zeros(channels, x.dtype) if bias is None else bias
    x, places, bias = _wide(x), _wide(places), _wide(bias)
    along = zip(x.shape[1:3], places.shape[:2], start, down, up, dilation, size, strict=True)
    met = [_met(*axis) for axis in along]
    places = places[met[0], met[1]]
    start = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    reach = (places.shape[0] - 1) * dilation[0], (places.shape[1] - 1) * dilation[1]
    wide = -(-size[1] // (_COLUMNS * up[1])) * _COLUMNS * up[1]
    columns = ((wide - 1) * down[1] + reach[1]) // up[1] + 2
    rows = min(size[0], max(1, _SCRATCH // columns * up[0] // down[0]))
    extent = ((rows - 1) * down[0] + reach[0]) // up[0] + 2, columns
    begins, counts, steps, factors = _phases(_blocks(places), start, down, up, dilation, columns)
    y = np.empty((len(x), *size, x.shape[3]), x.dtype)
    _correlate(
        y.size * prod(places.shape[:2]), _flat(x), x.shape, _flat(factors), _flat(_blocks(bias)),
        start, down, up, rows, extent, begins, counts, steps, _flat(y), size,
    )  # fmt: skip
    return y if channels == y.shape[3] else np.ascontiguousarray(y[..., :channels])


def _phases(
    places: Array, start: Pair, down: Pair, up: Pair, dilation: Pair, columns: int
) -> tuple[Array, Array, Array, Array]:
    """For each phase of the output's pixels, modulo up: where in the scratch its first one is, and the taps it has.

    Returns:
        Rows and columns [phases, 2], the number of taps [phases], where they are from there on [phases, taps], and
        their factors [phases, blocks, taps, step].
    """
    blocks, height, width, step = places.shape
    begins: list[list[int]] = []
    met: list[list[tuple[int, int, int]]] = []
    for phase in np.ndindex(up):
        at = [s + p * d for s, p, d in zip(start, phase, down, strict=True)]
        begins.append([(a // u - s // u) for a, u, s in zip(at, up, start, strict=True)])
        taps = [
            [(i, (a + i * d) // u - a // u) for i in range(n) if (a + i * d) % u == 0]
            for a, d, u, n in zip(at, dilation, up, (height, width), strict=True)
        ]
        met.append([(i, j, h * columns + w) for i, h in taps[0] for j, w in taps[1]])
    most = max(map(len, met))
    steps = np.zeros((len(met), most), np.intp)
    factors = np.zeros((len(met), blocks, most, step), places.dtype)
    for number, taken in enumerate(met):
        for t, (i, j, place) in enumerate(taken):
            steps[number, t], factors[number, :, t] = place * step, places[:, i, j]
    return np.array(begins), np.array([len(taken) for taken in met]), steps, factors


def weigh(dy: Array, x: Array, kernel: Pair, start: Pair, stride: Pair, dilation: Pair) -> Array:
    """The gradient of the places [kh, kw, C]: sums over all pixels of dy times what each place met in x."""
    channels, (height, width) = x.shape[3], dy.shape[1:3]
    dy, x = _wide(dy), _wide(x)
    along = zip(x.shape[1:3], kernel, start, stride, (1, 1), dilation, (height, width), strict=True)
    met = [_met(*axis) for axis in along]
    start = start[0] + met[0].start * dilation[0], start[1] + met[1].start * dilation[1]
    taps = [taps.stop - taps.start for taps in met]
    columns = (width - 1) * stride[1] + (taps[1] - 1) * dilation[1] + 1
    rows = min(height, max(1, _BAND // width))
    extent = (rows - 1) * stride[0] + (taps[0] - 1) * dilation[0] + 1, columns
    lines = np.arange(taps[0]) * dilation[0] * columns
    steps = np.add.outer(lines, np.arange(taps[1]) * dilation[1]).reshape(-1)
    steps = np.resize(steps, -(-steps.size // _TAPS) * _TAPS)  # some taps are summed twice
    first = _firsts(x.shape[3], x.dtype)
    steps *= first.shape[1]
    sums = np.zeros((-(-dy.size // x.shape[3] // _SUM), *first.shape[:1], steps.size, first.shape[1]), x.dtype)
    _weigh(
        dy.size * prod(taps), _flat(dy), dy.shape, _flat(x), x.shape, start, stride, rows, extent, steps,
        _flat(sums), sums.shape,
    )  # fmt: skip
    total = sums.sum(axis=0, dtype=np.float64)[:, : prod(taps)].transpose(1, 0, 2)
    found = np.zeros((*kernel, x.shape[3]), x.dtype)
    found[met[0], met[1]][..., first] = total.reshape(*taps, *first.shape)
    return found[..., :channels]


def _met(pixels: int, taps: int, start: int, down: int, up: int, dilation: int, count: int) -> slice:
    """The taps that meet any pixel along one axis, and at least one."""
    first = max(0, -((start + (count - 1) * down) // dilation))
    last = min(taps - 1, ((pixels - 1) * up - start) // dilation)
    return slice(min(first, taps - 1), max(first, last) + 1) if first < taps else slice(taps - 1, taps)


def _firsts(channels: int, dtype: np.dtype[Any]) -> Array:
    """The channels of each block [blocks, step]; the last one begins earlier where it would end too late."""
    step = 2 * BYTES // dtype.itemsize
    first = np.minimum(np.arange(0, channels, step), channels - step)
    return first[:, None] + np.arange(step)


def _blocks(array: Array) -> Array:
    """[..., C] as [blocks, ..., step]."""
    blocks = array[..., _firsts(array.shape[-1], array.dtype)]
    return np.ascontiguousarray(np.moveaxis(blocks, -2, 0))


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
    begin, end = min(max(-left, 0), extent[1]), max(min(width - left, extent[1]), 0)
    for row in range(extent[0]):
        line, to = top + row, row * extent[1] * step
        if line < 0 or line >= height:
            scratch[to : to + extent[1] * step] = 0
            continue
        scratch[to : to + begin * step] = 0
        scratch[to + max(begin, end) * step : to + extent[1] * step] = 0
        source = ((image * height + line) * width + left) * channels + channel
        for column in range(begin, end):
            at, given = to + column * step, source + column * channels
            store(scratch, at, load(x, given))
            store(scratch, at + half, load(x, given + half))


@Kernel
def _correlate(
    x: Array,
    shape: Any,
    factors: Array,
    bias: Array,
    start: Pair,
    down: Pair,
    up: Pair,
    rows: int,
    extent: Pair,
    begins: Array,
    counts: Array,
    steps: Array,
    y: Array,
    size: Pair,
) -> None:
    """Write y; that many rows of it see a scratch of that extent."""
    images, _, _, channels = shape
    half = lanes(x)
    step = 2 * half
    bands, blocks = -(-size[0] // rows), bias.size // step
    count, most, apart = images * bands * blocks, steps.shape[1] * step, down[1] * step
    units = min(count, _UNITS)
    for unit in prange(units):
        scratch = np.empty(extent[0] * extent[1] * step, x.dtype)
        for turn in range(count * unit // units, count * (unit + 1) // units):
            image, band, block = turn // (bands * blocks), turn // blocks % bands, turn % blocks
            channel, above = min(block * step, channels - step), (start[0] + band * rows * down[0]) // up[0]
            _fill(x, shape, image, above, start[1] // up[1], channel, extent, scratch)
            for row in range(band * rows, min((band + 1) * rows, size[0])):
                for phase in range(row % up[0] * up[1], row % up[0] * up[1] + min(up[1], size[1])):
                    line = row // up[0] * down[0] + start[0] // up[0] + begins[phase, 0] - above
                    place = (line * extent[1] + begins[phase, 1]) * step
                    for column in range(phase % up[1], size[1], 4 * up[1]):
                        a0 = a1 = a2 = a3 = load(bias, block * step)
                        b0 = b1 = b2 = b3 = load(bias, block * step + half)
                        factor = (phase * blocks + block) * most
                        for tap in range(counts[phase]):
                            p0 = place + steps[phase, tap]
                            p1, p2, p3 = p0 + apart, p0 + 2 * apart, p0 + 3 * apart
                            f, g = load(factors, factor), load(factors, factor + half)
                            a0 = multiply_add(load(scratch, p0), f, a0)
                            b0 = multiply_add(load(scratch, p0 + half), g, b0)
                            a1 = multiply_add(load(scratch, p1), f, a1)
                            b1 = multiply_add(load(scratch, p1 + half), g, b1)
                            a2 = multiply_add(load(scratch, p2), f, a2)
                            b2 = multiply_add(load(scratch, p2 + half), g, b2)
                            a3 = multiply_add(load(scratch, p3), f, a3)
                            b3 = multiply_add(load(scratch, p3 + half), g, b3)
                            factor += step
                        place += 4 * apart
                        to = ((image * size[0] + row) * size[1] + column) * channels + channel
                        apiece = up[1] * channels
                        store(y, to, a0)
                        store(y, to + half, b0)
                        if column + up[1] < size[1]:
                            store(y, to + apiece, a1)
                            store(y, to + apiece + half, b1)
                        if column + 2 * up[1] < size[1]:
                            store(y, to + 2 * apiece, a2)
                            store(y, to + 2 * apiece + half, b2)
                        if column + 3 * up[1] < size[1]:
                            store(y, to + 3 * apiece, a3)
                            store(y, to + 3 * apiece + half, b3)


@Kernel
def _weigh(
    dy: Array,
    outputs: Any,
    x: Array,
    shape: Any,
    start: Pair,
    stride: Pair,
    rows: int,
    extent: Pair,
    steps: Array,
    sums: Array,
    parts: Any,
) -> None:
    """Add to sums [parts, blocks, taps, step]; `steps` says where in the scratch each tap of the first pixel is."""
    images, height, width, channels = outputs
    count, blocks, taps, _ = parts
    half = lanes(x)
    step, bands = 2 * half, -(-height // rows)
    line, apart = stride[0] * extent[1] * step, stride[1] * step
    for unit in prange(count * blocks):
        part, block = unit // blocks, unit % blocks
        channel = min(block * step, channels - step)
        scratch = np.empty(extent[0] * extent[1] * step, x.dtype)
        for turn in range(images * bands * part // count, images * bands * (part + 1) // count):
            image, begin = turn // bands, turn % bands * rows
            _fill(x, shape, image, start[0] + begin * stride[0], start[1], channel, extent, scratch)
            for tap in range(0, taps, 5):
                to = (unit * taps + tap) * step
                a0, b0 = load(sums, to), load(sums, to + half)
                a1, b1 = load(sums, to + step), load(sums, to + step + half)
                a2, b2 = load(sums, to + 2 * step), load(sums, to + 2 * step + half)
                a3, b3 = load(sums, to + 3 * step), load(sums, to + 3 * step + half)
                a4, b4 = load(sums, to + 4 * step), load(sums, to + 4 * step + half)
                s0, s1, s2, s3, s4 = steps[tap], steps[tap + 1], steps[tap + 2], steps[tap + 3], steps[tap + 4]
                for row in range(min(rows, height - begin)):
                    at = ((image * height + begin + row) * width) * channels + channel
                    p0, p1 = row * line + s0, row * line + s1
                    p2, p3, p4 = row * line + s2, row * line + s3, row * line + s4
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
