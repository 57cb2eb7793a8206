"""What the kernels of every norm do: cut a matrix into units of work, begin and move sums, tell what is in range.

In an inner reduction of a matrix [K0 R0 K1, R1], R0 rows together are a group, which has one of each statistic. A unit
of work has groups with the same parameters. It takes a few at a time, whose numbers stay in the cache while one pass
follows the other, and what is to be computed once for each group, with roots and quotients, is computed for all of them
together. Of one row, 512 numbers are added in the dtype of x, in vectors, and these sums in float64.

In an outer reduction of a matrix [K0 R0, K1 R1], all rows of one k0 are a group, which has one of each statistic for
each k1. Groups are cut into blocks, each a unit of work. Sums over 64 rows are taken in the dtype of x, and added in
float64. Where a group is one unit, all passes over it follow each other while it is in the cache.

A mean, and a variance with it, is taken of d = x - x₀. x₀ is the average of a group's or a column's first eight values;
where it turns out to be farther from the mean than two standard deviations, the pass is made again from that mean. So
the variance is good to 3e-6 of itself and the mean to 1e-6 of a standard deviation in float32, and of equal numbers the
mean is exactly their value, and the variance 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import device, inline
from tinygrad_norm.kernels.cpu.pointwise import maximum, minimum
from tinygrad_norm.launch import Array

TERMS = 512
"""The numbers of a row that are added up in the dtype of x: in vectors, so that each of their sums has a few dozen."""

ROWS = 64
"""The rows whose numbers are added up in the dtype of x."""

ATTEMPTS = 3
"""How often a mean is taken at most: each time x₀ is nearer."""

_GROUPS, _NUMBERS = 64, 4096
"""The most groups that are taken at a time, and how many numbers they have at most, unless one has more."""

_TURNS = 64
"""How many turns the units of an inner reduction are taken in at most, whatever the number of threads."""

_BEGINNING = 8
"""How many values x₀ is the average of."""


class Groups(NamedTuple):
    """Groups with the same parameters: every step-th from the first to before the last one."""

    first: int
    last: int
    step: int
    repeat: int
    """How many rows a group has, every inner-th one."""
    inner: int


@inline
def turns_of(units: tuple[int, ...]) -> int:
    """How many turns the units of work of an inner reduction are taken in."""
    return min(units[0] * units[3], _TURNS)


@inline
def units_of(turn: int, units: tuple[int, ...]) -> range:
    """The units of work of a turn."""
    count, turns = units[0] * units[3], turns_of(units)
    return range(count * turn // turns, count * (turn + 1) // turns)


@inline
def few(x: Array, repeat: int) -> int:
    """How many groups are taken at a time."""
    return min(_GROUPS, max(1, _NUMBERS // max(1, repeat * x.shape[1])))


@inline
def length_of(groups: Groups) -> int:
    """How many there are."""
    return (groups.last - groups.first + groups.step - 1) // groups.step


@inline
def first_row(groups: Groups, j: int) -> int:
    """The first row of the j-th."""
    group = groups.first + j * groups.step
    return group if groups.repeat == 1 else group + group // groups.inner * groups.inner * (groups.repeat - 1)


@inline
def groups_of(unit: int, units: int, groups: int, period: int) -> tuple[int, int]:
    """The first group of a unit of work, every period-th of which it has, and the end of them."""
    block, blocks, turns = unit // period, units // period, groups // period
    return turns * block // blocks * period + unit % period, turns * (block + 1) // blocks * period


@inline
def rows_of(x: Array, unit: int, units: int) -> slice:
    """The rows of one of so many units or groups."""
    return slice(len(x) * unit // units, len(x) * (unit + 1) // units)


@inline
def start_of_row(x: Array) -> Any:
    """x₀, from a row."""
    total, count = 0.0, min(_BEGINNING, len(x))
    for i in range(count):
        total += np.float64(x[i]) - x[0]  # of equal values exactly 0
    return x.dtype.type(x[0] + total / count)


@device
def start_of_columns(x: Array, share: int, total: Array, start: Array) -> None:
    """Write the x₀ of each column, the same for those that share their statistics; `total` is for its own use."""
    count = min(_BEGINNING, len(x))
    fill(total, 0.0)
    for r in range(1, count):
        for k in range(len(start)):
            total[k] += np.float64(x[r, k]) - x[0, k]  # of equal values exactly 0
    for left in range(0, len(start), share):
        first, shared = np.float64(x[0, left]), 0.0
        for k in range(left, left + share):
            shared += (x[0, k] - first) + total[k] / count
        for k in range(left, left + share):
            start[k] = first + shared / share


@inline
def is_near(first: float, second: float, count: int) -> bool:
    """Whether Σ d and Σ d² of so many d are of an x₀ as near as said above: (mean - x₀)² ≤ 4 var."""
    return first * first <= count * second * (4 / 5)


@device
def are_near(start: Array, first: Array, second: Array, count: int, ok: Array) -> bool:
    """Whether the x₀ of all columns are, and, in `ok`, which; those that are not move to the mean."""
    near = True
    for k in range(len(start)):
        ok[k] = is_near(first[k], second[k], count)
        if not ok[k]:
            near = False
            start[k] += first[k] / count
    return near


@inline
def in_range(x: Any, single: bool) -> bool:
    """Whether a number leaves room for products with others: it is finite, and neither large nor small, or 0."""
    size = abs(x)
    if single:
        return ((size < 1e30) & (size > 1e-30)) | (x == 0)
    return ((size < 1e290) & (size > 1e-290)) | (x == 0)


@inline
def move_sum(part: Array, total: Array) -> None:
    """Add part to total, and set it to 0."""
    for k in range(len(part)):
        total[k] += part[k]
        part[k] = 0


@inline
def fill(array: Array, value: float) -> None:
    """Set all elements."""
    for k in range(len(array)):
        array[k] = value


@intrinsic
def raised(_: Any, x: Any, y: Any) -> tuple[Any, Callable[..., Any]]:
    """The larger one of two numbers of which none is NaN: LLVM makes vectors of a loop of it, and of no other one."""
    return x(x, y), partial(_chosen, ">")


@intrinsic
def lowered(_: Any, x: Any, y: Any) -> tuple[Any, Callable[..., Any]]:
    """The smaller one of two numbers of which none is NaN."""
    return x(x, y), partial(_chosen, "<")


def _chosen(comparison: str, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    flags = "nnan", "nsz"
    return builder.select(builder.fcmp_ordered(comparison, *values, flags=flags), *values, flags=flags)


@inline
def unless(lost: bool, x: Any) -> Any:
    """x; NaN if a NaN was lost on the way to it."""
    return np.nan if lost else x


@inline
def move_max(part: Array, total: Array) -> None:
    """Raise total to part."""
    for k in range(len(part)):
        total[k] = maximum(part[k], total[k])


@inline
def move_min(part: Array, total: Array) -> None:
    """Lower total to part."""
    for k in range(len(part)):
        total[k] = minimum(part[k], total[k])


@device
def gather_sum(sums: Array) -> Array:
    """The sum over units [units, length], which is left in the first one's row."""
    total = sums[0]
    for unit in range(1, len(sums)):
        for k in range(len(total)):
            total[k] += sums[unit, k]
    return total


