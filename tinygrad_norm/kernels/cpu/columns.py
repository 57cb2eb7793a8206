"""Normalization of columns, a matrix [K0 R0, K1 R1] in which all rows of one k0 are reduced, and R1 columns together.

Statistics take one pass, shifted by a value x₀ near the mean, the average of a column's first eight: with d = x - x₀,
mean = x₀ + mean(d) and var = mean(d²) - mean(d)². Sums over 64 rows are taken in the dtype of x, and float64 adds them
up. Where x₀ is within two standard deviations of the mean, and no square leaves the range of float32, the variance is
good to 3e-6 of itself and the mean to 1e-6 of a standard deviation. Elsewhere the sums are taken again in float64: as
x₀ is no farther away than one of the N values, (mean - x₀)² ≤ N var, and cancellation costs about log10(N) of sixteen
digits, whatever the values are. A constant column gives exactly 0. Where columns share their statistics, Chan, Golub
and LeVeque's formula joins them (Algorithms for computing the sample variance, The American Statistician 37, 1983).

The output is (x - centre) scale + shift, with the mean in the dtype of x as centre, and what it lost in the shift.
Fused activations are two straight lines, z above 0 and max(slope z, low) below, or SiLU in float32: its slope is None.

The sums of a gradient are taken in the same way; they need no more digits than their terms have. Where a group is one
unit of work, all passes over it follow each other while it is in the cache. What leaves the range is done once more, as
in `extremes.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu import extremes
from tinygrad_norm.kernels.cpu.activation import activated, times_derivative
from tinygrad_norm.kernels.cpu.compiler import Kernel, apart, helper, inline
from tinygrad_norm.kernels.cpu.layout import Array

_CENTRE, _SCALE, _SHIFT, _RSTD, _THROUGH_MEAN, _THROUGH_VAR, _FIRST = range(7)
"""The rows of what is known of a group's columns; the last is x₀."""

BEGINNING = 8
"""Of so many values, x₀ is the average."""


def forward(size: int, *arguments: Any) -> None:
    """Write y for x [K0 R0, K1 R1] and, unless they are given, mean and var [K0, K1]."""
    *_, blocks, _, _, _, _ = arguments
    (_forward if blocks == 1 else _forward_in_blocks)(size, *arguments)


def gradient(size: int, *arguments: Any) -> None:
    """Write dx, and dweight and dbias [K0, K1 R1]. What goes through mean and var counts by_mean and by_var."""
    *_, blocks, _, _, _, _, _ = arguments
    (_gradient if blocks == 1 else _gradient_in_blocks)(size, *arguments)


