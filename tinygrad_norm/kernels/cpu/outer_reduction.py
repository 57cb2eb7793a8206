"""Normalization by outer reduction: of a matrix [K0 R0, K1 R1], all rows of one k0, and R1 columns together.

Statistics take one pass, shifted by a value x₀ near the mean, the average of a column's first eight: with d = x - x₀,
mean = x₀ + mean(d) and var = mean(d²) - mean(d)². Sums over 64 rows are taken in the dtype of x, and float64 adds them
up. Where x₀ is within two standard deviations of the mean, and no square leaves the range of float32, the variance is
good to 3e-6 of itself and the mean to 1e-6 of a standard deviation. Elsewhere the sums are taken again in float64: as
x₀ is no farther away than one of the N values, (mean - x₀)² ≤ N var, and cancellation costs about log10(N) of sixteen
digits, whatever the values are. A constant column gives exactly 0. Where columns share their statistics, they are
joined. Source: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, The American Statistician, 1983.

The output is (x - centre) scale + shift, with the mean in the dtype of x as centre, and what it lost in the shift.

The sums of a gradient are taken in the same way; they need no more digits than their terms have. What leaves the range
is done once more, in `extremes.py`.

Blocking: the rows of one k0 are a group, and cut into blocks, each a unit of work. Where a group is one unit, all
passes over it follow each other while it is in the cache. `python -m benchmarks --only norms` measures the constants
again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import Line, activated, times_derivative
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline, noalias
from tinygrad_norm.kernels.cpu.extremes import all_are_ordinary, are_columns_ordinary
from tinygrad_norm.kernels.cpu.launch import Array
from tinygrad_norm.kernels.cpu.layout import Affine, Statistics, Units

BEGINNING = 8
"""How many values x₀ is the average of."""


class Columns(NamedTuple):
    """What is known of a group's columns: z = (x - centre) scale + shift, and x̂ = (x - centre) rstd in the dtype of x.

    What of dx goes through mean and variance is through_mean + x̂ through_var.
    """

    centre: Array
    scale: Array
    shift: Array
    rstd: Array
    through_mean: Array
    through_var: Array


class Sums(NamedTuple):
    """A unit's sums: Σ d and Σ d² of d = x - x₀; or Σ d and Σ d x̂ of d = dy times the derivative of the activation."""

    first: Array
    second: Array


@Kernel
def forward(x: Array, affine: Affine, statistics: Statistics, units: Units, line: Line | None, y: Array) -> bool:
    """Write y for x [K0 R0, K1 R1] and, unless they are given, mean and var [K0, K1]; tell if all is ordinary."""
    affine, statistics = Affine(*affine), Statistics(*statistics)
    groups, blocks, length = len(statistics.mean), Units(*units).blocks, x.shape[1]
    columns, sums = np.empty((groups, 6, length), x.dtype), np.empty((groups * blocks, 3, length))
    if blocks == 1:
        for group in prange(groups):
            unit = np.intp(group)
            _sum_squares(unit, blocks, x, statistics, sums)
            _find_statistics(unit, x, statistics, sums)
            _find_coefficients(unit, affine, statistics, columns)
            _normalize(unit, blocks, x, columns, line, y)
    else:
        for unit in prange(len(sums)):
            _sum_squares(np.intp(unit), blocks, x, statistics, sums)
        for group in range(groups):
            _find_statistics(group, x, statistics, sums)
            _find_coefficients(group, affine, statistics, columns)
        for turn in prange(len(sums)):
            # what was read last may still be in the cache
            _normalize(len(sums) - 1 - np.intp(turn), blocks, x, columns, line, y)
    return all_are_ordinary(statistics)


