"""Normalization of a group whose numbers leave the range of the fast loops, or whose parameters do.

It is done in float64, and in a unit of its own: a power of two near the group's range (in RMS norm, its largest
magnitude) or √eps, if that is more. In it no square and no sum of squares leaves the range of float64, and of numbers
that differ not all squares vanish. Numbers are first taken relative to one of them, so that a constant group has
exactly its value for its mean. The loops come one after the other, and wait for each number: this is for a few groups.

A group is a matrix, a part of x whose rows have the same weights: in `columns.py` columns that share their statistics,
in `rows.py` the rows that do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm.kernels.cpu.compiler import helper, inline
from tinygrad_norm.kernels.cpu.layout import Array


@inline
def are_ordinary(mean: float, var: float, eps: float, single: bool) -> bool:
    """Whether a group with these statistics is one for the fast loops, in float32 if it is `single`."""
    square = var + eps
    if single:
        return (abs(mean) < 1e30) & (square > 1e-60) & (square < 1e60)
    return (abs(mean) < 1e290) & (square > 1e-290) & (square < 1e290)


@helper
def moments(x: Array, centred: bool, eps: float) -> tuple[float, float, float]:
    """The unit of a group, and in it the mean and the variance, about 0 unless `centred`."""
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
    return unit, first + shift, squares / x.size


@helper
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


@helper
def normalize(
    x: Array,
    weight: Array,
    bias: Array,
    mean: float,
    var: float,
    own: bool,
    how: tuple[bool, float, Any, Any],
    y: Array,
) -> tuple[float, float]:
    """Write y of a group, and return the mean and the variance; these are taken of x if they are its `own`.

    `how`: whether they are centred, eps, and the slope and the lower bound of the activation.
    """
    centred, eps, slope, low = how
    unit, mean, var = moments(x, centred, eps) if own else _given(mean, var)
    rstd = _inverse_root(var, eps, unit)
    for r in range(x.shape[0]):
        for k in range(x.shape[1]):
            z = (x[r, k] / unit - mean) * rstd * weight[k] + bias[k]
            y[r, k] = _activated(z, slope, low)
    return mean * unit, var * unit * unit


@helper
def differentiate(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    mean: float,
    var: float,
    how: tuple[float, float, float, Any],
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write dx of a group, and add to dweight and dbias.

    `how`: what goes through mean and var counts by_mean and by_var; eps, and the slopes of the activation.
    """
    by_mean, by_var, eps, slopes = how
    unit, mean, var = moments(x, by_mean != 0, eps) if by_var != 0 else _given(mean, var)
    rstd = _inverse_root(var, eps, unit)
    through_mean = through_var = 0.0
    for k in range(x.shape[1]):
        sum_d = sum_dx = 0.0
        for r in range(x.shape[0]):
            normal = (x[r, k] / unit - mean) * rstd
            d = _times_derivative(np.float64(dy[r, k]), normal * weight[k] + bias[k], slopes)
            sum_d += d
            sum_dx += d * normal
            through_mean += by_mean * weight[k] * d
            through_var += by_var * weight[k] * d * normal
        dbias[k] += sum_d
        dweight[k] += sum_dx
    for r in range(x.shape[0]):
        for k in range(x.shape[1]):
            normal = (x[r, k] / unit - mean) * rstd
            d = _times_derivative(np.float64(dy[r, k]), normal * weight[k] + bias[k], slopes)
            through = through_mean + normal * through_var if by_var != 0 else 0.0  # x may be infinite
            dx[r, k] = rstd * (weight[k] * d - through) / unit


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


@helper
def normalize_columns(
    group: int,
    x: Array,
    weight: Array,
    bias: Array,
    statistics: tuple[Array, Array, bool, bool],
    repeat: int,
    how: tuple[bool, float, Any, Any],
    y: Array,
) -> None:
    """Write those columns of a group that are not ordinary; its rows are `repeat`. The rest is as in `normalize`."""
    mean, var, given, own = statistics
    row, share, rows = group % len(weight), weight.shape[1] // len(mean), slice(group * repeat, (group + 1) * repeat)
    for s in range(len(mean)):
        part = slice(s * share, (s + 1) * share)
        w, b = weight[row, part], bias[row, part]
        if not are_columns_ordinary(w, b, mean[s], var[s], how[1]):
            found = normalize(x[rows, part], w, b, mean[s], var[s], own, how, y[rows, part])
            if not given:
                mean[s], var[s] = found


@helper
def differentiate_columns(
    group: int,
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array,
    statistics: tuple[Array, Array],
    repeat: int,
    how: tuple[float, float, float, Any],
    dx: Array,
    results: tuple[Array, Array],
) -> None:
    """Write dx, dweight and dbias of those columns of a group that are not ordinary."""
    (mean, var), (dweight, dbias) = statistics, results
    row, share, rows = group % len(weight), weight.shape[1] // len(mean), slice(group * repeat, (group + 1) * repeat)
    for s in range(len(mean)):
        part = slice(s * share, (s + 1) * share)
        w, b = weight[row, part], bias[row, part]
        if not are_columns_ordinary(w, b, mean[s], var[s], how[2]):
            dweight[part] = 0
            dbias[part] = 0
            sums = dweight[part], dbias[part]
            differentiate(dy[rows, part], x[rows, part], w, b, mean[s], var[s], how, dx[rows, part], *sums)


@inline
def _given(mean: float, var: float) -> tuple[float, float, float]:
    """A unit in which a difference from the mean is within the range, the mean in it, and the variance."""
    unit = 1.0 if abs(mean) < 1e290 else 2.0
    return unit, mean / unit, var / (unit * unit)


@inline
def _inverse_root(var: float, eps: float, unit: float) -> float:
    return 1 / math.sqrt(var + eps / unit / unit)


@inline
def _activated(z: float, slope: Any, low: Any) -> float:
    """As `activated` in `activation.py`, of a float64: what is beyond float32 is activated as it is."""
    if slope is None:
        return z / (1 + math.exp(-z))
    below = slope * z
    return z if z > 0 else low if below < low else below


@inline
def _times_derivative(d: float, z: float, slopes: Any) -> float:
    if slopes is None:
        s = 1 / (1 + math.exp(-z))
        return d * s * (1 + z * (1 - s))
    return d if z > 0 else slopes[0] * d if z <= 0 else slopes[1] * d
