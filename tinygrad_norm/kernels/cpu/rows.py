"""Normalization of rows, a matrix [K0 R0 K1, R1] in which R0 rows are reduced together, each to one number.

Statistics are taken as in `columns.py`, with one x₀ for a group, from its first row; of one row, 512 numbers are added
in the dtype of x, in many lanes. A unit of work takes a few groups at a time, whose numbers stay in the cache while one
pass follows the other, and what is to be computed for each group once, with roots and quotients, is computed for all of
them together.

As the mean is float64, x̂ = (x - mean) / std is (x - centre) scale + rest, where centre is the mean in the dtype of x.
The activation is two straight lines, as in `columns.py`. A group that leaves the range is left to `extremes.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu import extremes
from tinygrad_norm.kernels.cpu.activation import activated, times_derivative
from tinygrad_norm.kernels.cpu.columns import BEGINNING, is_sound, move
from tinygrad_norm.kernels.cpu.compiler import Kernel, apart, free_order, inline
from tinygrad_norm.kernels.cpu.layout import Array

_CENTRE, _SCALE, _REST, _THROUGH_MEAN, _THROUGH_VAR = range(5)
"""The rows of what is computed for each group."""

_GROUPS, _NUMBERS = 64, 4096
"""The most groups that are taken at a time, and how many numbers they have at most, unless one has more."""

_TERMS = 512
"""The numbers of a row that are added up in the dtype of x: in lanes, so that each of their sums has a few dozen."""


@Kernel
def forward(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    own: bool,
    centred: bool,
    repeat: int,
    inner: int,
    blocks: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    """Write y for x [K0 R0 K1, R1] and, unless they are given, mean and var [K0 K1]."""
    period = len(weight)
    units, turns = blocks * period, len(mean) // period
    few = min(_GROUPS, turns)
    sums, by_group = np.empty((units, 2, few)), np.empty((units, 5, few), x.dtype)
    for unit in prange(units):
        block, p = unit // period, unit % period
        groups = turns * block // blocks * period + p, turns * (block + 1) // blocks * period, period
        statistics = mean, var, given, own, centred, sums[unit], by_group[unit]
        _forward(x, weight[p], bias[p], statistics, groups, repeat, inner, eps, slope, low, y)


@Kernel
def gradient(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    by_mean: float,
    by_var: float,
    repeat: int,
    inner: int,
    blocks: int,
    eps: float,
    slopes: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write dx, and for each unit of work its part of dweight and dbias [blocks period, R1]."""
    period, length = weight.shape
    units, turns = blocks * period, len(mean) // period
    parts, by_group = np.zeros((units, 2, length), x.dtype), np.empty((units, 5, min(_GROUPS, turns)), x.dtype)
    for unit in prange(units):
        block, p = unit // period, unit % period
        groups = turns * block // blocks * period + p, turns * (block + 1) // blocks * period, period
        statistics, through = (mean, var, by_group[unit]), (by_mean, by_var)
        sums = parts[unit, 0], parts[unit, 1], dweight[unit], dbias[unit]
        _gradient(dy, x, weight[p], bias[p], statistics, through, groups, repeat, inner, eps, slopes, dx, *sums)


# What a unit of work does. Its groups are every step-th from the first to before the last one.


