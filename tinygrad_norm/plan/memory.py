"""Memory of a plan: each array has a place in one arena for as long as it is needed.

Greedy by size: the largest arrays are placed first, each at the lowest offset that is free while it is alive.

Source: Pisarchyk and Lee, Efficient memory management for deep neural net inference, 2020, "greedy by size".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    placed: list[int] = []
    size = 0
    for number in sorted(range(len(intervals)), key=lambda i: (-intervals[i].nbytes, intervals[i].first)):
        mine = intervals[number]
        beside = [
            (offsets[other], offsets[other] + intervals[other].nbytes)
            for other in placed
            if intervals[other].first <= mine.last and mine.first <= intervals[other].last
        ]
        offset = 0
        for begin, end in sorted(beside):
            if offset + mine.nbytes <= begin:
                break
            offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
        offsets[number] = offset
        placed.append(number)
        size = max(size, offset + mine.nbytes)
    return offsets, size