@device
def gather_max(sums: Array) -> Array:
    """The maximum over units [units, length], which is left in the first one's row."""
    total = sums[0]
    for unit in range(1, len(sums)):
        for k in range(len(total)):
            total[k] = maximum(sums[unit, k], total[k])
    return total


@device
def gather_min(sums: Array) -> Array:
    """The minimum over units [units, length], which is left in the first one's row."""
    total = sums[0]
    for unit in range(1, len(sums)):
        for k in range(len(total)):
            total[k] = minimum(sums[unit, k], total[k])
    return total


@device
def join_sum(values: Array, over: tuple[int, int]) -> None:
    """Give so many values at a time, that many steps apart, their sum."""
    count, step = over
    for top in range(0, len(values), count * step):
        for k in range(top, top + step):
            for i in range(k + step, k + count * step, step):
                values[k] += values[i]
            for i in range(k + step, k + count * step, step):
                values[i] = values[k]


@device
def join_max(values: Array, over: tuple[int, int]) -> None:
    """Give so many values at a time, that many steps apart, their maximum."""
    count, step = over
    for top in range(0, len(values), count * step):
        for k in range(top, top + step):
            for i in range(k + step, k + count * step, step):
                values[k] = maximum(values[i], values[k])
            for i in range(k + step, k + count * step, step):
                values[i] = values[k]


@device
def join_min(values: Array, over: tuple[int, int]) -> None:
    """Give so many values at a time, that many steps apart, their minimum."""
    count, step = over
    for top in range(0, len(values), count * step):
        for k in range(top, top + step):
            for i in range(k + step, k + count * step, step):
                values[k] = minimum(values[i], values[k])
            for i in range(k + step, k + count * step, step):
                values[i] = values[k]


@device
def keep(ok: Array, groups: Groups, fine: Array) -> None:
    """Write which of some groups are in range."""
    for j in range(length_of(groups)):
        fine[groups.first + j * groups.step] = ok[j]


@device
def all_of(flags: Array) -> bool:
    """Whether all are true; NumPy's `all` takes long to compile."""
    found = True
    for one in flags.flat:
        found &= one
    return found
