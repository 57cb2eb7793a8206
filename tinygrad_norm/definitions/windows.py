"""Windows that slide over images [N, C, H, W], or any [..., H, W]: what convolution and pooling share.

Place k in a window is its row k // kw and its column k % kw.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from tinygrad_norm.dtypes import AnyArray, Pair


class Window(NamedTuple):
    """The size of a window, how it moves, and how many of them there are along the height and the width.

    `padding` is what lies before the image; after it there is as much as the last window needs.
    """

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair


def windows(x: AnyArray, window: Window, fill: float = 0.0) -> Iterator[AnyArray]:
    """For each place in the window the pixels [..., H', W'] that it meets, and `fill` outside the image."""
    xp = x.__array_namespace__()
    widths = [(0, 0)] * (x.ndim - 2) + _border(x.shape[-2:], window)
    padded = x if sum(map(sum, widths)) == 0 else getattr(xp, "pad", _pad)(x, widths, constant_values=fill)
    for rows, columns in _places(window):
        yield padded[..., rows, columns]


def add_windows(parts: Iterator[AnyArray], shape: tuple[int, ...], window: Window) -> AnyArray:
    """The adjoint of `windows`: for each pixel of images of this shape the sum of what `parts` hold for it.

    Args:
        parts: [..., H', W'] for each place in the window.
        shape: of the result, (..., H, W).
        window: as in `windows`.
    """
    first = next(parts)
    (top, bottom), (left, right) = _border(shape[-2:], window)
    *stack, height, width = shape
    padded = (*stack, top + height + bottom, left + width + right)
    total = first.__array_namespace__().zeros(padded, dtype=first.dtype)
    # In place: only gradients in closed form call this, and those are for arrays alone.
    for (rows, columns), part in zip(_places(window), itertools.chain([first], parts), strict=True):
        total[..., rows, columns] += part
    return total[..., top : top + height, left : left + width]


def _border(size: tuple[int, ...], window: Window) -> list[Pair]:
    """What is padded before and after the height, and before and after the width."""
    along = zip(size, *window, strict=True)
    return [(p, max(0, s * (count - 1) + d * (k - 1) + 1 - p - n)) for n, k, s, p, d, count in along]


def _places(window: Window) -> Iterator[tuple[slice, slice]]:
    """For each place in the window the rows and the columns of the padded images that it meets."""
    kernel_size, stride, _, dilation, size = window
    rows, columns = (
        [slice(i * d, i * d + s * (count - 1) + 1, s) for i in range(k)]
        for k, s, d, count in zip(kernel_size, stride, dilation, size, strict=True)
    )
    return itertools.product(rows, columns)


def _pad(x: AnyArray, widths: list[Pair], constant_values: float) -> AnyArray:
    """NumPy's `pad` of the last two axes, which the Array API standard lacks."""
    xp = x.__array_namespace__()
    for axis, ends in zip((-2, -1), widths[-2:], strict=True):
        shape = list(x.shape)
        before, after = [xp.full((*shape[:axis], n, *shape[axis:][1:]), constant_values, dtype=x.dtype) for n in ends]
        x = xp.concat([before, x, after], axis=axis)
    return x
