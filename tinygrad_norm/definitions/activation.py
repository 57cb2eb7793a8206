"""Activations: the value at z, and the derivative at z."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_norm.definitions.special import erf, relu, sigmoid, softplus
from tinygrad_norm.dtypes import AnyArray

Activation = tuple[str, float] | None
"""An activation fused into a kernel: its name and its parameter (slope or scale; 0 where it has none)."""

_TANH_SLOPE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


def relu_derivative(z: AnyArray) -> AnyArray:
    """0 up to 0, 1 beyond and at NaN."""
    xp = z.__array_namespace__()
    return xp.astype(xp.logical_not(z <= 0), z.dtype)


def leaky_relu(z: AnyArray, slope: float) -> AnyArray:
    """z where it is positive, else `slope` times z."""
    return z.__array_namespace__().where(z > 0, z, slope * z)


def leaky_relu_derivative(z: AnyArray, slope: float) -> AnyArray:
    """1 where z is positive, else `slope`."""
    xp = z.__array_namespace__()
    return xp.where(z > 0, xp.ones_like(z), slope)


def elu(z: AnyArray, alpha: float) -> AnyArray:
    """z where it is positive, else alpha (exp(z) - 1).

    Source: Clevert et al., Fast and accurate deep network learning by exponential linear units, 2016.
    """
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, alpha * xp.expm1(xp.where(z > 0, 0.0, z)))


def elu_derivative(z: AnyArray, alpha: float) -> AnyArray:
    """1 where z is positive, else alpha exp(z)."""
    xp = z.__array_namespace__()
    return xp.where(z > 0, 1.0, alpha * xp.exp(xp.where(z > 0, 0.0, z)))


def sigmoid_derivative(z: AnyArray) -> AnyArray:
    """s (1 - s), where s = sigmoid(z)."""
    s = sigmoid(z)
    return s * (1 - s)


def tanh(z: AnyArray) -> AnyArray:
    """The hyperbolic tangent."""
    return z.__array_namespace__().tanh(z)


def tanh_derivative(z: AnyArray) -> AnyArray:
    """1 - tanh²(z)."""
    t = tanh(z)
    return 1 - t * t


def silu(z: AnyArray) -> AnyArray:
    """z sigmoid(z).

    Source: Elfwing et al., Sigmoid-weighted linear units for neural network function approximation, 2018.
    """
    return z * sigmoid(z)


def silu_derivative(z: AnyArray) -> AnyArray:
    """s + z s (1 - s), where s = sigmoid(z)."""
    s = sigmoid(z)
    return s * (1 + z * (1 - s))


def gelu(z: AnyArray) -> AnyArray:
    """z Φ(z), where Φ is the normal distribution function.

    Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """
    return 0.5 * z * (1 + erf(z * math.sqrt(0.5)))


def gelu_derivative(z: AnyArray) -> AnyArray:
    """Φ(z) + z φ(z), where φ is the normal density."""
    xp = z.__array_namespace__()
    return 0.5 * (1 + erf(z * math.sqrt(0.5))) + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def gelu_tanh(z: AnyArray) -> AnyArray:
    """z (1 + t) / 2, where t = tanh(√(2/π) (z + 0.044715 z³)). Source: as `gelu`."""
    return 0.5 * z * (1 + _gelu_tanh(z)[0])


def gelu_tanh_derivative(z: AnyArray) -> AnyArray:
    """(1 + t) / 2 + z (1 - t²) √(2/π) (1 + 3 · 0.044715 z²) / 2."""
    t, near = _gelu_tanh(z)
    return 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * _TANH_SLOPE * (1 + 3 * _TANH_CUBIC * near * near)


def _gelu_tanh(z: AnyArray) -> tuple[AnyArray, AnyArray]:
    """The tanh of `gelu_tanh`, and z as far as it matters there."""
    xp = z.__array_namespace__()
    near = xp.clip(z, -25, 25)  # beyond, tanh is ±1 and its derivative 0, and z³ may be infinite
    return xp.tanh(_TANH_SLOPE * (near + _TANH_CUBIC * near * near * near)), near


def hardswish(z: AnyArray) -> AnyArray:
    """z clip(z + 3, 0, 6) / 6. Source: Howard et al., Searching for MobileNetV3, 2019."""
    xp = z.__array_namespace__()
    between = xp.where(xp.abs(z) >= 3, 0.0, z)  # or an infinite z would make of the gradient of 0 that it gets NaN
    return xp.where(z <= -3, 0.0, xp.where(z >= 3, z, between * (between + 3) / 6))


def hardswish_derivative(z: AnyArray) -> AnyArray:
    """0 up to -3, 1 from 3 on, (2z + 3) / 6 between."""
    xp = z.__array_namespace__()
    return xp.where(z <= -3, 0.0, xp.where(z >= 3, 1.0, (2 * z + 3) / 6))


def mish(z: AnyArray) -> AnyArray:
    """z tanh(softplus(z)). Source: Misra, Mish: a self regularized non-monotonic activation function, 2019."""
    return z * tanh(softplus(z))


def mish_derivative(z: AnyArray) -> AnyArray:
    """t + z (1 - t²) sigmoid(z), where t = tanh(softplus(z))."""
    t = tanh(softplus(z))
    return t + z * (1 - t * t) * sigmoid(z)


class ActivationDefinition(NamedTuple):
    """The functions of one activation, of z and, where there is one, of the parameter."""

    value: Callable[..., AnyArray]
    derivative: Callable[..., AnyArray]
    parameter: float | None = None
    """PyTorch's default; None for an activation without a parameter."""


ACTIVATIONS = {
    "relu": ActivationDefinition(relu, relu_derivative),
    "leaky_relu": ActivationDefinition(leaky_relu, leaky_relu_derivative, parameter=0.01),
    "elu": ActivationDefinition(elu, elu_derivative, parameter=1.0),
    "sigmoid": ActivationDefinition(sigmoid, sigmoid_derivative),
    "tanh": ActivationDefinition(tanh, tanh_derivative),
    "silu": ActivationDefinition(silu, silu_derivative),
    "gelu": ActivationDefinition(gelu, gelu_derivative),
    "gelu_tanh": ActivationDefinition(gelu_tanh, gelu_tanh_derivative),
    "hardswish": ActivationDefinition(hardswish, hardswish_derivative),
    "mish": ActivationDefinition(mish, mish_derivative),
    "softplus": ActivationDefinition(softplus, sigmoid),
}


def activate(z: AnyArray, activation: Activation) -> AnyArray:
    """The activation of z."""
    if activation is None:
        return z
    definition = ACTIVATIONS[activation[0]]
    return definition.value(z, *_parameters(activation))


def activation_gradient(dy: AnyArray, z: AnyArray, activation: Activation) -> AnyArray:
    """dy times the derivative of the activation at z."""
    if activation is None:
        return dy
    definition = ACTIVATIONS[activation[0]]
    return dy * definition.derivative(z, *_parameters(activation))


def _parameters(activation: tuple[str, float]) -> tuple[float, ...]:
    """What the functions of an activation take besides z."""
    name, parameter = activation
    return () if ACTIVATIONS[name].parameter is None else (parameter,)
