"""Normalization of rows, a matrix [K0 R0 K1, R1] in which R0 rows are reduced together, each to one number.

Statistics are taken as in `columns.py`, and the passes over one group follow each other while it is in the cache.
As the mean is float64, x - mean is (x - centre) + rest, where centre is the mean in the dtype of x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, free_order
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
    inner: int,
    blocks: int,
    eps: float,
    slope: Any,
    low: Any,
    y: Array,
) -> None:
    """Write y for x [K0 R0 K1, R1] and, unless they are given, mean and var [K0 K1]."""
    cast = x.dtype.type
    period, length = weight.shape
    turns, count = mean.size // period, repeat * length
    for unit in prange(blocks * period):
        block, p = unit // period, unit % period
        for turn in range(turns * block // blocks, turns * (block + 1) // blocks):
            k = turn * period + p
            top = k // inner * inner * repeat + k % inner
            if not given:
                shift = np.float64(x[top, 0]) if centred else 0.0
                first, second = _sums(x, top, inner, repeat, shift)
                offset = first / count if centred else 0.0
                mean[k] = shift + offset
                var[k] = second / count - offset * offset
            centre, scale = cast(mean[k]), cast(1 / np.sqrt(var[k] + eps))
            rest = cast(centre - mean[k])
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    z = ((x[r, i] - centre) + rest) * (weight[p, i] * scale) + bias[p, i]
                    below = slope * z
                    y[r, i] = z if z > 0 else low if below < low else below


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
    slope: Any,
    dx: Array,
    dweight: Array,
    dbias: Array,
) -> None:
    """Write dx, and for each unit of work its part of dweight and dbias [blocks period, R1]."""
    cast = x.dtype.type
    period, length = weight.shape
    turns = mean.size // period
    for unit in prange(blocks * period):
        block, p = unit // period, unit % period
        for i in range(length):
            dweight[unit, i] = 0
            dbias[unit, i] = 0
        for turn in range(turns * block // blocks, turns * (block + 1) // blocks):
            k = turn * period + p
            top = k // inner * inner * repeat + k % inner
            rstd = 1 / np.sqrt(var[k] + eps)
            centre, scale = cast(mean[k]), cast(rstd)
            rest = cast(centre - mean[k])
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    z = ((x[r, i] - centre) + rest) * (weight[p, i] * scale) + bias[p, i]
                    dx[r, i] = slope * dy[r, i] if z <= 0 else dy[r, i]
                for i in range(length):
                    dbias[unit, i] += np.float64(dx[r, i])
                    dweight[unit, i] += np.float64(dx[r, i]) * np.float64(((x[r, i] - centre) + rest) * scale)
            sum_g, sum_gc = _weighted_sums(dx, x, weight, p, top, inner, repeat, mean[k])
            through_mean, through_var = cast(by_mean * sum_g), cast(by_var * sum_gc * rstd)
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    through = through_mean + ((x[r, i] - centre) + rest) * scale * through_var
                    if by_var == 0:  # x may be infinite, and 0 x is not 0 then
                        through = cast(0)
                    dx[r, i] = scale * (weight[p, i] * dx[r, i] - through)


# One number is summed in vector registers only where the order of summation is free, and nothing but these sums is.


@free_order
def _sums(x: Array, top: int, step: int, rows: int, shift: float) -> tuple[float, float]:
    """Σ d and Σ d² over every step-th row from the top one on, where d = x - shift."""
    first = second = 0.0
    for r in range(top, top + rows * step, step):
        for i in range(x.shape[1]):
            d = np.float64(x[r, i]) - shift
            first += d
            second += d * d
    return first, second


@free_order
def _weighted_sums(
    d: Array, x: Array, weight: Array, p: int, top: int, step: int, rows: int, mean: float
) -> tuple[float, float]:
    """Σ g and Σ g (x - mean), where g = weight d."""
    first = second = 0.0
    for r in range(top, top + rows * step, step):
        for i in range(x.shape[1]):
            g = np.float64(weight[p, i] * d[r, i])
            first += g
            second += g * (np.float64(x[r, i]) - mean)
    return first, second
