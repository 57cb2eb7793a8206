"""Normalization of rows, a matrix [K0 R0 K1, R1] in which R0 rows are reduced together, each to one number.

Statistics are taken as in `columns.py`, and the passes over one group follow each other while it is in the cache.
As the mean is float64, x - mean is (x - centre) + rest, where centre is the mean in the dtype of x.

The sums of a gradient are taken as in `columns.py`: at most 64 terms (of one number: 512, in many lanes) in the dtype
of x, and float64 adds them up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, free_order, helper
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
    parts = np.zeros((2, blocks * period, length), x.dtype)
    for unit in prange(blocks * period):
        block, p, summed = unit // period, unit % period, 0
        part_weight, part_bias = parts[0, unit], parts[1, unit]
        dweight[unit] = 0
        dbias[unit] = 0
        for turn in range(turns * block // blocks, turns * (block + 1) // blocks):
            k = turn * period + p
            top = k // inner * inner * repeat + k % inner
            rstd = 1 / np.sqrt(var[k] + eps)
            centre, scale = cast(mean[k]), cast(rstd)
            rest = cast(centre - mean[k])
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    normal = ((x[r, i] - centre) + rest) * scale
                    z = ((x[r, i] - centre) + rest) * (weight[p, i] * scale) + bias[p, i]
                    d = slope * dy[r, i] if z <= 0 else dy[r, i]
                    dx[r, i] = d
                    part_bias[i] += d
                    part_weight[i] += d * normal
                summed += 1
                if summed % 64 == 0:
                    _move(part_weight, dweight[unit])
                    _move(part_bias, dbias[unit])
            sum_g = sum_gx = 0.0
            for r in range(top, top + repeat * inner, inner):
                for start in range(0, length, 512):
                    piece = slice(start, min(start + 512, length))
                    g, gc = _weighted_sums(dx[r, piece], x[r, piece], weight[p, piece], centre, scale)
                    sum_g += g
                    sum_gx += gc + (centre - mean[k]) * rstd * g
            through_mean, through_var = cast(by_mean * sum_g), cast(by_var * sum_gx)
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    through = through_mean + ((x[r, i] - centre) + rest) * scale * through_var
                    if by_var == 0:  # x may be infinite, and 0 x is not 0 then
                        through = cast(0)
                    dx[r, i] = scale * (weight[p, i] * dx[r, i] - through)
        _move(part_weight, dweight[unit])
        _move(part_bias, dbias[unit])


@helper
def _move(part: Array, total: Array) -> None:
    """Add part to total, and start it anew."""
    for i in range(len(part)):
        total[i] += part[i]
        part[i] = 0


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
def _weighted_sums(d: Array, x: Array, weight: Array, centre: Any, scale: Any) -> tuple[Any, Any]:
    """Σ g and Σ g (x - centre) scale, where g = weight d."""
    first = second = x.dtype.type(0)
    for i in range(len(x)):
        g = weight[i] * d[i]
        first += g
        second += g * ((x[i] - centre) * scale)
    return first, second
