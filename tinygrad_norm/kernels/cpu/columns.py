"""Normalization of columns, a matrix [K0 R0, K1 R1] in which all rows of one k0 are reduced, and R1 columns together.

Statistics take one pass in float64, shifted by the first value x₀ of a group: with d = x - x₀, mean = x₀ + mean(d) and
var = mean(d²) - mean(d)². As x₀ is one of the N values, (mean - x₀)² ≤ N var: cancellation costs about log10(N) of
sixteen digits, whatever the values are, and a constant group gives exactly 0.

The output is (x - centre) scale + shift, with the mean in the dtype of x as centre, and what it lost in the shift.
Fused activations are two straight lines, z above 0 and max(slope z, low) below, or SiLU in float32: its slope is None.

The sums of a gradient need no more digits than their terms have: those over 64 rows are taken in the dtype of x, and
float64 adds them up. Where a group is one unit of work, all passes over it follow each other while it is in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import Kernel, helper, inline
from tinygrad_norm.kernels.cpu.layout import Array

_CENTRE, _SCALE, _SHIFT, _RSTD, _THROUGH_MEAN, _THROUGH_VAR = range(6)
"""The rows of the coefficients that a group's columns have."""


def forward(size: int, *arguments: Any) -> None:
    """Write y for x [K0 R0, K1 R1] and, unless they are given, mean and var [K0, K1]."""
    blocks = arguments[8]
    (_forward if blocks == 1 else _forward_in_blocks)(size, *arguments)


def gradient(size: int, *arguments: Any) -> None:
    """Write dx, and dweight and dbias [K0, K1 R1]. What goes through mean and var counts by_mean and by_var."""
    blocks = arguments[9]
    (_gradient if blocks == 1 else _gradient_in_blocks)(size, *arguments)


@Kernel
def _forward(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    centred: bool,
    repeat: int,
    _: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    groups = mean.shape[0]
    sums, by_column = np.empty((groups, 1, 2, x.shape[1])), np.empty((groups, 4, x.shape[1]), x.dtype)
    for group in prange(groups):
        own, first = x[group * repeat : (group + 1) * repeat], x[group * repeat]
        if not given:
            _sum(own, first, centred, mean.shape[1], sums[group, 0])
            _statistics(sums[group], first, centred, repeat, mean[group], var[group])
        _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])
        _normalize(own, by_column[group], slope, low, y[group * repeat : (group + 1) * repeat])


