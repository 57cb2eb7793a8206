"""Normalization by inner reduction: of a matrix [K0 R0 K1, R1], R0 rows together, each to one number.

Statistics are taken as in `outer_reduction.py`, with one x₀ for a group, from its first row; of one row, 512 numbers
are added in the dtype of x, in vectors. As the mean is float64, x̂ = (x - mean) / std is (x - centre) scale + rest,
where centre is the mean in the dtype of x. A group that leaves the range is left to `extremes.py`.

Blocking: a unit of work has groups with the same weight and bias. It takes a few at a time, whose numbers stay in the
cache while one pass follows the other, and what is to be computed for each group once, with roots and quotients, is
computed for all of them together. `python -m benchmarks --only norms` measures the constants again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import Line, activated, times_derivative
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline, noalias, reassociate
from tinygrad_norm.kernels.cpu.extremes import all_are_ordinary, are_ordinary, first_row, groups_of
from tinygrad_norm.kernels.cpu.launch import Array
from tinygrad_norm.kernels.cpu.layout import Affine, Statistics, Units
from tinygrad_norm.kernels.cpu.outer_reduction import BEGINNING, is_sound, move

_GROUPS, _NUMBERS = 64, 4096
"""The most groups that are taken at a time, and how many numbers they have at most, unless one has more."""

_TERMS = 512
"""The numbers of a row that are added up in the dtype of x: in vectors, so that each of their sums has a few dozen."""


class Groups(NamedTuple):
    """Groups with the same weight and bias: every step-th from the first to before the last one."""

    first: int
    last: int
    step: int
    repeat: int
    """How many rows a group has, every inner-th one."""
    inner: int


class Few(NamedTuple):
    """What is known of each of a few groups: x̂ = (x - centre) scale + rest.

    What of dx goes through mean and variance is through_mean + x̂ through_var.
    """

    sums: Array
    """Σ d and Σ d² of d = x - x₀."""
    centre: Array
    scale: Array
    rest: Array
    through_mean: Array
    through_var: Array


class Sums(NamedTuple):
    """A unit's dweight and dbias: of up to 64 rows in the dtype of x, and of all others."""

    part_weight: Array
    part_bias: Array
    weight: Array
    bias: Array
    rows: Array
    """How many rows the parts have, [1]."""


@Kernel
def forward(x: Array, affine: Affine, statistics: Statistics, units: Units, line: Line | None, y: Array) -> bool:
    """Write y for x [K0 R0 K1, R1] and, unless they are given, mean and var [K0 K1]; tell if all is ordinary."""
    affine, statistics, units = Affine(*affine), Statistics(*statistics), Units(*units)
    period = len(affine.weight)
    for unit in prange(units.blocks * period):
        own = Affine(affine.weight[unit % period], affine.bias[unit % period])
        few, groups = _few(x, units), _groups(np.intp(unit), period, statistics, units)
        for start in range(groups.first, groups.last, len(few.scale) * period):
            some = _some(groups, start, few)
            if not statistics.given:
                _find_statistics(x, statistics, some, few)
            _find_coefficients(statistics, some, few)
            _normalize(x, own, some, line, few, y)
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
    """Write dx, and for each unit of work its part of dweight and dbias [blocks period, R1]; tell as `forward`."""
    affine, statistics, units = Affine(*affine), Statistics(*statistics), Units(*units)
    grads = Affine(*grads)
    period = len(affine.weight)
    for unit in prange(units.blocks * period):
        own = Affine(affine.weight[unit % period], affine.bias[unit % period])
        few, groups = _few(x, units), _groups(np.intp(unit), period, statistics, units)
        sums = _sums(x, Affine(grads.weight[unit], grads.bias[unit]))
        for start in range(groups.first, groups.last, len(few.scale) * period):
            some = _some(groups, start, few)
            _find_coefficients(statistics, some, few)
            _sum_products(dy, x, own, statistics, some, line, few, sums)
            _differentiate(dy, x, own, some, line, few, statistics.own, dx)
        _move(sums)
    return all_are_ordinary(statistics)