@Kernel
def _forward(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    own: bool,
    centred: bool,
    repeat: int,
    _: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    sums, parts, by_column = _room(x, len(mean), 1)
    for group in prange(len(mean)):
        unit = np.intp(group)
        if not given:
            _take_first(unit, x, repeat, centred, by_column)
            _sum_unit(unit, x, repeat, 1, centred, sums, parts, by_column)
        ordinary = _prepare(unit, weight, bias, mean, var, given, centred, repeat, 1, eps, sums, by_column)
        _normalize_unit(unit, x, repeat, 1, slope, low, by_column, y)
        if not ordinary:
            statistics, how = (mean[group], var[group], given, own), (centred, eps, slope, low)
            extremes.normalize_columns(unit, x, weight, bias, statistics, repeat, how, y)


@Kernel
def _forward_in_blocks(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    own: bool,
    centred: bool,
    repeat: int,
    blocks: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    units, ordinary = len(mean) * blocks, np.empty(len(mean), np.bool_)
    sums, parts, by_column = _room(x, len(mean), blocks)
    if not given:
        for group in range(len(mean)):
            _take_first(group, x, repeat, centred, by_column)
        for unit in prange(units):
            _sum_unit(np.intp(unit), x, repeat, blocks, centred, sums, parts, by_column)
    for group in range(len(mean)):
        to_prepare = given, centred, repeat, blocks, eps, sums, by_column
        ordinary[group] = _prepare(group, weight, bias, mean, var, *to_prepare)
    for turn in prange(units):
        # what was read last may still be in the cache
        _normalize_unit(units - 1 - np.intp(turn), x, repeat, blocks, slope, low, by_column, y)
    for group in range(len(mean)):
        if not ordinary[group]:
            statistics, how = (mean[group], var[group], given, own), (centred, eps, slope, low)
            extremes.normalize_columns(group, x, weight, bias, statistics, repeat, how, y)


@Kernel
def _gradient(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    by_mean: float,
    by_var: float,
    repeat: int,
    _: int,
    eps: float,
    slopes: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    sums, parts, by_column = _room(x, len(mean), 1)
    for group in prange(len(mean)):
        unit, own, results = np.intp(group), by_column[group], (dweight[group], dbias[group])
        ordinary = _coefficients(weight, bias, unit, mean[group], var[group], eps, own)
        _sum_products_unit(unit, dy, x, repeat, 1, slopes, sums, parts, by_column)
        _paths(unit, weight, mean, var, by_mean, by_var, eps, sums[group : group + 1], own, results)
        _differentiate_unit(unit, dy, x, repeat, 1, slopes, by_var, by_column, dx)
        if not ordinary:
            statistics, how = (mean[group], var[group]), (by_mean, by_var, eps, slopes)
            extremes.differentiate_columns(unit, dy, x, weight, bias, statistics, repeat, how, dx, results)


@Kernel
def _gradient_in_blocks(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    by_mean: float,
    by_var: float,
    repeat: int,
    blocks: int,
    eps: float,
    slopes: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    units, ordinary = len(mean) * blocks, np.empty(len(mean), np.bool_)
    sums, parts, by_column = _room(x, len(mean), blocks)
    for group in range(len(mean)):
        ordinary[group] = _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])
    for unit in prange(units):
        _sum_products_unit(np.intp(unit), dy, x, repeat, blocks, slopes, sums, parts, by_column)
    for group in range(len(mean)):
        own, results = sums[group * blocks : (group + 1) * blocks], (dweight[group], dbias[group])
        _paths(group, weight, mean, var, by_mean, by_var, eps, own, by_column[group], results)
    for turn in prange(units):
        _differentiate_unit(units - 1 - np.intp(turn), dy, x, repeat, blocks, slopes, by_var, by_column, dx)
    for group in range(len(mean)):
        if not ordinary[group]:
            statistics, results = (mean[group], var[group]), (dweight[group], dbias[group])
            how = by_mean, by_var, eps, slopes
            extremes.differentiate_columns(group, dy, x, weight, bias, statistics, repeat, how, dx, results)


# What a unit of work does, in functions of their own: they are compiled once for both forms of a kernel, if the number
# of the unit is of one type; in the parallel form it has no sign.


@helper
def _room(x: Array, groups: int, blocks: int) -> tuple[Array, Array, Array]:
    """The sums of all units, those over a few rows, and what is known of each group's columns."""
    sums = np.empty((groups * blocks, 2, x.shape[1]))
    return sums, np.empty(sums.shape, x.dtype), np.empty((groups, 7, x.shape[1]), x.dtype)


@inline
def _rows(unit: int, repeat: int, blocks: int) -> slice:
    return slice(repeat * unit // blocks, repeat * (unit + 1) // blocks)


@helper
def _take_first(group: int, x: Array, repeat: int, centred: bool, by_column: Array) -> None:
    """Write x₀ of each column, or 0."""
    total, count, top = np.zeros(x.shape[1]), min(BEGINNING, repeat), group * repeat
    for r in range(top, top + count):
        for k in range(x.shape[1]):
            total[k] += np.float64(x[r, k]) - x[top, k]  # of equal values exactly 0
    for k in range(x.shape[1]):
        by_column[group, _FIRST, k] = x[top, k] + total[k] / count if centred else 0.0


@helper
def _sum_unit(
    unit: int, x: Array, repeat: int, blocks: int, centred: bool, sums: Array, parts: Array, by_column: Array
) -> None:
    """Write Σ d and Σ d² of each column, where d = x - x₀."""
    some, first, own, part = x[_rows(unit, repeat, blocks)], by_column[unit // blocks, _FIRST], sums[unit], parts[unit]
    _sum_squares(some, first, (part[0], part[1]), (own[0], own[1]))
    if x.itemsize < 8 and not _are_sound(own[0], own[1], centred, len(some)):
        exact = np.empty((4, len(first)))
        _sum_squares(some, first.astype(np.float64), (exact[0], exact[1]), (exact[2], exact[3]))
        for k in range(len(first)):
            if not is_sound(own[0, k], own[1, k], centred, len(some)):
                own[0, k], own[1, k] = exact[2, k], exact[3, k]


@helper
def _prepare(
    group: int,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    centred: bool,
    repeat: int,
    blocks: int,
    eps: float,
    sums: Array,
    by_column: Array,
) -> bool:
    """Write mean and var of a group, unless they are given, and what follows from them; tell if all is ordinary."""
    if not given:
        own = sums[group * blocks : (group + 1) * blocks]
        _statistics(own, by_column[group, _FIRST], centred, repeat, mean[group], var[group])
    return _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])


@helper
def _normalize_unit(
    unit: int, x: Array, repeat: int, blocks: int, slope: Any, low: Any, by_column: Array, y: Array
) -> None:
    rows = _rows(unit, repeat, blocks)
    _normalize(x[rows], by_column[unit // blocks], slope, low, y[rows])


@helper
def _sum_products_unit(
    unit: int, dy: Array, x: Array, repeat: int, blocks: int, slopes: Any, sums: Array, parts: Array, by_column: Array
) -> None:
    """Write Σ d and Σ d x̂ of each column, where d = dy times the derivative of the activation."""
    rows, own, part = _rows(unit, repeat, blocks), sums[unit], parts[unit]
    _sum_products(dy[rows], x[rows], by_column[unit // blocks], slopes, (part[0], part[1]), (own[0], own[1]))


@helper
def _differentiate_unit(
    unit: int, dy: Array, x: Array, repeat: int, blocks: int, slopes: Any, by_var: float, by_column: Array, dx: Array
) -> None:
    rows = _rows(unit, repeat, blocks)
    _differentiate(dy[rows], x[rows], by_column[unit // blocks], slopes, by_var, dx[rows])


# Passes over the rows of a unit. Sums take four rows at a time, which saves their way through the registers, and get
# the two arrays that they write one by one: of two that are known to lie apart, loops are vectorized.


@apart
def _are_sound(first: Array, second: Array, centred: bool, count: int) -> bool:
    sound = True
    for k in range(len(first)):
        sound &= is_sound(first[k], second[k], centred, count)
    return sound


@inline
def is_sound(first: float, second: float, centred: bool, count: int) -> bool:
    """Whether Σ d and Σ d² of so many d, in float32, are as good as said above: (mean - x₀)² ≤ 4 var, d² in the range.

    If all d² are 0, they may have been too small.
    """
    near = (first * first <= count * second * (4 / 5)) | (not centred)
    return near & (second > 1e-30) & (second < 1e30)


@apart
def _sum_squares(x: Array, start: Array, part: tuple[Array, Array], sums: tuple[Array, Array]) -> None:
    for i in range(2):
        part[i][:] = 0
        sums[i][:] = 0
    for top in range(0, len(x), 64):
        stop = min(top + 64, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            _add_four(x[r], x[r + 1], x[r + 2], x[r + 3], start, *part)
        for r in range(whole, stop):
            _add_one(x[r], start, *part)
        move(part[0], sums[0])
        move(part[1], sums[1])


@inline
def _add_four(x0: Array, x1: Array, x2: Array, x3: Array, start: Array, first: Array, second: Array) -> None:
    for k in range(len(start)):
        d0, d1, d2, d3 = x0[k] - start[k], x1[k] - start[k], x2[k] - start[k], x3[k] - start[k]
        first[k] += (d0 + d1) + (d2 + d3)
        second[k] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)


@inline
def _add_one(x: Array, start: Array, first: Array, second: Array) -> None:
    for k in range(len(start)):
        d = x[k] - start[k]
        first[k] += d
        second[k] += d * d


@inline
def move(part: Array, total: Array) -> None:
    """Add part to total, and start it anew."""
    for k in range(len(part)):
        total[k] += part[k]
        part[k] = 0


@apart
def _sum_products(
    dy: Array, x: Array, by_column: Array, slopes: Any, part: tuple[Array, Array], sums: tuple[Array, Array]
) -> None:
    for i in range(2):
        part[i][:] = 0
        sums[i][:] = 0
    for top in range(0, len(x), 64):
        stop = min(top + 64, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            _add_products(dy, x, r, 4, by_column, slopes, *part)
        for r in range(whole, stop):
            _add_products(dy, x, r, 1, by_column, slopes, *part)
        move(part[0], sums[0])
        move(part[1], sums[1])


@inline
def _add_products(
    dy: Array, x: Array, top: int, rows: int, by_column: Array, slopes: Any, first: Array, second: Array
) -> None:
    centre, scale, shift, rstd = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT], by_column[_RSTD]
    for k in range(x.shape[1]):
        sum_d, sum_dx = first[k], second[k]
        for r in range(rows):
            c = x[top + r, k] - centre[k]
            d = times_derivative(dy[top + r, k], c * scale[k] + shift[k], slopes)
            sum_d += d
            sum_dx += d * (c * rstd[k])
        first[k] = sum_d
        second[k] = sum_dx


@apart
def _normalize(x: Array, by_column: Array, slope: Any, low: Any, y: Array) -> None:
    centre, scale, shift = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            z = (x[r, k] - centre[k]) * scale[k] + shift[k]
            y[r, k] = activated(z, slope, low)


@apart
def _differentiate(dy: Array, x: Array, by_column: Array, slopes: Any, by_var: float, dx: Array) -> None:
    centre, scale, shift, rstd = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT], by_column[_RSTD]
    through_mean, through_var = by_column[_THROUGH_MEAN], by_column[_THROUGH_VAR]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            c = x[r, k] - centre[k]
            d = times_derivative(dy[r, k], c * scale[k] + shift[k], slopes)
            through = through_mean[k] + c * rstd[k] * through_var[k]
            if by_var == 0:  # x may be infinite, and 0 x is not 0 then
                through = x.dtype.type(0)
            dx[r, k] = scale[k] * d - through


# What a group's columns have in common


@helper
def _statistics(sums: Array, start: Array, centred: bool, repeat: int, mean: Array, var: Array) -> None:
    """Write mean and var from the sums of all units."""
    total, share = _total(sums), len(start) // len(mean)
    for s in range(len(mean)):
        first = np.float64(start[s * share])
        offset = square = between = 0.0
        for k in range(s * share, (s + 1) * share):
            own = total[0, k] / repeat if centred else 0.0
            square += total[1, k] / repeat - own * own
            total[0, k] = (start[k] - first) + own
            offset += total[0, k]
        offset /= share
        for k in range(s * share, (s + 1) * share):
            between += (total[0, k] - offset) ** 2
        mean[s] = first + offset
        var[s] = (square + between) / share


@helper
def _coefficients(
    weight: Array, bias: Array, group: int, mean: Array, var: Array, eps: float, by_column: Array
) -> bool:
    """Write what makes z = (x - centre) scale + shift; tell if all of it is in the range of these loops."""
    row, share, ordinary = group % len(weight), weight.shape[1] // len(mean), True
    for s in range(len(mean)):
        own = slice(s * share, (s + 1) * share)
        ordinary &= extremes.are_columns_ordinary(weight[row, own], bias[row, own], mean[s], var[s], eps)
        rstd, centre = 1 / np.sqrt(var[s] + eps), by_column.dtype.type(mean[s])
        for k in range(s * share, (s + 1) * share):
            by_column[_CENTRE, k] = centre
            by_column[_RSTD, k] = rstd
            by_column[_SCALE, k] = weight[row, k] * rstd
            by_column[_SHIFT, k] = bias[row, k] + (centre - mean[s]) * rstd * weight[row, k]
    return ordinary


@helper
def _paths(
    group: int,
    weight: Array,
    means: Array,
    variances: Array,
    by_mean: float,
    by_var: float,
    eps: float,
    sums: Array,
    by_column: Array,
    results: tuple[Array, Array],
) -> None:
    """Write dweight and dbias, and what of dx goes through mean and variance: through_mean + x̂ through_var."""
    total, mean, var, (dweight, dbias) = _total(sums), means[group], variances[group], results
    row, share = group % len(weight), len(dbias) // len(mean)
    for s in range(len(mean)):
        rstd = 1 / np.sqrt(var[s] + eps)
        rest = (by_column[_CENTRE, s * share] - mean[s]) * rstd
        sum_g = sum_gx = 0.0
        for k in range(s * share, (s + 1) * share):
            dbias[k] = total[0, k]
            dweight[k] = total[1, k] + rest * total[0, k]
            sum_g += weight[row, k] * dbias[k]
            sum_gx += weight[row, k] * dweight[k]
        for k in range(s * share, (s + 1) * share):
            by_column[_THROUGH_MEAN, k] = rstd * (by_mean * sum_g + rest * by_var * sum_gx)
            by_column[_THROUGH_VAR, k] = rstd * by_var * sum_gx


@inline
def _total(sums: Array) -> Array:
    """The sums of all units, in float64."""
    total = np.zeros((2, sums.shape[2]))
    for unit in range(len(sums)):
        for i in range(2):
            for k in range(sums.shape[2]):
                total[i, k] += sums[unit, i, k]
    return total
