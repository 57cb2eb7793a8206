"""Activations: the value at z, and the derivative at z."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_norm.definitions.special import erf, sigmoid, softplus

Array = Any
Activation = tuple[str, float] | None
"""An activation fused into a kernel: its name and its parameter (slope or scale; 0 where it has none)."""


def _relu(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    off = z <= 0  # NaN is neither, and goes through
    return xp.where(off, xp.zeros_like(z), z), xp.astype(xp.logical_not(off), z.dtype)


def _leaky_relu(z: Array, slope: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, slope * z), xp.where(z > 0, xp.ones_like(z), slope * xp.ones_like(z))


def _elu(z: Array, alpha: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    below = alpha * xp.expm1(xp.where(z > 0, xp.zeros_like(z), z))
    return xp.where(z > 0, z, below), xp.where(z > 0, xp.ones_like(z), below + alpha)


def _sigmoid(z: Array, _: float) -> tuple[Array, Array]:
    s = sigmoid(z)
    return s, s * (1 - s)


def _tanh(z: Array, _: float) -> tuple[Array, Array]:
    t = z.__array_namespace__().tanh(z)
    return t, 1 - t * t


def _silu(z: Array, _: float) -> tuple[Array, Array]:
    s = sigmoid(z)
    return z * s, s * (1 + z * (1 - s))


def _gelu(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    area = 0.5 * (1 + erf(z * math.sqrt(0.5)))
    return z * area, area + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh(z: Array, _: float) -> tuple[Array, Array]:
    xp, c = z.__array_namespace__(), math.sqrt(2 / math.pi)
    near = xp.clip(z, -25, 25)  # beyond, tanh is 1 and its derivative 0, and z³ may be infinite
    t = xp.tanh(c * (near + 0.044715 * near * near * near))
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * c * (1 + 3 * 0.044715 * near * near)


def _hardswish(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    middle = z * (z + 3) / 6
    y = xp.where(z <= -3, xp.zeros_like(z), xp.where(z >= 3, z, middle))
    return y, xp.where(z <= -3, xp.zeros_like(z), xp.where(z >= 3, xp.ones_like(z), (2 * z + 3) / 6))


def _mish(z: Array, _: float) -> tuple[Array, Array]:
    t = z.__array_namespace__().tanh(softplus(z))
    return z * t, t + z * (1 - t * t) * sigmoid(z)


def _softplus(z: Array, _: float) -> tuple[Array, Array]:
    return softplus(z), sigmoid(z)


ACTIVATIONS: dict[str, Callable[[Array, float], tuple[Array, Array]]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardswish": _hardswish,
    "mish": _mish,
    "softplus": _softplus,
}


def activate(z: Array, activation: Activation) -> Array:
    """The activation of z."""
    return z if activation is None else ACTIVATIONS[activation[0]](z, activation[1])[0]


def activation_gradient(dy: Array, z: Array, activation: Activation) -> Array:
    """dy times the derivative of the activation at z."""
    return dy if activation is None else dy * ACTIVATIONS[activation[0]](z, activation[1])[1]
