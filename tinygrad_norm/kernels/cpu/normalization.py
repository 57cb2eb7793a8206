"""Normalization: brings arrays of any layout to an outer or an inner reduction, and their results back."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu import extremes, inner_reduction, outer_reduction
from tinygrad_norm.kernels.cpu.activation import Line, activate, activation_gradient
from tinygrad_norm.kernels.cpu.compiler import Kernel
from tinygrad_norm.kernels.cpu.launch import Array, Shape, empty, empty_like, launch
from tinygrad_norm.kernels.cpu.layout import Affine, Layout, Statistics, layout_of


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """Normalize over `axes`; also return mean and variance."""
    return _forward(x, Affine(weight, bias), axes, Statistics(eps, own=True, centred=True), activation)


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
    statistics = Statistics(eps, own=True, centred=True, given=True, mean=mean, var=var)
    return _backward(dy, x, Affine(weight, bias), axes, statistics, activation)


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
    statistics = Statistics(eps, own=False, centred=False, given=True, mean=mean, var=var)
    return _forward(x, Affine(weight, bias), _reduced(mean), statistics, activation)[0]


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
    statistics = Statistics(eps, own=False, centred=False, given=True, mean=mean, var=var)
    dx, dweight, dbias = _backward(dy, x, Affine(weight, bias), _reduced(mean), statistics, activation)
    return dx, None, None, dweight, dbias


def rms_normalize(
    x: Array, weight: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array]:
    """Normalize by the root of the mean square over `axes`; also return the mean square."""
    y, _, square = _forward(x, Affine(weight, None), axes, Statistics(eps, own=True, centred=False), activation)
    return y, square


def rms_normalize_gradient(
    dy: Array, x: Array, weight: Array | None, square: Array, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array | None]:
    """Gradients of `rms_normalize`."""
    statistics = Statistics(eps, own=True, centred=False, given=True, mean=launch(np.zeros_like, square), var=square)
    dx, dweight, _ = _backward(dy, x, Affine(weight, None), axes, statistics, activation)
    return dx, dweight


def _forward(
    x: Array, affine: Affine, axes: Shape, statistics: Statistics, activation: Activation
) -> tuple[Array, Array, Array]:
    """Output, mean and variance."""
    form = layout_of(x, axes, affine)
    matrix, known = form.matrix(x), form.statistics(statistics)
    y = empty_like(matrix)
    fused = activation if _fuses(activation, form, x.dtype) else None
    fast = outer_reduction.forward if form.outer else inner_reduction.forward
    given = matrix, form.affine(affine, x.dtype), tuple(known), form.units, _line(fused, x.dtype)
    launch(_run, fast, extremes.normalize, x.size, *given, y)
    y = form.restore(y)
    if fused is not activation:
        y = activate(y, activation)
    return y, form.restore_statistic(known.mean), form.restore_statistic(known.var)


def _backward(
    dy: Array, x: Array, affine: Affine, axes: Shape, statistics: Statistics, activation: Activation
) -> tuple[Array, Array | None, Array | None]:
    """Gradients with respect to x, weight and bias."""
    form = layout_of(x, axes, affine)
    if not _fuses(activation, form, x.dtype):
        z = _forward(x, affine, axes, statistics, None)[0]
        dy, activation = activation_gradient(dy, z, activation), None
    matrix = form.matrix(x)
    dx, dweight, dbias = empty_like(matrix), empty(form.sums, np.float64), empty(form.sums, np.float64)
    fast = outer_reduction.gradient if form.outer else inner_reduction.gradient
    given = form.matrix(dy), matrix, form.affine(affine, x.dtype), tuple(form.statistics(statistics))
    results = dx, (dweight, dbias)
    launch(_run, fast, extremes.differentiate, x.size, *given, form.units, _line(activation, x.dtype), *results)
    return form.restore(dx), form.collect(dweight, affine.weight), form.collect(dbias, affine.bias)


def _run(fast: Kernel, again: Kernel, size: int, *arguments: Any) -> None:
    """Run a kernel and, for groups that left its range, the one that has none."""
    if not fast(size, *arguments):
        again(size, *arguments)


def _fuses(activation: Activation, form: Layout, dtype: np.dtype[Any]) -> bool:
    """Whether the kernels apply it: one of many operations is worth a pass of its own."""
    if activation is None or activation[0] in ("relu", "leaky_relu"):
        return True
    return activation[0] == "silu" and form.outer and dtype == np.float32


@cache
def _line(activation: Activation, dtype: np.dtype[Any]) -> tuple[Any, ...] | None:
    if activation is None:
        return tuple(Line(dtype.type(1), -dtype.type(np.inf)))
    name, slope = activation
    if name == "silu":
        return None
    slope, low = (1, 0) if name == "relu" else (slope, -np.inf)
    return tuple(Line(dtype.type(slope), dtype.type(low)))


def _reduced(statistic: Array) -> Shape:
    return tuple(i for i, n in enumerate(statistic.shape) if n == 1)
