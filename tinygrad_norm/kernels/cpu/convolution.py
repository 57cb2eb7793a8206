"""Convolution: windows become the rows of a matrix, block by block, and a matrix product does the work.

Source: Chellapilla, Puri and Simard, High Performance Convolutional Neural Networks for Document Processing, 2006.

In here images are [N, H, W, C], so that a row of a window is one run of memory, and a depthwise convolution, which has
kernels of its own, runs along the channels. Windows may begin before the image and end behind it: there is 0.

Accuracy: a float32 output is within 3e-6 of the largest one; Winograd's algorithm, where it is chosen, within 2e-5. The
bias's gradient is summed in float64. `python -m benchmarks --only convolutions` measures the constants again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu import depthwise, whole_images, winograd
from tinygrad_norm.kernels.cpu.activation import activation_gradient, finish
from tinygrad_norm.kernels.cpu.compiler import Kernel
from tinygrad_norm.kernels.cpu.gemm import FEW, gemm, sum_rows
from tinygrad_norm.kernels.cpu.window import Pair, Window
from tinygrad_norm.kernels.precision import is_fast
from tinygrad_norm.launch import Array, Shape, empty, launch, prepared

_BLOCK = 2**22
"""The bytes of windows that are laid out at a time: they stay in the last cache, and keep all threads busy a while."""

_FEWEST = 256
"""The fewest windows laid out at a time: with fewer, the product spends its time on arranging the filters."""

_FEWER = 4
"""So many times fewer windows than filters, or a few in all, it is the windows that are rearranged."""

_SHORT = 32
"""The longest run of memory for which a loop over numbers is faster than one over slices."""

_MOST = 4
"""The most filters that share a channel, or channels that share a filter, in a depthwise convolution's kernels."""


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
) -> Array:
    """At each place of the output, the sum over the kernel and the channels of weight times input, activated."""
    plan = _plan(x.shape, weight.shape, weight.dtype, stride, padding, dilation, groups, is_fast())
    images = _channels_last(x)
    y = plan.way(images, weight, groups, plan.window)
    finish(y, bias, activation)
    return _channels_first(y)