@Kernel
def gradient(
    dy: Array,
    x: Array,
    affine: Affine,
    statistics: Statistics,
    units: Units,
    line: Line | None,
    dx: Array,
    grads: Affine,
) -> bool:
    """Write dx, and dweight and dbias [K0, K1 R1]; tell if all groups are ordinary."""
    affine, statistics, grads = Affine(*affine), Statistics(*statistics), Affine(*grads)
    groups, blocks, length = len(statistics.mean), Units(*units).blocks, x.shape[1]
    columns, sums = np.empty((groups, 6, length), x.dtype), np.empty((groups * blocks, 3, length))
    if blocks == 1:
        for group in prange(groups):
            unit = np.intp(group)
            _find_coefficients(unit, affine, statistics, columns)
            _sum_products(unit, blocks, dy, x, columns, line, sums)
            _find_paths(unit, x, affine, statistics, columns, sums, grads)
            _differentiate(unit, blocks, dy, x, columns, line, statistics.own, dx)
    else:
        for group in range(groups):
            _find_coefficients(group, affine, statistics, columns)
        for unit in prange(len(sums)):
            _sum_products(np.intp(unit), blocks, dy, x, columns, line, sums)
        for group in range(groups):
            _find_paths(group, x, affine, statistics, columns, sums, grads)
        for turn in prange(len(sums)):
            _differentiate(len(sums) - 1 - np.intp(turn), blocks, dy, x, columns, line, statistics.own, dx)
    return all_are_ordinary(statistics)


# What a unit of work or a group does, in functions of their own: they are compiled once for both forms of a kernel, if
# the number of the unit is of one type; in the parallel form it has no sign.