@device
def _few(x: Array, units: Units) -> Few:
    count = min(_GROUPS, max(1, _NUMBERS // max(1, units.repeat * x.shape[1])))
    known = np.empty((5, count), x.dtype)
    return Few(np.empty((2, count)), known[0], known[1], known[2], known[3], known[4])


@device
def _sums(x: Array, grads: Affine) -> Sums:
    parts = np.zeros((2, x.shape[1]), x.dtype)
    grads.weight[:] = 0
    grads.bias[:] = 0
    return Sums(parts[0], parts[1], grads.weight, grads.bias, np.zeros(1, np.intp))


@inline
def _groups(unit: int, period: int, statistics: Statistics, units: Units) -> Groups:
    """Those of a unit of work."""
    first, last = groups_of(unit, units.blocks * period, len(statistics.mean), period)
    return Groups(first, last, period, units.repeat, units.inner)


@inline
def _some(groups: Groups, start: int, few: Few) -> Groups:
    """As many of them as are taken at a time, from that one on."""
    last = min(start + len(few.scale) * groups.step, groups.last)
    return Groups(start, last, groups.step, groups.repeat, groups.inner)


@inline
def _count(groups: Groups) -> int:
    return (groups.last - groups.first + groups.step - 1) // groups.step


@noalias
def _find_statistics(x: Array, statistics: Statistics, groups: Groups, few: Few) -> None:
    """Write mean and var."""
    numbers, centred, sums = groups.repeat * x.shape[1], statistics.centred, few.sums
    for j in range(_count(groups)):
        top = first_row(groups.first + j * groups.step, groups)
        sums[0, j], sums[1, j] = _sum_squares(x, top, groups, _start(x[top], centred))
    for j in range(_count(groups)):
        k = groups.first + j * groups.step
        top = first_row(k, groups)
        start = _start(x[top], centred)
        if x.itemsize < 8 and not is_sound(sums[0, j], sums[1, j], centred, numbers):
            sums[0, j], sums[1, j] = _sum_squares(x, top, groups, np.float64(start))
        offset = sums[0, j] / numbers if centred else 0.0
        statistics.mean[k] = start + offset
        statistics.var[k] = sums[1, j] / numbers - offset * offset


@inline
def _start(x: Array, centred: bool) -> Any:
    """The x₀ of a group, from its first row, or 0."""
    total, count = 0.0, min(BEGINNING, len(x))
    for i in range(count):
        total += np.float64(x[i]) - x[0]  # of equal values exactly 0
    return x.dtype.type(x[0] + total / count if centred else 0.0)


@inline
def _sum_squares(x: Array, top: int, groups: Groups, start: Any) -> tuple[float, float]:
    """Σ d and Σ d² over the group whose first row that is, where d = x - start."""
    first = second = 0.0
    for r in range(top, top + groups.repeat * groups.inner, groups.inner):
        for i in range(0, x.shape[1], _TERMS):
            d, dd = _add_squares(x[r], start, np.uintp(i), np.uintp(min(i + _TERMS, x.shape[1])))
            first += d
            second += dd
    return first, second


@noalias
def _find_coefficients(statistics: Statistics, groups: Groups, few: Few) -> None:
    """Write what makes x̂ = (x - centre) scale + rest, and whether all of it is in the range of these loops."""
    mean, var, eps, cast = statistics.mean, statistics.var, statistics.eps, few.scale.dtype.type
    for j in range(_count(groups)):
        k = groups.first + j * groups.step
        rstd, centre = 1 / np.sqrt(var[k] + eps), cast(mean[k])
        few.centre[j], few.scale[j], few.rest[j] = centre, rstd, (centre - mean[k]) * rstd
        statistics.ordinary[k] = are_ordinary(mean[k], var[k], eps, few.scale.itemsize < 8)


@noalias
def _normalize(x: Array, affine: Affine, groups: Groups, line: Line | None, few: Few, y: Array) -> None:
    weight, bias = affine
    for j in range(_count(groups)):
        top = first_row(groups.first + j * groups.step, groups)
        centre, scale, rest = few.centre[j], few.scale[j], few.rest[j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(len(weight)):
                z = ((x[r, i] - centre) * scale + rest) * weight[i] + bias[i]
                y[r, i] = activated(z, line)


@noalias
def _sum_products(
    dy: Array, x: Array, affine: Affine, statistics: Statistics, groups: Groups, line: Line | None, few: Few, sums: Sums
) -> None:
    """Add to dweight and dbias, and write what of dx goes through mean and variance."""
    length, numbers = x.shape[1], groups.repeat * x.shape[1]
    by_mean, by_var = statistics.centred / numbers, statistics.own / numbers
    for j in range(_count(groups)):
        k = groups.first + j * groups.step
        if not statistics.ordinary[k]:
            continue
        top = first_row(k, groups)
        sum_g = sum_gx = 0.0
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(0, length, _TERMS):
                known = few.centre[j], few.scale[j], few.rest[j]
                terms = np.uintp(i), np.uintp(min(i + _TERMS, length))
                g, gx = _add_products(dy[r], x[r], affine, known, line, terms, sums)
                sum_g += g
                sum_gx += gx
            sums.rows[0] += 1
            if sums.rows[0] == 64:
                _move(sums)
        few.through_mean[j], few.through_var[j] = by_mean * sum_g, by_var * sum_gx


@inline
def _move(sums: Sums) -> None:
    move(sums.part_weight, sums.weight)
    move(sums.part_bias, sums.bias)
    sums.rows[0] = 0


@noalias
def _differentiate(
    dy: Array, x: Array, affine: Affine, groups: Groups, line: Line | None, few: Few, own: bool, dx: Array
) -> None:
    weight, bias = affine
    for j in range(_count(groups)):
        top = first_row(groups.first + j * groups.step, groups)
        centre, scale, rest = few.centre[j], few.scale[j], few.rest[j]
        through_mean, through_var = few.through_mean[j], few.through_var[j]
        for r in range(top, top + groups.repeat * groups.inner, groups.inner):
            for i in range(len(weight)):
                normal = (x[r, i] - centre) * scale + rest
                d = times_derivative(dy[r, i], normal * weight[i] + bias[i], line)
                through = through_mean + normal * through_var
                if not own:  # x may be infinite, and 0 x is not 0 then
                    through = x.dtype.type(0)
                dx[r, i] = scale * (weight[i] * d - through)


# One number is summed in vector registers only where the order of summation is free, and nothing but these sums is.
# Their indices have no sign, or Numba would compare them with 0.


@reassociate
def _add_squares(x: Array, start: Any, first: int, last: int) -> tuple[Any, Any]:
    """Σ d and Σ d² of the terms from the first to before the last one, where d = x - start, in the dtype of that."""
    sum_d = sum_dd = start - start  # 0 of that dtype; not of an infinite start, from which every d is NaN
    for i in range(first, last):
        d = x[i] - start
        sum_d += d
        sum_dd += d * d
    return sum_d, sum_dd


@reassociate
def _add_products(
    dy: Array,
    x: Array,
    affine: Affine,
    known: tuple[Any, Any, Any],
    line: Line | None,
    terms: tuple[int, int],
    sums: Sums,
) -> tuple[Any, Any]:
    """Add these terms' d x̂ and d to the parts of dweight and dbias; return Σ g and Σ g x̂, where g = weight d."""
    (weight, bias), (centre, scale, rest) = affine, known
    sum_g = sum_gx = x.dtype.type(0)
    for i in range(terms[0], terms[1]):
        normal = (x[i] - centre) * scale + rest
        d = times_derivative(dy[i], normal * weight[i] + bias[i], line)
        sums.part_bias[i] += d
        sums.part_weight[i] += d * normal
        sum_g += weight[i] * d
        sum_gx += weight[i] * d * normal
    return sum_g, sum_gx
