"""Memory of a plan: each array has a place in one arena for as long as it is needed.

Greedy by size: the largest arrays are placed first, each at the lowest offset that is free while it is alive.

Source: Pisarchyk and Lee, Efficient memory management for deep neural net inference, 2020, "greedy by size".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ALIGNMENT = 64
"""What offsets are multiples of: a line of the cache, and a register of AVX-512."""


class Interval(NamedTuple):
    """An array's bytes, and the first and last step that needs them."""

    nbytes: int
    first: int
    last: int


def place(intervals: Sequence[Interval]) -> tuple[list[int], int]:
    """The offset of each array, and the bytes of the arena."""
    offsets = [0] * len(intervals)
    placed = np.empty((4, len(intervals)), np.int64)  # first step, last step, begin, end in whole lines
    size = 0
    order = sorted(range(len(intervals)), key=lambda i: (-intervals[i].nbytes, intervals[i].first))
    for count, number in enumerate(order):
        nbytes, first, last = intervals[number]
        firsts, lasts, begins, ends = placed[:, :count]
        beside = np.flatnonzero((firsts <= last) & (lasts >= first))
        beside = beside[np.argsort(begins[beside])]
        taken = np.maximum.accumulate(np.append(0, ends[beside]))  # up to where, below each of them and above all
        fits = np.append(begins[beside] - taken[:-1] >= nbytes, True)
        offset = int(taken[np.argmax(fits)])
        offsets[number] = offset
        placed[:, count] = first, last, offset, -(-(offset + nbytes) // ALIGNMENT) * ALIGNMENT
        size = max(size, offset + nbytes)
    return offsets, size
