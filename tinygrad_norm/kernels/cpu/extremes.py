"""Normalization of groups whose numbers leave the range of the fast loops, or whose parameters do: done once more.

It is done in float64, and in a unit of its own: a power of two near the group's range (in RMS norm, its largest
magnitude) or √eps, if that is more. In it no square and no sum of squares leaves the range of float64, and of numbers
that differ not all squares vanish. Numbers are first taken relative to one of them, so that a constant group has
exactly its value for its mean. The loops come one after the other, and wait for each number: this is for a few groups.

Layout: a group is a matrix, a part of x whose rows have the same weights: in `outer_reduction.py` columns that share
their statistics, in `inner_reduction.py` the rows that do.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import Line, finite
from tinygrad_norm.kernels.cpu.compiler import Kernel, device, inline
from tinygrad_norm.kernels.cpu.launch import Array
from tinygrad_norm.kernels.cpu.layout import Affine, Statistics, Units


@inline
def are_ordinary(mean: float, var: float, eps: float, single: bool) -> bool:
    """Whether a group with these statistics is one for the fast loops, in float32 if it is `single`."""
    square = var + eps
    if single:
        return (abs(mean) < 1e30) & (square > 1e-60) & (square < 1e60)
    return (abs(mean) < 1e290) & (square > 1e-290) & (square < 1e290)


@inline
def are_columns_ordinary(weight: Array, bias: Array, mean: float, var: float, eps: float) -> bool:
    """Whether columns that share these statistics, and have these parameters, are ones for the fast loops."""
    single = weight.itemsize < 8
    most, least, rstd = 1e30 if single else 1e290, 1e-30 if single else 1e-290, 1 / math.sqrt(var + eps)
    ordinary = are_ordinary(mean, var, eps, single)
    for k in range(len(weight)):
        scale = abs(weight[k] * rstd)
        ordinary &= ((scale > least) & (scale < most)) | (weight[k] == 0)
        ordinary &= abs(bias[k]) < most
    return ordinary


@inline
def all_are_ordinary(statistics: Statistics) -> bool:
    """Whether all groups are, as a kernel found; NumPy's `all` takes long to compile."""
    ordinary = True
    for one in statistics.ordinary.ravel():
        ordinary &= one
    return ordinary


@inline
def first_row(group: int, units: Units) -> int:
    """The first row of a group, of which each inner-th row is one, `repeat` times."""
    return group if units.repeat == 1 else group + group // units.inner * units.inner * (units.repeat - 1)


@inline
def groups_of(unit: int, units: int, groups: int, period: int) -> tuple[int, int]:
    """The first group of a unit of work, every period-th of which it has, and the end of them."""
    block, blocks, turns = unit // period, units // period, groups // period
    return turns * block // blocks * period + unit % period, turns * (block + 1) // blocks * period


@Kernel
def normalize(x: Array, affine: Affine, statistics: Statistics, units: Units, line: Line | None, y: Array) -> None:
    """Write y of the groups that are not ordinary and, unless they are given, their mean and variance."""
    affine, statistics, units = Affine(*affine), Statistics(*statistics), Units(*units)
    ordinary = statistics.ordinary.ravel()
    for k in prange(len(ordinary)):
        if not ordinary[k]:
            group, rows, columns = _place(np.intp(k), x, statistics, units)
            own = _row(affine, group, columns)
            _keep(statistics, k, *_normalize(x[rows, columns], own, _of_group(statistics, k), line, y[rows, columns]))


@Kernel
def differentiate(
    dy: Array,
    x: Array,
    affine: Affine,
    statistics: Statistics,
    units: Units,
    line: Line | None,
    dx: Array,
    grads: Affine,
) -> None:
    """Write dx of the groups that are not ordinary, and add to dweight and dbias."""
    affine, statistics, units = Affine(*affine), Statistics(*statistics), Units(*units)
    grads = Affine(*grads)
    ordinary, rows, groups = statistics.ordinary.ravel(), len(grads.weight), len(x) // units.repeat
    shares, period = len(ordinary) // groups, rows if rows == groups else len(affine.weight)
    for row in prange(rows):
        first, last = groups_of(np.intp(row), rows, groups, period)
        for group in range(first, last, period):
            for k in range(group * shares, (group + 1) * shares):
                if not ordinary[k]:
                    _, places, columns = _place(k, x, statistics, units)
                    own, sums, given = (
                        _row(affine, group, columns),
                        _row(grads, row, columns),
                        _of_group(statistics, k),
                    )
                    some = dy[places, columns], x[places, columns], dx[places, columns]
                    _differentiate(some[0], some[1], own, given, line, some[2], sums)


@inline
def _place(k: int, x: Array, statistics: Statistics, units: Units) -> tuple[int, slice, slice]:
    """The number of the rows' group, and the rows and the columns that have the k-th mean."""
    shares = statistics.mean.size * units.repeat // len(x)
    group, length = k // shares, x.shape[1] // shares
    top, left = first_row(group, units), k % shares * length
    return group, slice(top, top + units.repeat * units.inner, units.inner), slice(left, left + length)


