"""Normalization of columns, a matrix [K0 R0, K1 R1] in which all rows of one k0 are reduced, and R1 columns together.

Statistics take one pass in float64, shifted by the first value x₀ of a group: with d = x - x₀, mean = x₀ + mean(d) and
var = mean(d²) - mean(d)². As x₀ is one of the N values, (mean - x₀)² ≤ N var: cancellation costs about log10(N) of
sixteen digits, whatever the values are, and a constant group gives exactly 0.

The output is (x - centre) scale + shift, with the mean in the dtype of x as centre, and what it lost in the shift.
Activations of two straight lines are fused: z above 0, max(slope z, low) below.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, helper
from tinygrad_norm.kernels.cpu.layout import Array


@Kernel
def forward(
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
    """Write y for x [K0 R0, K1 R1] and, unless they are given, mean and var [K0, K1]."""
    cast = x.dtype.type
    groups, columns = weight.shape
    share, units = columns // mean.shape[1], groups * blocks
    first, second = np.empty((units, columns)), np.empty((units, columns))
    centre, scale, shift = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    if not given:
        for group in range(groups):
            for k in range(columns):
                centre[group, k] = x[group * repeat, k // share * share] if centred else cast(0)
        for unit in prange(units):
            group = unit // blocks
            for k in range(columns):
                first[unit, k] = 0
                second[unit, k] = 0
            for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
                for k in range(columns):
                    d = np.float64(x[r, k]) - np.float64(centre[group, k])
                    first[unit, k] += d
                    second[unit, k] += d * d
        for group in range(groups):
            for s in range(mean.shape[1]):
                offset = square = 0.0
                for unit in range(group * blocks, (group + 1) * blocks):
                    for k in range(s * share, (s + 1) * share):
                        offset += first[unit, k] / (repeat * share)
                        square += second[unit, k] / (repeat * share)
                if not centred:
                    offset = 0.0
                mean[group, s] = centre[group, s * share] + offset
                var[group, s] = square - offset * offset
    _coefficients(weight, bias, mean, var, eps, centre, scale, shift)
    for unit in prange(units):
        group = unit // blocks
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                z = (x[r, k] - centre[group, k]) * scale[group, k] + shift[group, k]
                below = slope * z
                y[r, k] = z if z > 0 else low if below < low else below


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
    blocks: int,
    eps: float,
    slope: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write dx, and dweight and dbias [K0, K1 R1]. What goes through mean and var counts by_mean and by_var."""
    cast = x.dtype.type
    groups, columns = weight.shape
    share, units = columns // mean.shape[1], groups * blocks
    first, second = np.empty((units, columns)), np.empty((units, columns))
    centre, scale, shift = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    rstd, through_mean, through_var = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    _coefficients(weight, bias, mean, var, eps, centre, scale, shift)
    for unit in prange(units):
        group = unit // blocks
        for k in range(columns):
            first[unit, k] = 0
            second[unit, k] = 0
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                c = x[r, k] - centre[group, k]
                d = dy[r, k]
                d = slope * d if c * scale[group, k] + shift[group, k] <= 0 else d
                first[unit, k] += np.float64(d)
                second[unit, k] += np.float64(d) * np.float64(c)
    for group in range(groups):
        for s in range(mean.shape[1]):
            inverse = 1 / np.sqrt(var[group, s] + eps)
            rest = (centre[group, s * share] - mean[group, s]) * inverse
            sum_g = sum_gx = 0.0
            for k in range(s * share, (s + 1) * share):
                sum_d = sum_dc = 0.0
                for unit in range(group * blocks, (group + 1) * blocks):
                    sum_d += first[unit, k]
                    sum_dc += second[unit, k]
                dbias[group, k] = sum_d
                dweight[group, k] = sum_dc * inverse + rest * sum_d
                sum_g += weight[group, k] * dbias[group, k]
                sum_gx += weight[group, k] * dweight[group, k]
            for k in range(s * share, (s + 1) * share):
                rstd[group, k] = inverse
                through_mean[group, k] = inverse * (by_mean * sum_g + rest * by_var * sum_gx)
                through_var[group, k] = inverse * by_var * sum_gx
    for unit in prange(units):
        group = unit // blocks
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                c = x[r, k] - centre[group, k]
                d = dy[r, k]
                d = slope * d if c * scale[group, k] + shift[group, k] <= 0 else d
                through = through_mean[group, k] + c * rstd[group, k] * through_var[group, k]
                if by_var == 0:  # x may be infinite, and 0 x is not 0 then
                    through = cast(0)
                dx[r, k] = scale[group, k] * d - through


@helper
def _coefficients(
    weight: Array, bias: Array, mean: Array, var: Array, eps: float, centre: Array, scale: Array, shift: Array
) -> None:
    """Write what makes z = (x - centre) scale + shift."""
    share = weight.shape[1] // mean.shape[1]
    for group in range(weight.shape[0]):
        for k in range(weight.shape[1]):
            centre[group, k] = mean[group, k // share]
            scale[group, k] = weight[group, k] / np.sqrt(var[group, k // share] + eps)
            shift[group, k] = bias[group, k] + (centre[group, k] - mean[group, k // share]) * scale[group, k]