def conv2d_gradient(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
    needs: tuple[bool, ...],
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `conv2d` that are needed."""
    if activation is not None:
        z = conv2d(x, weight, bias, stride, padding, dilation, groups, None)
        dy = activation_gradient(dy, z, activation)
    window, _, tiled = _plan(x.shape, weight.shape, weight.dtype, stride, padding, dilation, groups, is_fast())
    grad = _channels_last(dy)
    dx = dweight = dbias = None
    if needs[0]:
        start = -2 - window.start[0], -2 - window.start[1]
        if tiled:
            images = winograd.correlate(grad, weight, start, x.shape[2:], rotated=True)
        else:
            images = _input_gradient(grad, prepared(_filters, weight, groups), x.shape[2:], window)
        dx = _channels_first(images)
    if needs[1]:
        images = _channels_last(x)
        if tiled:
            dweight = winograd.filter_gradient(grad, images, window.start)
        else:
            dweight = _weight(_filter_gradient(grad, images, _shape(weight, groups), window))
    if needs[2]:
        dbias = sum_rows(grad.reshape(-1, grad.shape[3]))
    return dx, dweight, dbias


class _Plan(NamedTuple):
    """How a convolution is done."""

    window: Window
    way: Callable[[Array, Array, int, Window], Array]
    """What makes the output from images, weight, groups and window."""
    tiled: bool
    """Whether Winograd's algorithm is the one for the gradients."""


@lru_cache(maxsize=1024)
def _plan(
    shape: Shape,
    weight: Shape,
    dtype: np.dtype[Any],
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    fast: bool,
) -> _Plan:
    """How images of that shape [N, C, H, W] meet a weight of that one."""
    kernel: Any = weight[2:]
    size: Any = shape[2:]
    channels: Any = weight[:2]
    along = zip(size, kernel, stride, padding, dilation, strict=True)
    height, width = [(n + sum(sides) - d * (k - 1) - 1) // s + 1 for n, k, s, sides, d in along]
    window = Window((height, width), kernel, (-padding[0][0], -padding[1][0]), stride, dilation)
    tiled = groups == 1 and fast and winograd.suits(window, shape[0], channels, dtype)
    count = shape[0] * height * width
    way: Callable[..., Array] = _by_blocks
    if _is_depthwise((groups, *kernel, weight[1], weight[0] // groups)):
        way = _by_channels
    elif _is_pixels(size, window):
        way = _by_pixels
    elif count < weight[0] and (count <= FEW or _FEWER * count < weight[0]):
        way = _by_few
    elif tiled:
        way = _by_tiles
    return _Plan(window, way, tiled)


# The ways: from images, weight, groups and window to the output


def _by_channels(x: Array, weight: Array, groups: int, window: Window) -> Array:
    """Each channel by itself."""
    out_depth, depth = len(weight) // groups, weight.shape[1]
    how = window.start, window.stride, (1, 1), window.dilation, window.size
    y = depthwise.correlate(_repeated(x, out_depth), prepared(_places, weight, groups), *how)
    return y if depth == 1 else launch(np.sum, y.reshape(*y.shape[:3], groups, depth), -1)


def _by_pixels(x: Array, weight: Array, groups: int, _: Window) -> Array:
    """A kernel of one place: a product of all pixels."""
    y = empty((*x.shape[:3], len(weight)), x.dtype)
    filters = prepared(launch, weight.reshape, (groups, -1, weight.shape[1])).transpose(0, 2, 1)
    gemm(_pixels(x, groups), filters, _pixels(y, groups))
    return y


def _by_few(x: Array, weight: Array, groups: int, window: Window) -> Array:
    """For few windows: they take the order of the weight, which stays as it is."""
    out_channels, depth, *kernel = weight.shape
    transposed = weight.transpose(0, 2, 3, 1)
    last = transposed.flags.c_contiguous
    rows_of = (transposed if last else weight).reshape
    filters = prepared(launch, rows_of, (groups, out_channels // groups, -1)).transpose(0, 2, 1)
    y = empty((len(x), *window.size, out_channels), x.dtype)
    pixels = _pixels(y, groups)
    for block, rows in _windows(x, groups, window):
        if not last:
            rows = _transposed(rows.reshape(-1, prod(kernel), depth)).reshape(rows.shape)
        gemm(rows, filters, pixels[:, block])
    return y


def _by_tiles(x: Array, weight: Array, groups: int, window: Window) -> Array:
    """Winograd's algorithm."""
    return winograd.correlate(x, weight, window.start, window.size)


def _by_blocks(x: Array, weight: Array, groups: int, window: Window) -> Array:
    """Windows laid out, block by block."""
    return _correlate(x, prepared(_filters, weight, groups), window)


def _repeated(x: Array, times: int) -> Array:
    """Images [N, H, W, C] with each channel that many times, one after the other."""
    return x if times == 1 else launch(np.repeat, x, times, 3)


def _channels_last(x: Array) -> Array:
    return launch(np.ascontiguousarray, x.transpose(0, 2, 3, 1))


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def _pixels(x: Array, groups: int) -> Array:
    """The pixels of images, in groups of channels: [groups, N H W, C / groups]."""
    return x.reshape(-1, groups, x.shape[3] // groups).transpose(1, 0, 2)


def _is_pixels(size: Pair, window: Window) -> bool:
    """Whether each pixel of images of that size is a window."""
    return (window.size, window.kernel, window.start, window.stride) == (size, (1, 1), (0, 0), (1, 1))


def _places(weight: Array, groups: int) -> Array:
    """The weight as [kh, kw, O C / groups]; the filters of a channel lie side by side."""
    out_channels, depth, *kernel = weight.shape
    places = launch(weight.reshape, (groups, out_channels // groups, depth, *kernel)).transpose(3, 4, 0, 2, 1)
    return launch(places.reshape, (*kernel, out_channels * depth))


def _filters(weight: Array, groups: int) -> Array:
    """The weight as [groups, kh, kw, C / groups, O / groups]; in memory, the filters follow each other."""
    out_channels, depth, *kernel = weight.shape
    transposed = weight.transpose(0, 2, 3, 1)
    if not transposed.flags.c_contiguous:
        transposed = _transposed(launch(weight.reshape, (out_channels, depth, prod(kernel))))
    return transposed.reshape(groups, out_channels // groups, *kernel, depth).transpose(0, 2, 3, 4, 1)


def _weight(filters: Array) -> Array:
    """The inverse of `_filters`."""
    groups, *kernel, depth, out_depth = filters.shape
    rows = launch(np.ascontiguousarray, filters.transpose(0, 4, 1, 2, 3)).reshape(
        groups * out_depth, prod(kernel), depth
    )
    return _transposed(rows).reshape(groups * out_depth, depth, *kernel)


def _transposed(x: Array) -> Array:
    """The transposes of a stack of matrices."""
    transposed = x.transpose(0, 2, 1)
    if min(x.shape[1:]) > 1:
        transposed = empty(transposed.shape, x.dtype)
        launch(_transpose, x.size, launch(np.ascontiguousarray, x), transposed)
    return transposed


def _shape(weight: Array, groups: int) -> tuple[int, ...]:
    """That of the filters."""
    out_channels, depth, *kernel = weight.shape
    return groups, *kernel, depth, out_channels // groups


def _correlate(x: Array, filters: Array, window: Window) -> Array:
    """The sum over each window of its products with the filters."""
    groups, *_, out_depth = filters.shape
    if whole_images.suits(x.shape[1:3], window.kernel):
        return whole_images.correlate(x, filters, window)
    y = empty((len(x), *window.size, groups * out_depth), x.dtype)
    pixels, matrices = _pixels(y, groups), prepared(launch, filters.reshape, (groups, -1, out_depth))
    for block, rows in _windows(x, groups, window):
        gemm(rows, matrices, pixels[:, block])
    return y


def _filter_gradient(dy: Array, x: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The sum over all windows of their products with dy, in the shape of the filters."""
    groups, *_, depth, out_depth = shape
    if _is_depthwise(shape):
        x, dy = _repeated(x, out_depth), _repeated(dy, depth)
        total = depthwise.weight_gradient(dy, x, window.kernel, window.start, window.stride, window.dilation)
        return total.reshape(*window.kernel, groups, depth, out_depth).transpose(2, 0, 1, 3, 4)
    if whole_images.suits(x.shape[1:3], window.kernel):
        return whole_images.filter_gradient(dy, x, shape, window)
    pixels: Array = dy.reshape(-1, groups, out_depth).transpose(1, 2, 0)
    total = launch(np.zeros, (groups, out_depth, prod(window.kernel) * depth), x.dtype)
    for block, rows in _windows(x, groups, window):
        gemm(pixels[..., block], rows, total, add=True)
    return total.reshape(groups, out_depth, *window.kernel, depth).transpose(0, 2, 3, 4, 1)


def _input_gradient(dy: Array, filters: Array, size: Pair, window: Window) -> Array:
    """The gradient of x: the output's gradient, met by the filters rotated by 180°.

    With a stride, the pixels of x have as many phases along each axis. Those of one phase are met by the same places in
    the kernel, and neighbours among them by neighbouring pixels of the output: each phase is a convolution of stride 1.
    """
    if _is_depthwise(filters.shape):
        return _depthwise_input_gradient(dy, filters, size, window)
    if whole_images.suits(size, window.kernel):
        return whole_images.input_gradient(dy, filters, size, window)
    dx = launch(np.zeros, (len(dy), *size, filters.shape[0] * filters.shape[3]), dy.dtype)
    along = list(zip(size, *window[1:], strict=True))
    for first in product(*[range(min(stride, n)) for n, _, _, stride, _ in along]):
        places, count, start, dilation = zip(*map(_phase, first, *zip(*along, strict=True)), strict=True)
        met = filters[:, places[0], places[1]][:, ::-1, ::-1].transpose(0, 1, 2, 4, 3)
        if met.size:
            part = _correlate(dy, met, Window(count, met.shape[1:3], start, (1, 1), dilation))
            if window.stride == (1, 1):
                return part
            launch(np.copyto, dx[:, first[0] :: window.stride[0], first[1] :: window.stride[1]], part)
    return dx


def _depthwise_input_gradient(dy: Array, filters: Array, size: Pair, window: Window) -> Array:
    """`_input_gradient` for filters that the depthwise kernels know, which step over the phases by themselves."""
    groups, *_, depth, out_depth = filters.shape
    places = filters[:, ::-1, ::-1].transpose(1, 2, 0, 3, 4)
    places = launch(places.reshape, (*window.kernel, groups * depth * out_depth))
    (top, left), (down, right), (height, width) = window.start, window.dilation, window.kernel
    start = -top - down * (height - 1), -left - right * (width - 1)
    dx = depthwise.correlate(_repeated(dy, depth), places, start, (1, 1), window.stride, window.dilation, size)
    return dx if out_depth == 1 else launch(np.sum, dx.reshape(*dx.shape[:3], groups, out_depth), -1)


def _phase(first: int, length: int, kernel: int, start: int, stride: int, dilation: int) -> tuple[slice, int, int, int]:
    """The convolution that makes pixels `first`, `first + stride`, ... of dx, along one axis.

    Place i in the kernel meets pixel p of x where start + stride q + dilation i = p, for pixel q of dy.

    Returns:
        The places that meet these pixels, and the size, the start and the dilation of their window over dy, which is
        read from the last of them to the first.
    """
    common = gcd(stride, dilation)
    step = stride // common
    met = [i for i in range(kernel) if (first - start - dilation * i) % stride == 0]
    begin, last = (met[0], met[-1]) if met else (kernel, kernel)
    count = len(range(first, length, stride))
    return slice(begin, None, step), count, (first - start - dilation * last) // stride, dilation // common


def _windows(x: Array, groups: int, window: Window) -> Iterator[tuple[slice, Array]]:
    """The windows [groups, block, kh kw C / groups], block by block, each with the slice of the output's pixels."""
    n, height, width, channels = x.shape
    size, kernel, _, _, dilation = window
    count, depth = n * prod(size), channels // groups
    if _is_pixels((height, width), window):
        yield slice(count), _pixels(x, groups)
        return
    length = prod(kernel) * depth
    step = min(max(1, count), max(_FEWEST, _BLOCK // (groups * length * x.itemsize)))
    buffer = empty((groups, step, length), x.dtype)
    whole = groups == 1 and dilation[1] == 1  # then a row of a window is one run of memory
    run = kernel[1] * channels if whole else depth
    padded = _cut_out(x, window) if whole and run <= _SHORT else None
    for begin in range(0, count, step):
        block = slice(begin, min(begin + step, count))
        rows = buffer[:, : block.stop - begin]
        if padded is not None:
            launch(_lay_out_short, rows.size, padded, begin, window, run, rows[0])
        else:
            launch(_lay_out, rows.size, x, begin, window, run, rows)
        yield block, rows


def _cut_out(x: Array, window: Window) -> Array:
    """The part of x [N, H, W, C] that windows meet, with zeros where they are outside of it."""
    met = [(n - 1) * s + (k - 1) * d + 1 for n, k, _, s, d in zip(*window, strict=True)]
    images = launch(np.zeros, (len(x), *met, x.shape[3]), x.dtype)
    first = [max(0, start) for start in window.start]
    last = [min(n, start + m) for n, start, m in zip(x.shape[1:3], window.start, met, strict=True)]
    if first[0] < last[0] and first[1] < last[1]:
        h, w = [slice(a - start, b - start) for a, b, start in zip(first, last, window.start, strict=True)]
        launch(np.copyto, images[:, h, w], x[:, first[0] : last[0], first[1] : last[1]])
    return images


def _is_depthwise(shape: tuple[int, ...]) -> bool:
    """Whether filters of this shape join no channels, or divide none, and the other side is short enough to repeat."""
    return shape[0] > 1 and min(shape[-2:]) == 1 and max(shape[-2:]) <= _MOST


@Kernel
def _transpose(x: Array, transposed: Array) -> None:
    for u in prange(len(x)):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                transposed[u, j, i] = x[u, i, j]


@Kernel
def _lay_out_short(images: Array, begin: int, window: Window, run: int, rows: Array) -> None:
    """As `_lay_out`, from images that no window leaves."""
    flat, out, (_, image_height, image_width, channels) = images.reshape(-1), rows.reshape(-1), images.shape
    (height, width), _, _, (down, right), (spread, _) = window
    one, length, line = np.uint64(1), rows.shape[1], np.uint64(spread * image_width * channels)
    for m in prange(len(rows)):
        image, pixel = (begin + m) // (height * width), (begin + m) % (height * width)
        top, left = pixel // width * down, pixel % width * right
        # indices without a sign, which Numba need not compare with 0
        source = np.uint64(((image * image_height + top) * image_width + left) * channels)
        target = np.uint64(m * length)
        for _ in range(length // run):
            for k in range(run):
                out[target] = flat[source + np.uint64(k)]
                target += one
            source += line


@Kernel
def _lay_out(x: Array, begin: int, window: Window, run: int, rows: Array) -> None:
    """Write the windows from number `begin` on to `rows`, from x [N, H, W, C], in runs of that length."""
    _, image_height, image_width, channels = x.shape
    lines = x.reshape(len(x) * image_height, image_width * channels)
    (height, width), (kernel_height, _), (first, left_most), (down, right), (spread_down, spread_right) = window
    pieces = rows.shape[2] // (kernel_height * run)
    for m in prange(rows.shape[1]):
        image, pixel = (begin + m) // (height * width), (begin + m) % (height * width)
        top, left = first + pixel // width * down, left_most + pixel % width * right
        for i in range(kernel_height):
            h = top + i * spread_down
            inside = 0 <= h < image_height
            line = lines[image * image_height + (h if inside else 0)]
            for g in range(rows.shape[0]):
                for p in range(pieces):
                    source, target = (left + p * spread_right) * channels + g * run, (i * pieces + p) * run
                    low = min(max(-source, 0), run) if inside else run
                    high = max(min(line.size - source, run), low)
                    to = rows[g, m, target : target + run]
                    given, taken = line[source + low : source + high], to[low:high]
                    for k in range(low):
                        to[k] = 0
                    for k in range(high - low):  # slices, whose indices are never negative, make this one fast copy
                        taken[k] = given[k]
                    for k in range(high, run):
                        to[k] = 0