@device
def _keep(statistics: Statistics, k: int, mean: float, var: float) -> None:
    # Not in the kernel: a write to an array of a tuple that is made there is dead to Numba's parallel form.
    if not statistics.given:
        statistics.mean.ravel()[k], statistics.var.ravel()[k] = mean, var


@inline
def _row(affine: Affine, group: int, columns: slice) -> Affine:
    row = group % len(affine.weight)
    return Affine(affine.weight[row, columns], affine.bias[row, columns])


@inline
def _of_group(statistics: Statistics, k: int) -> Statistics:
    """Those of one group: numbers in place of arrays."""
    eps, own, centred, given, mean, var, ordinary = statistics
    return Statistics(eps, own, centred, given, mean.ravel()[k], var.ravel()[k], ordinary.ravel()[k])


@device
def _moments(x: Array, statistics: Statistics) -> tuple[float, float, float, float]:
    """The unit of a group, and in it the mean, the variance and 1 / √(variance + eps)."""
    eps, centred = statistics.eps, statistics.centred
    if statistics.own:
        unit = _unit(x, centred, eps)
        first, total, squares = x[0, 0] / unit if centred else 0.0, 0.0, 0.0
        if centred:
            for r in range(x.shape[0]):
                for k in range(x.shape[1]):
                    total += x[r, k] / unit - first
        shift = total / x.size
        for r in range(x.shape[0]):
            for k in range(x.shape[1]):
                d = x[r, k] / unit - first - shift
                squares += d * d
        mean, var = first + shift, squares / x.size
    else:
        unit = 1.0 if abs(statistics.mean) < 1e290 else 2.0  # in which a difference from the mean is within the range
        mean, var = statistics.mean / unit, statistics.var / (unit * unit)
    return unit, mean, var, 1 / math.sqrt(var + eps / unit / unit)


@device
def _unit(x: Array, centred: bool, eps: float) -> float:
    low, high = np.inf, -np.inf
    for r in range(x.shape[0]):
        for k in range(x.shape[1]):
            value = np.float64(x[r, k])
            if not np.isfinite(value):
                return 1.0
            low, high = min(low, value), max(high, value)
    largest = max(abs(low), abs(high))
    size = max(high / 2 - low / 2 if centred else largest, largest * 2.0**-960, math.sqrt(eps), 2.0**-1000)
    return math.ldexp(1.0, min(1000, math.frexp(size)[1] - 1))


@device
def _normalize(x: Array, affine: Affine, statistics: Statistics, line: Line | None, y: Array) -> tuple[float, float]:
    """Write y of a group; return its mean and its variance."""
    unit, mean, var, rstd = _moments(x, statistics)
    for r in range(x.shape[0]):
        for k in range(x.shape[1]):
            z = (x[r, k] / unit - mean) * rstd * affine.weight[k] + affine.bias[k]
            y[r, k] = _activated(z, line)
    return mean * unit, var * unit * unit


@device
def _differentiate(
    dy: Array, x: Array, affine: Affine, statistics: Statistics, line: Line | None, dx: Array, sums: Affine
) -> None:
    """Write dx of a group, and add to the sums of dweight and dbias."""
    unit, mean, _, rstd = _moments(x, statistics)
    by_mean, by_var = statistics.centred / x.size, statistics.own / x.size
    through_mean = through_var = 0.0
    for k in range(x.shape[1]):
        sum_d = sum_dx = 0.0
        for r in range(x.shape[0]):
            normal = (x[r, k] / unit - mean) * rstd
            d = _times_derivative(np.float64(dy[r, k]), normal * affine.weight[k] + affine.bias[k], line)
            sum_d += d
            sum_dx += d * normal
            through_mean += by_mean * affine.weight[k] * d
            through_var += by_var * affine.weight[k] * d * normal
        sums.bias[k] += sum_d
        sums.weight[k] += sum_dx
    for r in range(x.shape[0]):
        for k in range(x.shape[1]):
            normal = (x[r, k] / unit - mean) * rstd
            d = _times_derivative(np.float64(dy[r, k]), normal * affine.weight[k] + affine.bias[k], line)
            through = through_mean + normal * through_var if statistics.own else 0.0  # x may be infinite
            dx[r, k] = rstd * (affine.weight[k] * d - through) / unit


@inline
def _activated(z: float, line: Line | None) -> float:
    """As `activated` in `activation.py`, of a float64: what is beyond float32 is activated as it is."""
    if line is None:
        return finite(z, np.float64)[0] / (1 + math.exp(-z))
    slope, low = line
    below = slope * z
    return z if z > 0 else low if below < low else below


@inline
def _times_derivative(d: float, z: float, line: Line | None) -> float:
    if line is None:
        s = 1 / (1 + math.exp(-z))
        return d * s * (1 + finite(z, np.float64)[1] * (1 - s))
    slope, low = line
    return d if z > 0 else low * d if (z <= 0) & (low == 0) else slope * d