@inline
def _rows(x: Array, unit: int, units: int) -> slice:
    """The rows of one of so many units or groups."""
    return slice(len(x) * unit // units, len(x) * (unit + 1) // units)


@inline
def _columns(columns: Array, group: int) -> Columns:
    own = columns[group]
    return Columns(own[0], own[1], own[2], own[3], own[4], own[5])


@device
def _sum_squares(unit: int, blocks: int, x: Array, statistics: Statistics, sums: Array) -> None:
    """Write Σ d and Σ d² of a unit's columns, where d = x - x₀, and x₀, unless the statistics are given."""
    if statistics.given:
        return
    units, own, centred = len(sums), Sums(sums[unit, 0], sums[unit, 1]), statistics.centred
    rows, start = x[_rows(x, unit, units)], _start(x[_rows(x, unit // blocks, units // blocks)], centred)
    for k in range(len(start)):
        sums[unit, 2, k] = start[k]
    _add_squares(rows, start, _zeros(start), own)
    if x.itemsize < 8 and not _are_sound(own, centred, len(rows)):
        exact = start.astype(np.float64)
        again = _zeros(exact)
        _add_squares(rows, exact, _zeros(exact), again)
        for k in range(len(start)):
            if not is_sound(own.first[k], own.second[k], centred, len(rows)):
                own.first[k], own.second[k] = again.first[k], again.second[k]


@device
def _start(x: Array, centred: bool) -> Array:
    """The x₀ of each column of a group, or 0."""
    start, total, count = np.zeros(x.shape[1], x.dtype), np.zeros(x.shape[1]), min(BEGINNING, len(x))
    if centred:
        for r in range(count):
            for k in range(len(start)):
                total[k] += np.float64(x[r, k]) - x[0, k]  # of equal values exactly 0
        for k in range(len(start)):
            start[k] = x[0, k] + total[k] / count
    return start


@inline
def _zeros(like: Array) -> Sums:
    sums = np.zeros((2, len(like)), like.dtype)
    return Sums(sums[0], sums[1])


@inline
def _are_sound(sums: Sums, centred: bool, count: int) -> bool:
    sound = True
    for k in range(len(sums.first)):
        sound &= is_sound(sums.first[k], sums.second[k], centred, count)
    return sound


@inline
def is_sound(first: float, second: float, centred: bool, count: int) -> bool:
    """Whether Σ d and Σ d² of so many d, in float32, are as good as said above: (mean - x₀)² ≤ 4 var, d² in the range.

    If all d² are 0, they may have been too small.
    """
    near = (first * first <= count * second * (4 / 5)) | (not centred)
    return near & (second > 1e-30) & (second < 1e30)


@device
def _find_statistics(group: int, x: Array, statistics: Statistics, sums: Array) -> None:
    """Write mean and var of a group from the sums of its units, unless they are given."""
    if statistics.given:
        return
    mean, var, blocks = statistics.mean[group], statistics.var[group], len(sums) // len(statistics.mean)
    start, total = sums[group * blocks, 2], _total(group, blocks, sums)
    repeat, share = len(x) // len(statistics.mean), len(start) // len(mean)
    for s in range(len(mean)):
        first = start[s * share]
        offset = square = between = 0.0
        for k in range(s * share, (s + 1) * share):
            own = total[0, k] / repeat if statistics.centred else 0.0
            square += total[1, k] / repeat - own * own
            total[0, k] = (start[k] - first) + own
            offset += total[0, k]
        offset /= share
        for k in range(s * share, (s + 1) * share):
            between += (total[0, k] - offset) ** 2
        mean[s] = first + offset
        var[s] = (square + between) / share


@device
def _find_coefficients(group: int, affine: Affine, statistics: Statistics, columns: Array) -> None:
    """Write what makes z = (x - centre) scale + shift, and whether all of it is in the range of these loops."""
    row, known = group % len(affine.weight), _columns(columns, group)
    weight, bias, mean, var = affine.weight[row], affine.bias[row], statistics.mean[group], statistics.var[group]
    share = len(weight) // len(mean)
    for s in range(len(mean)):
        own = slice(s * share, (s + 1) * share)
        ordinary = are_columns_ordinary(weight[own], bias[own], mean[s], var[s], statistics.eps)
        rstd, centre = 1 / np.sqrt(var[s] + statistics.eps), columns.dtype.type(mean[s])
        for k in range(s * share, (s + 1) * share):
            known.centre[k] = centre
            known.rstd[k] = rstd
            known.scale[k] = weight[k] * rstd
            known.shift[k] = bias[k] + (centre - mean[s]) * rstd * weight[k]
        statistics.ordinary[group, s] = ordinary


@device
def _sum_products(unit: int, blocks: int, dy: Array, x: Array, columns: Array, line: Line | None, sums: Array) -> None:
    """Write Σ d and Σ d x̂ of a unit's columns, where d = dy times the derivative of the activation."""
    units, known = len(sums), _columns(columns, unit // blocks)
    rows, own = _rows(x, unit, units), Sums(sums[unit, 0], sums[unit, 1])
    _add_products(dy[rows], x[rows], known, line, _zeros(known.centre), own)


@device
def _find_paths(
    group: int, x: Array, affine: Affine, statistics: Statistics, columns: Array, sums: Array, grads: Affine
) -> None:
    """Write dweight and dbias, and what of dx goes through mean and variance."""
    weight, mean, var = affine.weight[group % len(affine.weight)], statistics.mean[group], statistics.var[group]
    known, total = _columns(columns, group), _total(group, len(sums) // len(columns), sums)
    dweight, dbias, share = grads.weight[group], grads.bias[group], len(weight) // len(mean)
    count = len(x) // len(columns) * share
    by_mean, by_var = statistics.centred / count, statistics.own / count
    for s in range(len(mean)):
        rstd = 1 / np.sqrt(var[s] + statistics.eps)
        rest = (known.centre[s * share] - mean[s]) * rstd
        sum_g = sum_gx = 0.0
        for k in range(s * share, (s + 1) * share):
            dbias[k] = total[0, k]
            dweight[k] = total[1, k] + rest * total[0, k]
            sum_g += weight[k] * dbias[k]
            sum_gx += weight[k] * dweight[k]
        for k in range(s * share, (s + 1) * share):
            known.through_mean[k] = rstd * (by_mean * sum_g + rest * by_var * sum_gx)
            known.through_var[k] = rstd * by_var * sum_gx
            if not statistics.ordinary[group, s]:  # `extremes.py` adds to them
                dweight[k] = dbias[k] = 0


@inline
def _total(group: int, blocks: int, sums: Array) -> Array:
    """The sums of all units of a group."""
    total = np.zeros((2, sums.shape[2]))
    for unit in range(group * blocks, (group + 1) * blocks):
        for i in range(2):
            for k in range(sums.shape[2]):
                total[i, k] += sums[unit, i, k]
    return total


# Passes over the rows of a unit. Sums take four rows at a time, which saves their way through the registers, and get
# the arrays that they write one by one: of those that are known to lie apart, loops are vectorized.


@noalias
def _normalize(unit: int, blocks: int, x: Array, columns: Array, line: Line | None, y: Array) -> None:
    known, rows = _columns(columns, unit // blocks), _rows(x, unit, len(columns) * blocks)
    x, y = x[rows], y[rows]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            z = (x[r, k] - known.centre[k]) * known.scale[k] + known.shift[k]
            y[r, k] = activated(z, line)


@noalias
def _differentiate(
    unit: int, blocks: int, dy: Array, x: Array, columns: Array, line: Line | None, own: bool, dx: Array
) -> None:
    known, rows = _columns(columns, unit // blocks), _rows(x, unit, len(columns) * blocks)
    dy, x, dx = dy[rows], x[rows], dx[rows]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            c = x[r, k] - known.centre[k]
            d = times_derivative(dy[r, k], c * known.scale[k] + known.shift[k], line)
            through = known.through_mean[k] + c * known.rstd[k] * known.through_var[k]
            if not own:  # x may be infinite, and 0 x is not 0 then
                through = x.dtype.type(0)
            dx[r, k] = known.scale[k] * d - through


@noalias
def _add_squares(x: Array, start: Array, part: Sums, sums: Sums) -> None:
    first, second = part
    sums.first[:] = 0
    sums.second[:] = 0
    for top in range(0, len(x), 64):
        stop = min(top + 64, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            for k in range(len(start)):
                d0, d1, d2, d3 = (
                    x[r, k] - start[k],
                    x[r + 1, k] - start[k],
                    x[r + 2, k] - start[k],
                    x[r + 3, k] - start[k],
                )
                first[k] += (d0 + d1) + (d2 + d3)
                second[k] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        for r in range(whole, stop):
            for k in range(len(start)):
                d = x[r, k] - start[k]
                first[k] += d
                second[k] += d * d
        _move(part, sums)


@noalias
def _add_products(dy: Array, x: Array, known: Columns, line: Line | None, part: Sums, sums: Sums) -> None:
    sums.first[:] = 0
    sums.second[:] = 0
    for top in range(0, len(x), 64):
        stop = min(top + 64, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            _add_rows(dy, x, r, 4, known, line, part)
        for r in range(whole, stop):
            _add_rows(dy, x, r, 1, known, line, part)
        _move(part, sums)


@inline
def _add_rows(dy: Array, x: Array, top: int, rows: int, known: Columns, line: Line | None, part: Sums) -> None:
    for k in range(x.shape[1]):
        sum_d, sum_dx = part.first[k], part.second[k]
        for r in range(top, top + rows):
            c = x[r, k] - known.centre[k]
            d = times_derivative(dy[r, k], c * known.scale[k] + known.shift[k], line)
            sum_d += d
            sum_dx += d * (c * known.rstd[k])
        part.first[k] = sum_d
        part.second[k] = sum_dx


@inline
def _move(part: Sums, sums: Sums) -> None:
    move(part.first, sums.first)
    move(part.second, sums.second)


@inline
def move(part: Array, total: Array) -> None:
    """Add part to total, and start it anew."""
    for k in range(len(part)):
        total[k] += part[k]
        part[k] = 0
