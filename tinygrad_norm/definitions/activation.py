"""Activations: the value at z, and the derivative at z."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tinygrad_norm.definitions.special import FAR, gated, ndtr, relu, sigmoid, softplus
from tinygrad_norm.dtypes import AnyArray

Activation = tuple[str, float] | None
"""An activation fused into a kernel: its name and its parameter (slope or scale; 0 where it has none)."""

_TANH_SLOPE, _TANH_CUBIC = math.sqrt(8 / math.pi), 0.044715


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
    """s(z) s(-z), where s is the sigmoid: 1 - s(z) would have no digits left where s(z) is next to 1."""
    xp = z.__array_namespace__()
    small = xp.exp(-xp.abs(z))
    return small / ((1 + small) * (1 + small))


def tanh(z: AnyArray) -> AnyArray:
    """The hyperbolic tangent."""
    return z.__array_namespace__().tanh(z)


def tanh_derivative(z: AnyArray) -> AnyArray:
    """1 - tanh²(z), as 4 s(2z) s(-2z)."""
    return 4 * sigmoid_derivative(2 * z)


def _gated_derivative(
    z: AnyArray, gate: Callable[[AnyArray], AnyArray], slope: Callable[[AnyArray], AnyArray]
) -> AnyArray:
    """gate(z) + z slope(z), where the slope is the derivative of the gate; at ±∞ the limits 0 and 1."""
    near = z.__array_namespace__().clip(z, -FAR, FAR)
    return gate(near) + near * slope(near)


def silu(z: AnyArray) -> AnyArray:
    """z sigmoid(z).

    Source: Elfwing et al., Sigmoid-weighted linear units for neural network function approximation, 2018.
    """
    return gated(z, sigmoid(z))


def silu_derivative(z: AnyArray) -> AnyArray:
    """s(z) + z s'(z), where s is the sigmoid."""
    return _gated_derivative(z, sigmoid, sigmoid_derivative)


def gelu(z: AnyArray) -> AnyArray:
    """z Φ(z), where Φ is the normal distribution function.

    Source: Hendrycks and Gimpel, Gaussian error linear units, 2016.
    """
    return gated(z, ndtr(z))


def gelu_derivative(z: AnyArray) -> AnyArray:
    """Φ(z) + z φ(z), where φ is the normal density."""
    return _gated_derivative(z, ndtr, _normal_density)


def _normal_density(z: AnyArray) -> AnyArray:
    return z.__array_namespace__().exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def gelu_tanh(z: AnyArray) -> AnyArray:
    """z (1 + tanh(u)) / 2 = z s(2u), where u = √(2/π) (z + 0.044715 z³) and s is the sigmoid. Source: as `gelu`."""
    return gated(z, _tanh_gate(z.__array_namespace__().clip(z, -FAR, FAR)))


def gelu_tanh_derivative(z: AnyArray) -> AnyArray:
    """s(2u) + z s'(2u) 2u'."""
    return _gated_derivative(z, _tanh_gate, _tanh_gate_derivative)


def _tanh_gate(z: AnyArray) -> AnyArray:
    return sigmoid(_TANH_SLOPE * z * (1 + _TANH_CUBIC * z * z))


def _tanh_gate_derivative(z: AnyArray) -> AnyArray:
    slope = sigmoid_derivative(_TANH_SLOPE * z * (1 + _TANH_CUBIC * z * z))
    return slope * _TANH_SLOPE * (1 + 3 * _TANH_CUBIC * z * z)


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
    return gated(z, tanh(softplus(z)))


def mish_derivative(z: AnyArray) -> AnyArray:
    """t(p) + z t'(p) sigmoid(z), where t is tanh and p = softplus(z)."""
    return _gated_derivative(
        z, lambda near: tanh(softplus(near)), lambda near: tanh_derivative(softplus(near)) * sigmoid(near)
    )


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
