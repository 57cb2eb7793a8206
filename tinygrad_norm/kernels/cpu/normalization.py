"""Normalization in few passes over memory, on the two forms of `layout.py`.

All sums run in float64. Statistics take one pass, shifted by the first value x₀ of a group: with d = x - x₀,
mean = x₀ + mean(d) and var = mean(d²) - mean(d)². As x₀ is one of the N values, (mean - x₀)² ≤ N var: cancellation
costs at most log10(N) of sixteen digits, whatever the values are, and a constant group gives exactly 0.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.activation import activate, activation_gradient
from tinygrad_norm.kernels.cpu.compiler import Kernel, free_order, helper
from tinygrad_norm.kernels.cpu.layout import Array, Layout, Shape, layout
from tinygrad_norm.kernels.reference import Activation

# Kernels. `slope` and `low` fuse the activations made of two straight lines: z above 0, max(slope z, low) below. As the
# mean is float64, x - mean is taken as (x - centre) + rest, where centre is the mean in the dtype of x.


def _columns(
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
    groups, columns = weight.shape
    share, units = columns // mean.shape[1], groups * blocks
    first, second = np.empty((units, columns)), np.empty((units, columns))
    centre, scale, shift = np.empty_like(weight), np.empty_like(weight), np.empty_like(weight)
    if not given:
        for group in range(groups):
            for k in range(columns):
                centre[group, k] = x[group * repeat, k // share * share] if centred else 0
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


def _columns_gradient(
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
            r = 1 / np.sqrt(var[group, s] + eps)
            rest = (centre[group, s * share] - mean[group, s]) * r
            sum_g = sum_gx = 0.0
            for k in range(s * share, (s + 1) * share):
                sum_d = sum_dc = 0.0
                for unit in range(group * blocks, (group + 1) * blocks):
                    sum_d += first[unit, k]
                    sum_dc += second[unit, k]
                dbias[group, k] = sum_d
                dweight[group, k] = sum_dc * r + rest * sum_d
                sum_g += weight[group, k] * dbias[group, k]
                sum_gx += weight[group, k] * dweight[group, k]
            for k in range(s * share, (s + 1) * share):
                rstd[group, k] = r
                through_mean[group, k] = r * (by_mean * sum_g + rest * by_var * sum_gx)
                through_var[group, k] = r * by_var * sum_gx
    for unit in prange(units):
        group = unit // blocks
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                c = x[r, k] - centre[group, k]
                d = dy[r, k]
                d = slope * d if c * scale[group, k] + shift[group, k] <= 0 else d
                through = through_mean[group, k] + c * rstd[group, k] * through_var[group, k]
                dx[r, k] = scale[group, k] * d - (
                    through if by_var > 0 else cast(0)
                )  # x may be no number, and 0 x none


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


def _rows(
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


def _rows_gradient(
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
                    dx[r, i] = scale * (weight[p, i] * dx[r, i] - (through if by_var > 0 else cast(0)))


# What a row sums is one number. It is summed in vector registers where the order is free, and nothing else but sums is.


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


_COLUMNS = Kernel(_columns), Kernel(_columns_gradient)
_ROWS = Kernel(_rows), Kernel(_rows_gradient)


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """Normalize over `axes`; also return mean and variance."""
    return _forward(x, weight, bias, axes, None, True, eps, activation)


def normalize_gradient(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    axes: Shape,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize`."""
    return _backward(dy, x, weight, bias, mean, var, axes, (True, True), eps, activation)


def normalize_inference(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> Array:
    """Normalize with a given mean and variance."""
    return _forward(x, weight, bias, _reduced(mean), (mean, var), True, eps, activation)[0]


def normalize_inference_gradient(
    dy: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize_inference`."""
    return _backward(dy, x, weight, bias, mean, var, _reduced(mean), (False, False), eps, activation)


def rms_normalize(
    x: Array, weight: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array]:
    """Normalize by the root of the mean square over `axes`; also return the mean square."""
    y, _, square = _forward(x, weight, None, axes, None, False, eps, activation)
    return y, square


def rms_normalize_gradient(
    dy: Array, x: Array, weight: Array | None, square: Array, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array | None]:
    """Gradients of `rms_normalize`."""
    mean = np.zeros_like(square)
    dx, dweight, _ = _backward(dy, x, weight, None, mean, square, axes, (False, True), eps, activation)
    return dx, dweight


def _forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    axes: Shape,
    given: tuple[Array, Array] | None,
    centred: bool,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array, Array]:
    """Output, mean and variance; these two are taken of x, about 0 unless `centred`, where they are not given."""
    form = _layout(x, axes, weight, bias)
    matrix, w, b = form.matrix(x), form.expand(weight, 1, x.dtype), form.expand(bias, 0, x.dtype)
    mean, var = map(form.flat, given) if given else np.zeros((2, *form.groups))
    y = np.empty_like(matrix)
    fused = activation if _fuses(activation) else None
    slope, low, _ = _lines(fused, x.dtype)
    kernel = (_COLUMNS if form.columns else _ROWS)[0]
    kernel(x.size, matrix, w, b, mean, var, given is not None, centred, *form.sizes, eps, slope, low, y)
    y = form.restore(y)
    return y if fused is activation else activate(y, activation), form.unflat(mean), form.unflat(var)


def _backward(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    axes: Shape,
    of_x: tuple[bool, bool],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients with respect to x, weight and bias; `of_x` says whether the mean and the variance are those of x."""
    if not _fuses(activation):
        z = normalize_inference(x, mean, var, weight, bias, eps, None)
        dy, activation = activation_gradient(dy, z, activation), None
    form = _layout(x, axes, weight, bias)
    matrix, w, b = form.matrix(x), form.expand(weight, 1, x.dtype), form.expand(bias, 0, x.dtype)
    by_mean, by_var = of_x[0] / form.count, of_x[1] / form.count
    dx, (dweight, dbias) = np.empty_like(matrix), np.empty((2, *form.sums))
    slope, results = _lines(activation, x.dtype)[2], (dx, dweight, dbias)
    statistics = form.flat(mean), form.flat(var), by_mean, by_var
    kernel = (_COLUMNS if form.columns else _ROWS)[1]
    kernel(x.size, form.matrix(dy), matrix, w, b, *statistics, *form.sizes, eps, slope, *results)
    return form.restore(dx), form.collect(dweight, weight), form.collect(dbias, bias)


def _fuses(activation: Activation) -> bool:
    """Whether the kernels apply it: one of many operations is worth a pass of its own."""
    return activation is None or activation[0] in ("relu", "leaky_relu")


@cache
def _lines(activation: Activation, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    """Slope and lower bound of an activation below 0, and its derivative there."""
    if activation is None:
        return dtype.type(1), dtype.type(-np.inf), dtype.type(1)
    if activation[0] == "relu":
        return dtype.type(1), dtype.type(0), dtype.type(0)
    return dtype.type(activation[1]), dtype.type(-np.inf), dtype.type(activation[1])


def _layout(x: Array, axes: Shape, weight: Array | None, bias: Array | None) -> Layout:
    shapes = None if weight is None else weight.shape, None if bias is None else bias.shape
    return layout(x.shape, x.strides, x.itemsize, axes, *shapes)


def _reduced(statistic: Array) -> Shape:
    return tuple(i for i, n in enumerate(statistic.shape) if n == 1)
