"""Activations, one element at a time. Each formula is a plain function, and a kernel of its own when it is used.

All of them compute in float64 and round once. exp and log1p are written out, because a loop around a call of the C
library is not vectorized; erf is the C library's.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import intrinsic, register_jitable

from tinygrad_norm.kernels.cpu.compiler import Kernel
from tinygrad_norm.kernels.reference import Activation

Array = np.ndarray[Any, np.dtype[Any]]

_LOG2_E = 1 / math.log(2)
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_MAGIC = 1.5 * 2**52  # adding it rounds to an integer, which the lowest bits then hold
_EXP = tuple(1 / math.factorial(k + 1) for k in range(13))
_ATANH = tuple(1 / (2 * k + 1) for k in range(11))

_inline = register_jitable(forceinline=True)  # a loop around a call that is left is not vectorized


def _reinterpret(given: Any, returned: Any) -> Any:
    """A function that reads the bits of one type as those of another."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(returned))

    return intrinsic(lambda _, value: (returned(given), code))


_bits = _reinterpret(types.float64, types.int64)
_from_bits = _reinterpret(types.int64, types.float64)


@_inline
def _expm1_parts(x: float) -> tuple[float, float]:
    """2ⁿ and e^r - 1, where x = n ln 2 + r ≤ 0. Below -708, where 2ⁿ is not a normal number, 0 and 0."""
    shifted = (-708.0 if x < -708 else x) * _LOG2_E + _MAGIC
    n = shifted - _MAGIC
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    series = 0.0
    for k in range(12, -1, -1):
        series = series * r + _EXP[k]
    power = _from_bits((_bits(shifted) + 1023) << 52)
    return (0.0, 0.0) if x < -708 else (power, series * r)


@_inline
def _exp(x: float) -> float:
    """e^x for x ≤ 0."""
    power, rest = _expm1_parts(x)
    return power * rest + power


@_inline
def _expm1(x: float) -> float:
    """e^x - 1 for x ≤ 0."""
    power, rest = _expm1_parts(x)
    return power * rest + (power - 1)


@_inline
def _log1p(x: float) -> float:
    """log(1 + x) = 2 artanh(x / (2 + x)) for 0 ≤ x ≤ 1, from √2 on as log 2 + log(1 + (x - 1) / 2)."""
    large = x > math.sqrt(2) - 1
    x = 0.5 * (x - 1) if large else x
    t = x / (2 + x)
    series = 0.0
    for k in range(10, -1, -1):
        series = series * (t * t) + _ATANH[k]
    return 2 * t * series + (math.log(2) if large else 0.0)


# Value and derivative at z, as in the reference. A kernel uses one of the two, and the compiler drops the other.


@_inline
def _relu(z: float, _: float) -> tuple[float, float]:
    return 0.0 if z <= 0 else z, 0.0 if z <= 0 else 1.0


@_inline
def _leaky_relu(z: float, slope: float) -> tuple[float, float]:
    return z if z > 0 else slope * z, 1.0 if z > 0 else slope


@_inline
def _elu(z: float, alpha: float) -> tuple[float, float]:
    below = alpha * _expm1(0.0 if z > 0 else z)
    return z if z > 0 else below, 1.0 if z > 0 else below + alpha


@_inline
def _sigmoid(z: float, _: float) -> tuple[float, float]:
    e = _exp(-abs(z))
    s = (1.0 if z >= 0 else e) / (1 + e)
    return s, s * (1 - s)


@_inline
def _tanh(z: float, _: float) -> tuple[float, float]:
    m = _expm1(-2 * abs(z))
    t = m / (2 + m)
    return t if z < 0 else -t, 1 - t * t


@_inline
def _silu(z: float, _: float) -> tuple[float, float]:
    s, _ = _sigmoid(z, 0.0)
    return z * s, s * (1 + z * (1 - s))


@_inline
def _erf(z: float, _: float) -> tuple[float, float]:
    return math.erf(z), 2 / math.sqrt(math.pi) * _exp(-z * z)


@_inline
def _gelu(z: float, _: float) -> tuple[float, float]:
    area = 0.5 * (1 + math.erf(z * math.sqrt(0.5)))
    return z * area, area + z * _exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


@_inline
def _gelu_tanh(z: float, _: float) -> tuple[float, float]:
    c = math.sqrt(2 / math.pi)
    t, slope = _tanh(c * (z + 0.044715 * z * z * z), 0.0)
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * slope * c * (1 + 3 * 0.044715 * z * z)


@_inline
def _hardswish(z: float, _: float) -> tuple[float, float]:
    if z <= -3:
        return 0.0, 0.0
    return (z, 1.0) if z >= 3 else (z * (z + 3) / 6, (2 * z + 3) / 6)


@_inline
def _softplus(z: float, _: float) -> tuple[float, float]:
    return (z if z > 0 else 0.0) + _log1p(_exp(-abs(z))), _sigmoid(z, 0.0)[0]


@_inline
def _mish(z: float, _: float) -> tuple[float, float]:
    value, derivative = _softplus(z, 0.0)
    t, slope = _tanh(value, 0.0)
    return z * t, t + z * slope * derivative


_FORMULAS = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "erf": _erf,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardswish": _hardswish,
    "softplus": _softplus,
    "mish": _mish,
}


@cache
def _value(name: str) -> Kernel:
    formula = _FORMULAS[name]

    def value(z: Array, parameter: float, y: Array) -> None:
        for i in prange(z.size):
            y[i] = formula(np.float64(z[i]), parameter)[0]

    return Kernel(value)


@cache
def _gradient(name: str) -> Kernel:
    formula = _FORMULAS[name]

    def gradient(dy: Array, z: Array, parameter: float, dz: Array) -> None:
        for i in prange(z.size):
            dz[i] = dy[i] * formula(np.float64(z[i]), parameter)[1]

    return Kernel(gradient)


def activate(z: Array, activation: Activation) -> Array:
    """The activation of z."""
    if activation is None:
        return z
    y = np.empty_like(z)
    _value(activation[0])(z.size, _flat(z, y), activation[1], y.ravel("K"))
    return y


def activation_gradient(dy: Array, z: Array, activation: Activation) -> Array:
    """Dy times the derivative of the activation at z."""
    if activation is None:
        return dy
    dz = np.empty_like(z)
    _gradient(activation[0])(z.size, _flat(dy, dz), _flat(z, dz), activation[1], dz.ravel("K"))
    return dz


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    return activate(z, ("sigmoid", 0.0))


def softplus(z: Array) -> Array:
    """log(1 + exp(z)), without overflow."""
    return activate(z, ("softplus", 0.0))


def erf(z: Array) -> Array:
    """The error function."""
    return activate(z, ("erf", 0.0))


def _flat(array: Array, like: Array) -> Array:
    """The elements in the order in which `like`, which has no gaps, has them in memory; copied only if they are not."""
    if array.strides != like.strides:
        array, given = np.empty_like(like), array
        array[...] = given
    return array.ravel("K")
