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
from tinygrad_norm.kernels.cpu.compiler import Kernel
from tinygrad_norm.kernels.cpu.layout import Array, Layout, Shape, layout
from tinygrad_norm.kernels.reference import Activation

# Kernels. `slope` and `low` fuse the activations made of two straight lines: z above 0, max(slope z, low) below.


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
    """Write y for x [K0 R, K1] and, unless they are given, mean and var [K0, K1]."""
    groups, columns = mean.shape
    units = groups * blocks
    first, second, rstd = np.empty((units, columns)), np.empty((units, columns)), np.empty((groups, columns))
    if not given:
        for group in range(groups):
            for k in range(columns):
                mean[group, k] = x[group * repeat, k] if centred else 0
        for unit in prange(units):
            group = unit // blocks
            for k in range(columns):
                first[unit, k] = 0
                second[unit, k] = 0
            for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
                for k in range(columns):
                    d = np.float64(x[r, k]) - np.float64(mean[group, k])
                    first[unit, k] += d
                    second[unit, k] += d * d
    for group in range(groups):
        for k in range(columns):
            variance = np.float64(var[group, k])
            if not given:
                offset = variance = 0.0
                for unit in range(group * blocks, (group + 1) * blocks):
                    offset += first[unit, k] / repeat
                    variance += second[unit, k] / repeat
                if centred:
                    variance -= offset * offset
                    mean[group, k] = np.float64(mean[group, k]) + offset
                var[group, k] = variance
            rstd[group, k] = 1 / np.sqrt(variance + eps)
    for unit in prange(units):
        group = unit // blocks
        scale = np.empty(columns, x.dtype)
        for k in range(columns):
            scale[k] = weight[group, k] * rstd[group, k]
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                z = (x[r, k] - mean[group, k]) * scale[k] + bias[group, k]
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
    """Write dx, and dweight and dbias [K0, K1]. The gradients of mean and var count by_mean and by_var for each x."""
    groups, columns = mean.shape
    units = groups * blocks
    first, second, rstd = np.empty((units, columns)), np.empty((units, columns)), np.empty((groups, columns))
    scale = np.empty((groups, columns), x.dtype)
    for group in range(groups):
        for k in range(columns):
            rstd[group, k] = 1 / np.sqrt(np.float64(var[group, k]) + eps)
            scale[group, k] = weight[group, k] * rstd[group, k]
    for unit in prange(units):
        group = unit // blocks
        for k in range(columns):
            first[unit, k] = 0
            second[unit, k] = 0
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                c = x[r, k] - mean[group, k]
                d = dy[r, k]
                d = d if c * scale[group, k] + bias[group, k] > 0 else slope * d
                first[unit, k] += np.float64(d)
                second[unit, k] += np.float64(d) * np.float64(c)
    for group in range(groups):
        for k in range(columns):
            sum_d = sum_dc = 0.0
            for unit in range(group * blocks, (group + 1) * blocks):
                sum_d += first[unit, k]
                sum_dc += second[unit, k]
            dbias[group, k] = sum_d
            dweight[group, k] = sum_dc * rstd[group, k]
    for unit in prange(units):
        group = unit // blocks
        through_mean, through_var = np.empty(columns, x.dtype), np.empty(columns, x.dtype)
        for k in range(columns):
            through_mean[k] = by_mean * dbias[group, k]
            through_var[k] = by_var * dweight[group, k] * rstd[group, k]
        for r in range(repeat * unit // blocks, repeat * (unit + 1) // blocks):
            for k in range(columns):
                c = x[r, k] - mean[group, k]
                d = dy[r, k]
                d = d if c * scale[group, k] + bias[group, k] > 0 else slope * d
                dx[r, k] = scale[group, k] * (d - through_mean[k] - c * through_var[k])


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
    period, length = weight.shape
    turns, count = mean.size // period, repeat * length
    for unit in prange(blocks * period):
        block, p = unit // period, unit % period
        for turn in range(turns * block // blocks, turns * (block + 1) // blocks):
            k = turn * period + p
            top = k // inner * inner * repeat + k % inner
            variance = np.float64(var[k])
            if not given:
                shift = np.float64(x[top, 0]) if centred else 0.0
                first = second = 0.0
                for r in range(top, top + repeat * inner, inner):
                    for i in range(length):
                        d = np.float64(x[r, i]) - shift
                        first += d
                        second += d * d
                offset = first / count if centred else 0.0
                variance = second / count - offset * offset
                mean[k] = shift + offset
                var[k] = variance
            centre, scale = mean[k], x.dtype.type(1 / np.sqrt(variance + eps))
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    z = (x[r, i] - centre) * (weight[p, i] * scale) + bias[p, i]
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
            rstd = 1 / np.sqrt(np.float64(var[k]) + eps)
            centre, scale = mean[k], cast(rstd)
            sum_g = sum_gc = 0.0
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    c = x[r, i] - centre
                    d = dy[r, i]
                    d = d if c * (weight[p, i] * scale) + bias[p, i] > 0 else slope * d
                    dx[r, i] = d
                    sum_g += np.float64(weight[p, i] * d)
                    sum_gc += np.float64(weight[p, i] * d) * np.float64(c)
                for i in range(length):
                    dbias[unit, i] += np.float64(dx[r, i])
                    dweight[unit, i] += np.float64(dx[r, i]) * np.float64(x[r, i] - centre) * rstd
            through_mean, through_var = cast(by_mean * sum_g), cast(by_var * sum_gc * rstd * rstd)
            for r in range(top, top + repeat * inner, inner):
                for i in range(length):
                    dx[r, i] = scale * (weight[p, i] * dx[r, i] - through_mean - (x[r, i] - centre) * through_var)


_COLUMNS = Kernel(_columns), Kernel(_columns_gradient)
# The sum of a row is one number: in vector registers only where the order of summation is free.
_ROWS = Kernel(_rows, reassociate=True), Kernel(_rows_gradient, reassociate=True)


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
    mean, var = map(form.flat, given) if given else np.zeros((2, *form.groups), x.dtype)
    y = np.empty_like(matrix)
    lines = _lines(activation, x.dtype)
    slope, low, _ = lines or _lines(None, x.dtype)
    kernel = (_COLUMNS if form.columns else _ROWS)[0]
    kernel(x.size, matrix, w, b, mean, var, given is not None, centred, *form.sizes, eps, slope, low, y)
    y = form.restore(y)
    return y if lines else activate(y, activation), form.unflat(mean), form.unflat(var)


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
    if of_x[1] and var.max() == np.inf and np.isfinite(x).all():
        return _backward_of_huge(dy, x, weight, bias, axes, of_x, eps, activation)
    lines = _lines(activation, x.dtype)
    if lines is None:
        z = normalize_inference(x, mean, var, weight, bias, eps, None)
        dy, lines = activation_gradient(dy, z, activation), _lines(None, x.dtype)
    form = _layout(x, axes, weight, bias)
    matrix, w, b = form.matrix(x), form.expand(weight, 1, x.dtype), form.expand(bias, 0, x.dtype)
    by_mean, by_var = of_x[0] / form.count, of_x[1] / form.count
    dx, (dweight, dbias) = np.empty_like(matrix), np.empty((2, *form.sums))
    kernel = (_COLUMNS if form.columns else _ROWS)[1]
    statistics, results = (form.flat(mean), form.flat(var), by_mean, by_var), (dx, dweight, dbias)
    kernel(x.size, form.matrix(dy), matrix, w, b, *statistics, *form.sizes, eps, lines[2], *results)
    return form.restore(dx), form.collect(dweight, weight), form.collect(dbias, bias)


def _backward_of_huge(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    axes: Shape,
    of_x: tuple[bool, bool],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """The gradients where the variance exceeds the dtype's range: x and √eps are both made smaller by 2⁸⁰."""
    tiny = 2.0**-80
    x, eps = x * tiny, eps * tiny**2
    _, mean, var = _forward(x, None, None, axes, None, of_x[0], eps, None)
    dx, dweight, dbias = _backward(dy, x, weight, bias, mean, var, axes, of_x, eps, activation)
    return dx * tiny, dweight, dbias


@cache
def _lines(activation: Activation, dtype: np.dtype[Any]) -> tuple[Any, Any, Any] | None:
    """Slope and lower bound below 0, and slope there on the way back, of an activation made of two straight lines."""
    name, parameter = activation or (None, 1.0)
    values = {None: (1, -np.inf, 1), "relu": (1, 0, 0), "leaky_relu": (parameter, -np.inf, parameter)}.get(name)
    return values and (dtype.type(values[0]), dtype.type(values[1]), dtype.type(values[2]))


def _layout(x: Array, axes: Shape, weight: Array | None, bias: Array | None) -> Layout:
    shapes = None if weight is None else weight.shape, None if bias is None else bias.shape
    return layout(x.shape, x.strides, x.itemsize, axes, *shapes)


def _reduced(statistic: Array) -> Shape:
    return tuple(i for i, n in enumerate(statistic.shape) if n == 1)