@apart
def _forward(
    x: Array,
    weight: Array,
    bias: Array,
    statistics: Any,
    groups: tuple[int, int, int],
    repeat: int,
    inner: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    mean, var, given, own, centred, sums, by_group = statistics
    first, last, step = groups
    few = _few(repeat * len(weight)) * step
    for start in range(first, last, few):
        stop = min(start + few, last)
        if not given:
            _take_statistics(x, repeat, inner, start, stop, step, centred, sums, mean, var)
        _coefficients(mean, var, start, stop, step, eps, by_group)
        for j in range(_count(start, stop, step)):
            k = start + j * step
            top = _top(k, repeat, inner)
            if not extremes.are_ordinary(mean[k], var[k], eps, x.itemsize < 8):
                rows = slice(top, top + repeat * inner, inner)
                how = centred, eps, slope, low
                found = extremes.normalize(x[rows], weight, bias, mean[k], var[k], own, how, y[rows])
                if not given:
                    mean[k], var[k] = found
                continue
            centre, scale, rest = by_group[_CENTRE, j], by_group[_SCALE, j], by_group[_REST, j]
            for r in range(top, top + repeat * inner, inner):
                for i in range(len(weight)):
                    z = ((x[r, i] - centre) * scale + rest) * weight[i] + bias[i]
                    y[r, i] = activated(z, slope, low)


@apart
def _gradient(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    statistics: Any,
    through: tuple[float, float],
    groups: tuple[int, int, int],
    repeat: int,
    inner: int,
    eps: float,
    slopes: Any,
    dx: Array,
    part_weight: Array,
    part_bias: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    mean, var, by_group = statistics
    first, last, step = groups
    few = _few(repeat * len(weight)) * step
    added = 0
    dweight[:] = 0
    dbias[:] = 0
    for start in range(first, last, few):
        count = _count(start, min(start + few, last), step)
        _coefficients(mean, var, start, min(start + few, last), step, eps, by_group)
        for j in range(count):
            k = start + j * step
            top = _top(k, repeat, inner)
            sum_g = sum_gx = 0.0
            if not extremes.are_ordinary(mean[k], var[k], eps, x.itemsize < 8):
                rows = slice(top, top + repeat * inner, inner)
                how, results = (through[0], through[1], eps, slopes), (dx[rows], dweight, dbias)
                extremes.differentiate(dy[rows], x[rows], weight, bias, mean[k], var[k], how, *results)
                continue
            for r in range(top, top + repeat * inner, inner):
                for i in range(0, len(weight), _TERMS):
                    terms = np.uintp(i), np.uintp(min(i + _TERMS, len(weight)))
                    own = by_group[:3, j]
                    g, gx = _add_products(dy[r], x[r], weight, bias, own, slopes, terms, part_weight, part_bias)
                    sum_g += g
                    sum_gx += gx
                added += 1
                if added % 64 == 0:
                    move(part_weight, dweight)
                    move(part_bias, dbias)
            by_group[_THROUGH_MEAN, j], by_group[_THROUGH_VAR, j] = through[0] * sum_g, through[1] * sum_gx
        for j in range(count):
            k = start + j * step
            top = _top(k, repeat, inner)
            if extremes.are_ordinary(mean[k], var[k], eps, x.itemsize < 8):
                for r in range(top, top + repeat * inner, inner):
                    _differentiate(dy[r], x[r], weight, bias, by_group[:, j], slopes, through[1] == 0, dx[r])
    move(part_weight, dweight)
    move(part_bias, dbias)


@inline
def _few(numbers: int) -> int:
    """How many groups of so many numbers are taken at a time."""
    return min(_GROUPS, max(1, _NUMBERS // max(1, numbers)))


@inline
def _count(start: int, stop: int, step: int) -> int:
    return (stop - start + step - 1) // step


@inline
def _top(k: int, repeat: int, inner: int) -> int:
    """The first row of group k, of which each inner-th row is one, `repeat` times."""
    return k if repeat == 1 else k + k // inner * inner * (repeat - 1)


@inline
def _take_statistics(
    x: Array,
    repeat: int,
    inner: int,
    start: int,
    stop: int,
    step: int,
    centred: bool,
    sums: Array,
    mean: Array,
    var: Array,
) -> None:
    """Write mean and var of some groups."""
    count, numbers = _count(start, stop, step), repeat * x.shape[1]
    for j in range(count):
        top = _top(start + j * step, repeat, inner)
        sums[0, j], sums[1, j] = _sums(x, top, inner, repeat, _first(x[top], centred))
    for j in range(count):
        k = start + j * step
        top = _top(k, repeat, inner)
        first = _first(x[top], centred)
        if x.itemsize < 8 and not is_sound(sums[0, j], sums[1, j], centred, numbers):
            sums[0, j], sums[1, j] = _sums(x, top, inner, repeat, np.float64(first))
        offset = sums[0, j] / numbers if centred else 0.0
        mean[k] = first + offset
        var[k] = sums[1, j] / numbers - offset * offset


@inline
def _first(x: Array, centred: bool) -> Any:
    """x₀, from the first row of a group, or 0."""
    total, count = 0.0, min(BEGINNING, len(x))
    for i in range(count):
        total += np.float64(x[i]) - x[0]  # of equal values exactly 0
    return x.dtype.type(x[0] + total / count if centred else 0.0)


@inline
def _coefficients(mean: Array, var: Array, start: int, stop: int, step: int, eps: float, by_group: Array) -> None:
    """Write what makes x̂ = (x - centre) scale + rest."""
    cast = by_group.dtype.type
    for j in range(_count(start, stop, step)):
        k = start + j * step
        rstd, centre = 1 / np.sqrt(var[k] + eps), cast(mean[k])
        by_group[_CENTRE, j], by_group[_SCALE, j], by_group[_REST, j] = centre, rstd, (centre - mean[k]) * rstd


@inline
def _sums(x: Array, top: int, step: int, rows: int, shift: Any) -> tuple[float, float]:
    """Σ d and Σ d² over every step-th row from the top one on, where d = x - shift."""
    first = second = 0.0
    for r in range(top, top + rows * step, step):
        for i in range(0, x.shape[1], _TERMS):
            d, dd = _add_squares(x[r], shift, (np.uintp(i), np.uintp(min(i + _TERMS, x.shape[1]))))
            first += d
            second += dd
    return first, second


@inline
def _differentiate(
    dy: Array, x: Array, weight: Array, bias: Array, own: Array, slopes: Any, given: bool, dx: Array
) -> None:
    """Write dx of a row, where `own` is what is computed for its group."""
    centre, scale, rest = own[_CENTRE], own[_SCALE], own[_REST]
    through_mean, through_var = own[_THROUGH_MEAN], own[_THROUGH_VAR]
    for i in range(len(x)):
        normal = (x[i] - centre) * scale + rest
        d = times_derivative(dy[i], normal * weight[i] + bias[i], slopes)
        through = through_mean + normal * through_var
        if given:  # x may be infinite, and 0 x is not 0 then
            through = x.dtype.type(0)
        dx[i] = scale * (weight[i] * d - through)


# One number is summed in vector registers only where the order of summation is free, and nothing but these sums is.
# Their indices have no sign, or Numba would compare them with 0.


@free_order
def _add_squares(x: Array, shift: Any, terms: tuple[int, int]) -> tuple[Any, Any]:
    """Σ d and Σ d² of these terms, where d = x - shift, in the dtype of the shift."""
    first = second = shift - shift  # 0 of that dtype; not of an infinite shift, from which every d is NaN
    for i in range(terms[0], terms[1]):
        d = x[i] - shift
        first += d
        second += d * d
    return first, second


@free_order
def _add_products(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    own: Array,
    slopes: Any,
    terms: tuple[int, int],
    part_weight: Array,
    part_bias: Array,
) -> tuple[Any, Any]:
    """Add these terms' d x̂ and d to the parts of dweight and dbias; return Σ g and Σ g x̂, where g = weight d."""
    centre, scale, rest = own[_CENTRE], own[_SCALE], own[_REST]
    first = second = x.dtype.type(0)
    for i in range(terms[0], terms[1]):
        normal = (x[i] - centre) * scale + rest
        d = times_derivative(dy[i], normal * weight[i] + bias[i], slopes)
        part_bias[i] += d
        part_weight[i] += d * normal
        first += weight[i] * d
        second += weight[i] * d * normal
    return first, second
