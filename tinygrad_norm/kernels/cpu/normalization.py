"""Normalization: brings arrays of any layout to the kernels of `columns.py` and `rows.py`, and their results back."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu import columns, rows
from tinygrad_norm.kernels.cpu.activation import activate, activation_gradient
from tinygrad_norm.kernels.cpu.layout import Array, Layout, Shape, layout


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """Normalize over `axes`; also return mean and variance."""
    return _forward(x, weight, bias, axes, None, True, True, eps, activation)


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
    return _forward(x, weight, bias, _reduced(mean), (mean, var), False, True, eps, activation)[0]


def normalize_inference_gradient(
    dy: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> tuple[Array, None, None, Array | None, Array | None]:
    """Gradients of `normalize_inference`."""
    of_x = (False, False)
    dx, dweight, dbias = _backward(dy, x, weight, bias, mean, var, _reduced(mean), of_x, eps, activation)
    return dx, None, None, dweight, dbias


def rms_normalize(
    x: Array, weight: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array]:
    """Normalize by the root of the mean square over `axes`; also return the mean square."""
    y, _, square = _forward(x, weight, None, axes, None, True, False, eps, activation)
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
    own: bool,
    centred: bool,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array, Array]:
    """Output, mean and variance; these two are taken of x, about 0 unless `centred`, where they are not given.

    Those that are given are constants, or x's `own`, and can be taken once more.
    """
    form = _layout(x, axes, weight, bias)
    matrix, w, b = form.matrix(x), form.expand(weight, 1, x.dtype), form.expand(bias, 0, x.dtype)
    mean, var = map(form.flat, given) if given else np.empty((2, *form.groups))
    y = np.empty_like(matrix)
    fused = activation if _fuses(activation, form, x.dtype) else None
    slope, low, _ = _lines(fused, x.dtype)
    kernel = columns.forward if form.columns else rows.forward
    kernel(x.size, matrix, w, b, mean, var, given is not None, own, centred, *form.sizes, eps, slope, low, y)
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
    form = _layout(x, axes, weight, bias)
    if not _fuses(activation, form, x.dtype):
        z = _forward(x, weight, bias, axes, (mean, var), of_x[1], of_x[0], eps, None)[0]
        dy, activation = activation_gradient(dy, z, activation), None
    matrix, w, b = form.matrix(x), form.expand(weight, 1, x.dtype), form.expand(bias, 0, x.dtype)
    by_mean, by_var = of_x[0] / form.count, of_x[1] / form.count
    dx, (dweight, dbias) = np.empty_like(matrix), np.empty((2, *form.sums))
    slopes, results = _lines(activation, x.dtype)[2], (dx, dweight, dbias)
    statistics = form.flat(mean), form.flat(var), by_mean, by_var
    kernel = columns.gradient if form.columns else rows.gradient
    kernel(x.size, form.matrix(dy), matrix, w, b, *statistics, *form.sizes, eps, slopes, *results)
    return form.restore(dx), form.collect(dweight, weight), form.collect(dbias, bias)


def _fuses(activation: Activation, form: Layout, dtype: np.dtype[Any]) -> bool:
    """Whether the kernels apply it: one of many operations is worth a pass of its own."""
    if activation is None or activation[0] in ("relu", "leaky_relu"):
        return True
    return activation[0] == "silu" and form.columns and dtype == np.float32


@cache
def _lines(activation: Activation, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    """Slope and lower bound of an activation below 0, and its derivatives there and at NaN; None for SiLU."""
    one, infinity = dtype.type(1), dtype.type(np.inf)
    if activation is None:
        return one, -infinity, (one, one)
    if activation[0] == "silu":
        return None, None, None
    if activation[0] == "relu":
        return one, dtype.type(0), (dtype.type(0), one)
    slope = dtype.type(activation[1])
    return slope, -infinity, (slope, slope)


def _layout(x: Array, axes: Shape, weight: Array | None, bias: Array | None) -> Layout:
    shapes = None if weight is None else weight.shape, None if bias is None else bias.shape
    return layout(x.shape, x.strides, x.itemsize, axes, *shapes)


def _reduced(statistic: Array) -> Shape:
    return tuple(i for i, n in enumerate(statistic.shape) if n == 1)
