"""Normalization: the kernels that are written from its definitions, with an activation where that saves a pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_norm import definitions
from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu import derived
from tinygrad_norm.kernels.cpu.activation import Line, activate, activation_gradient
from tinygrad_norm.kernels.cpu.generated import normalize as centred
from tinygrad_norm.kernels.cpu.generated import normalize_inference as inference
from tinygrad_norm.kernels.cpu.generated import rms_normalize as rms
from tinygrad_norm.kernels.cpu.layout import Layout
from tinygrad_norm.launch import Array, Shape

_Arrays = tuple[Any, ...]


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """Normalize over `axes`; also return mean and variance."""
    given = x, weight, bias, axes, eps
    y, mean, var = _forward(
        _call(centred, x, (weight, bias), axes, eps), (), 2, activation, definitions.normalize, given
    )
    return y, mean, var


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
    call = _call(centred, x, (weight, bias), axes, eps)

    def plain() -> Array:
        return normalize(x, weight, bias, axes, eps, None)[0]

    given = x, weight, bias, mean, var, axes, eps
    dx, dweight, dbias = _backward(call, dy, (mean, var), activation, plain, definitions.normalize_gradient, given)
    return dx, dweight, dbias


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
    call, given = _call(inference, x, (weight, bias), _reduced(mean), eps), (x, mean, var, weight, bias, eps)
    return _forward(call, (mean, var), 0, activation, _inference, given)[0]


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
    call = _call(inference, x, (weight, bias), _reduced(mean), eps)

    def plain() -> Array:
        return normalize_inference(x, mean, var, weight, bias, eps, None)

    given = x, mean, var, weight, bias, eps
    dx, dweight, dbias = _backward(call, dy, (mean, var), activation, plain, _inference_gradient, given)
    return dx, None, None, dweight, dbias


def rms_normalize(
    x: Array, weight: Array | None, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array]:
    """Normalize by the root of the mean square over `axes`; also return the mean square."""
    given = x, weight, axes, eps
    y, square = _forward(_call(rms, x, (weight,), axes, eps), (), 1, activation, definitions.rms_normalize, given)
    return y, square


def rms_normalize_gradient(
    dy: Array, x: Array, weight: Array | None, square: Array, axes: Shape, eps: float, activation: Activation
) -> tuple[Array, Array | None]:
    """Gradients of `rms_normalize`."""
    call = _call(rms, x, (weight,), axes, eps)

    def plain() -> Array:
        return rms_normalize(x, weight, axes, eps, None)[0]

    given = x, weight, square, axes, eps
    dx, dweight = _backward(call, dy, (square,), activation, plain, definitions.rms_normalize_gradient, given)
    return dx, dweight


def _inference(*given: Any) -> _Arrays:
    return (definitions.normalize_inference(*given),)


def _inference_gradient(*given: Any) -> _Arrays:
    dx, _, _, dweight, dbias = definitions.normalize_inference_gradient(*given)
    return dx, dweight, dbias


def _call(module: ModuleType, x: Array, parameters: tuple[Array | None, ...], axes: Shape, eps: float) -> derived.Call:
    """A call with weight, and perhaps bias."""
    return derived.call_of(module, x, parameters, axes, (float(eps),), (1.0, 0.0)[: len(parameters)])


def _forward(
    call: derived.Call,
    known: Sequence[Array],
    count: int,
    activation: Activation,
    definition: Callable[..., _Arrays],
    given: _Arrays,
) -> tuple[Array, ...]:
    """The output, and so many statistics; `definition` of what is given and the activation does the same."""
    fused = activation if _fuses(activation, call.form, call.x.dtype) else None
    call.arguments.append(_line(fused, call.x.dtype))
    y, *statistics = derived.forward(call, known, count, derived.Otherwise(definition, (*given, fused)))
    return (y if fused is activation else activate(y, activation)), *statistics


def _backward(
    call: derived.Call,
    dy: Array,
    statistics: Sequence[Array],
    activation: Activation,
    plain: Callable[[], Array],
    definition: Callable[..., _Arrays],
    given: _Arrays,
) -> _Arrays:
    """The gradients of x and of weight and bias; `plain` computes what was activated, if that was another pass."""
    if not _fuses(activation, call.form, call.x.dtype):
        dy, activation = activation_gradient(dy, plain(), activation), None
    call.arguments.append(_line(activation, call.x.dtype))
    otherwise = derived.Otherwise(definition, (dy, *given, activation))
    return derived.gradient(call, dy, statistics, range(len(call.parameters)), otherwise)


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