@Kernel
def _forward_in_blocks(
    x: Array,
    weight: Array,
    bias: Array,
    mean: Array,
    var: Array,
    given: bool,
    centred: bool,
    repeat: int,
    blocks: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    groups, units = mean.shape[0], mean.shape[0] * blocks
    sums, by_column = np.empty((units, 2, x.shape[1])), np.empty((groups, 4, x.shape[1]), x.dtype)
    if not given:
        for unit in prange(units):
            start, stop = repeat * unit // blocks, repeat * (unit + 1) // blocks
            _sum(x[start:stop], x[unit // blocks * repeat], centred, mean.shape[1], sums[unit])
    for group in range(groups):
        if not given:
            own = sums[group * blocks : (group + 1) * blocks]
            _statistics(own, x[group * repeat], centred, repeat, mean[group], var[group])
        _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])
    for turn in prange(units):
        unit = units - 1 - turn  # what was read last may still be in the cache
        start, stop = repeat * unit // blocks, repeat * (unit + 1) // blocks
        _normalize(x[start:stop], by_column[unit // blocks], slope, low, y[start:stop])


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
    slope: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    groups = mean.shape[0]
    sums, by_column = np.empty((groups, 1, 2, x.shape[1])), np.empty((groups, 6, x.shape[1]), x.dtype)
    for group in prange(groups):
        start, stop = group * repeat, (group + 1) * repeat
        results = dweight[group], dbias[group]
        _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])
        _sum_products(dy[start:stop], x[start:stop], by_column[group], slope, sums[group, 0])
        _paths(sums[group], weight, group, mean[group], var[group], by_mean, by_var, eps, by_column[group], results)
        _differentiate(dy[start:stop], x[start:stop], by_column[group], slope, by_var, dx[start:stop])


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
    slope: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    groups, units = mean.shape[0], mean.shape[0] * blocks
    sums, by_column = np.empty((units, 2, x.shape[1])), np.empty((groups, 6, x.shape[1]), x.dtype)
    for group in range(groups):
        _coefficients(weight, bias, group, mean[group], var[group], eps, by_column[group])
    for unit in prange(units):
        start, stop = repeat * unit // blocks, repeat * (unit + 1) // blocks
        _sum_products(dy[start:stop], x[start:stop], by_column[unit // blocks], slope, sums[unit])
    for group in range(groups):
        own, results = sums[group * blocks : (group + 1) * blocks], (dweight[group], dbias[group])
        _paths(own, weight, group, mean[group], var[group], by_mean, by_var, eps, by_column[group], results)
    for turn in prange(units):
        unit = units - 1 - turn
        start, stop = repeat * unit // blocks, repeat * (unit + 1) // blocks
        _differentiate(dy[start:stop], x[start:stop], by_column[unit // blocks], slope, by_var, dx[start:stop])


# Passes over the rows of a unit. Sums take four rows at a time, which saves their way through the registers.


@helper
def _sum(x: Array, first: Array, centred: bool, statistics: int, sums: Array) -> None:
    """Write Σ d and Σ d² of each column, where d = x - x₀."""
    shift, share = np.zeros(len(first)), len(first) // statistics
    for k in range(len(first)):
        if centred:
            shift[k] = first[k // share * share]
    sums[:] = 0
    whole = len(x) // 4 * 4
    for r in range(0, whole, 4):
        _add_rows(x, r, 4, shift, sums[0], sums[1])
    for r in range(whole, len(x)):
        _add_rows(x, r, 1, shift, sums[0], sums[1])


@inline
def _add_rows(x: Array, top: int, rows: int, shift: Array, first: Array, second: Array) -> None:
    for k in range(x.shape[1]):
        sum_d = sum_dd = 0.0
        for r in range(rows):
            d = np.float64(x[top + r, k]) - shift[k]
            sum_d += d
            sum_dd += d * d
        first[k] += sum_d
        second[k] += sum_dd


@helper
def _normalize(x: Array, by_column: Array, slope: Any, low: Any, y: Array) -> None:
    centre, scale, shift = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            y[r, k] = _activate((x[r, k] - centre[k]) * scale[k] + shift[k], slope, low)


@helper
def _sum_products(dy: Array, x: Array, by_column: Array, slope: Any, sums: Array) -> None:
    """Write Σ d and Σ d x̂ of each column, where d = dy times the derivative of the activation."""
    part = np.zeros((2, x.shape[1]), x.dtype)
    sums[:] = 0
    for top in range(0, len(x), 64):
        stop = min(top + 64, len(x))
        whole = stop - (stop - top) % 4
        for r in range(top, whole, 4):
            _add_products(dy, x, r, 4, by_column, slope, part[0], part[1])
        for r in range(whole, stop):
            _add_products(dy, x, r, 1, by_column, slope, part[0], part[1])
        for i in range(2):
            for k in range(x.shape[1]):
                sums[i, k] += part[i, k]
                part[i, k] = 0


@inline
def _add_products(
    dy: Array, x: Array, top: int, rows: int, by_column: Array, slope: Any, first: Array, second: Array
) -> None:
    centre, scale, shift, rstd = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT], by_column[_RSTD]
    for k in range(x.shape[1]):
        sum_d, sum_dx = first[k], second[k]
        for r in range(rows):
            c = x[top + r, k] - centre[k]
            d = _times_derivative(dy[top + r, k], c * scale[k] + shift[k], slope)
            sum_d += d
            sum_dx += d * (c * rstd[k])
        first[k] = sum_d
        second[k] = sum_dx


@helper
def _differentiate(dy: Array, x: Array, by_column: Array, slope: Any, by_var: float, dx: Array) -> None:
    centre, scale, shift, rstd = by_column[_CENTRE], by_column[_SCALE], by_column[_SHIFT], by_column[_RSTD]
    through_mean, through_var = by_column[_THROUGH_MEAN], by_column[_THROUGH_VAR]
    for r in range(len(x)):
        for k in range(x.shape[1]):
            c = x[r, k] - centre[k]
            d = _times_derivative(dy[r, k], c * scale[k] + shift[k], slope)
            through = through_mean[k] + c * rstd[k] * through_var[k]
            if by_var == 0:  # x may be infinite, and 0 x is not 0 then
                through = x.dtype.type(0)
            dx[r, k] = scale[k] * d - through


# What a group's columns have in common


@helper
def _statistics(sums: Array, first: Array, centred: bool, repeat: int, mean: Array, var: Array) -> None:
    """Write mean and var from the sums of all units."""
    total, share = _total(sums), len(first) // len(mean)
    for s in range(len(mean)):
        sum_d = sum_dd = 0.0
        for k in range(s * share, (s + 1) * share):
            sum_d += total[0, k]
            sum_dd += total[1, k]
        offset, square = sum_d / (repeat * share) if centred else 0.0, sum_dd / (repeat * share)
        mean[s] = (first[s * share] if centred else 0.0) + offset
        var[s] = square - offset * offset


@helper
def _coefficients(
    weight: Array, bias: Array, group: int, mean: Array, var: Array, eps: float, by_column: Array
) -> None:
    """Write what makes z = (x - centre) scale + shift."""
    row, share = group % len(weight), weight.shape[1] // len(mean)
    for s in range(len(mean)):
        rstd, centre = 1 / np.sqrt(var[s] + eps), by_column.dtype.type(mean[s])
        for k in range(s * share, (s + 1) * share):
            by_column[_CENTRE, k] = centre
            by_column[_RSTD, k] = rstd
            by_column[_SCALE, k] = weight[row, k] * rstd
            by_column[_SHIFT, k] = bias[row, k] + (centre - mean[s]) * rstd * weight[row, k]


@helper
def _paths(
    sums: Array,
    weight: Array,
    group: int,
    mean: Array,
    var: Array,
    by_mean: float,
    by_var: float,
    eps: float,
    by_column: Array,
    results: tuple[Array, Array],
) -> None:
    """Write dweight and dbias, and what of dx goes through mean and variance: through_mean + x̂ through_var."""
    total, (dweight, dbias) = _total(sums), results
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


# The activation and its derivative


@inline
def _activate(z: Any, slope: Any, low: Any) -> Any:
    if slope is None:
        return z * _sigmoid(z)[0]
    below = slope * z
    return z if z > 0 else low if below < low else below


@inline
def _times_derivative(d: Any, z: Any, slope: Any) -> Any:
    """Times the derivative of the activation at z."""
    if slope is None:
        s, rest = _sigmoid(z)
        return d * (s + s * rest * z)
    return slope * d if z <= 0 else d


def _reinterpret(given: Any, returned: Any) -> Any:
    """A function that reads the bits of one type as those of another."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(returned))

    return intrinsic(lambda _, value: (returned(given), code))


_bits = _reinterpret(types.float32, types.int32)
_from_bits = _reinterpret(types.int32, types.float32)

_LOG2_E, _MAGIC = np.float32(1 / np.log(2)), np.float32(1.5 * 2**23)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(np.log(2) - 0.693359375)
_EXP = tuple(np.float32(1 / c) for c in (1, 1, 2, 6, 24, 120, 720, 5040))


@inline
def _sigmoid(z: Any) -> tuple[Any, Any]:
    """1 / (1 + e⁻ᶻ), and what it lacks of 1, in float32: with x = -|z| = n ln 2 + r, eˣ = 2ⁿ eʳ. Below -87, eˣ is 0."""
    x = -abs(z)
    shifted = (np.float32(-87) if x < np.float32(-87) else x) * _LOG2_E + _MAGIC
    n = shifted - _MAGIC  # an integer, in the lowest bits of `shifted`
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    series = _EXP[7]
    for k in range(6, -1, -1):
        series = series * r + _EXP[k]
    e = np.float32(0) if x < np.float32(-87) else series * _from_bits((_bits(shifted) + np.int32(127)) << np.int32(23))
    larger = np.float32(1) / (np.float32(1) + e)
    smaller = e * larger
    return (larger, smaller) if z >= 0 else (smaller, larger)
