"""Activations, one element at a time. Each formula is a plain function, and a kernel of its own when it is used.

All of them compute in the dtype of the array. exp, log1p and erf are written out, because a loop around a call of the
C library is not vectorized; for float64, where accuracy counts, erf is the C library's. `real` is the dtype's number.

Algorithm: e^x as 2ⁿ e^r (Muller et al., Handbook of Floating-Point Arithmetic, 2018), with polynomials that interpolate
at Chebyshev's nodes. Layout: arrays are vectors, in the order of their memory. Accuracy: a few units in the last place,
of the smallest results too; of GELU far below 0, those of z², so 1e-5 of itself in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import prange, types
from numba.extending import intrinsic
from numpy.polynomial import Chebyshev, Polynomial

from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu.compiler import Kernel, by_types, inline
from tinygrad_norm.kernels.cpu.elementwise import flat
from tinygrad_norm.launch import Array, empty_like, launch


class _Format(NamedTuple):
    """What a floating-point format needs for e^x = 2ⁿ e^r, where x = n ln 2 + r, and for log(1 + x)."""

    real: Any
    digits: int
    """The length of the significand, in bits."""
    bias: int
    """The bias of the exponent."""
    lowest: float
    """The least x with a normal 2ⁿ."""
    ln2: tuple[float, float]
    """ln 2 in two parts, the first of which is exact when multiplied by n."""
    exp_terms: int
    """How many terms (e^r - 1 - r) / r² has as a polynomial, where |r| ≤ ln 2 / 2."""
    log_terms: int
    """How many terms Taylor's series of artanh(t) / t has, where t² < 0.03."""


_FORMATS = {
    types.float32: _Format(np.float32, 24, 127, -87, (0.693145751953125, 1.428606765330187e-06), 5, 5),
    types.float64: _Format(np.float64, 53, 1023, -708, (0.6931471803691238, 1.9082149292705877e-10), 11, 11),
}


def _polynomial(function: Callable[[Any], Any], low: float, high: float, terms: int, real: Any) -> Callable[..., Any]:
    """The polynomial of that many terms that interpolates `function` at Chebyshev's nodes between low and high.

    Horner's scheme twice, in x², for the even powers and the odd ones: half as many operations wait for each other.
    """
    found = Chebyshev.interpolate(function, terms - 1, (low, high)).convert(kind=Polynomial)
    even, odd = (tuple(map(real, found.coef[first::2][::-1])) for first in (0, 1))

    def evaluate(x: float) -> float:
        square, a, b = x * x, even[0], odd[0]
        for k in range(1, len(even)):
            a = a * square + even[k]
        for k in range(1, len(odd)):
            b = b * square + odd[k]
        return a + b * x

    return inline(evaluate)


@intrinsic
def _power_of_two(_: Any, shifted: Any) -> Any:
    """2ⁿ, where the lowest bits of `shifted` hold n."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        form, value = _FORMATS[shifted], context.get_value_type(shifted)
        bits = context.get_value_type(types.Integer.from_bitwidth(shifted.bitwidth))
        biased = builder.add(builder.bitcast(values[0], bits), bits(form.bias))
        return builder.bitcast(builder.shl(biased, bits(form.digits - 1)), value)

    return shifted(shifted), code


@by_types
def _exp_parts(x: Any) -> Any:
    """2ⁿ and e^r - 1, where 2ⁿ is a normal number or infinite."""
    real, digits, ln2 = _FORMATS[x].real, _FORMATS[x].digits, _FORMATS[x].ln2
    high, low = map(real, ln2)
    log2_e, magic = real(1 / math.log(2)), real(1.5 * 2 ** (digits - 1))  # adding it rounds to an integer

    def taylor(r: Any) -> Any:
        return sum(r**k / math.factorial(k + 2) for k in range(20))

    quotient = _polynomial(taylor, -math.log(2) / 2, math.log(2) / 2, _FORMATS[x].exp_terms, real)

    def parts(x: float) -> tuple[float, float]:
        shifted = x * log2_e + magic
        n = shifted - magic
        r = (x - n * high) - n * low
        return _power_of_two(shifted), r + r * r * quotient(r)

    return parts


@by_types
def _low_exp_parts(x: Any) -> Any:
    """2ⁿ and e^r - 1 for x ≤ 0, where 2ⁿ is a normal number or 0."""
    zero, lowest = _FORMATS[x].real(0), _FORMATS[x].real(_FORMATS[x].lowest)

    def parts(x: float) -> tuple[float, float]:
        power, rest = _exp_parts(lowest if x < lowest else x)
        return zero if x < lowest else power, rest

    return parts


@inline
def _exp(x: float) -> float:
    """e^x for x ≤ 0."""
    power, rest = _low_exp_parts(x)
    return power * rest + power


@inline
def _expm1(x: float, real: Any) -> float:
    """e^x - 1 for x ≤ 0."""
    power, rest = _low_exp_parts(x)
    return power * rest + (power - real(1))


@by_types
def _one_plus_exp_minus(x: Any) -> Any:
    """1 + e^-x: 1 where e^-x is not a normal number, and infinite where 2ⁿ is."""
    real, bias, lowest = _FORMATS[x].real, _FORMATS[x].bias, _FORMATS[x].lowest
    one, least, most = real(1), real(-(bias + 1) * math.log(2)), real(-lowest)  # in these, 2ⁿ is infinite, or least

    def one_plus_exp_minus(x: float) -> float:
        x = least if x < least else x
        power, rest = _exp_parts(-(most if x > most else x))
        return one + power * (one + rest)

    return one_plus_exp_minus


@by_types
def _log1p(x: Any) -> Any:
    """log(1 + x) = 2 artanh(x / (2 + x)) for 0 ≤ x ≤ 1, from √2 on as log 2 + log(1 + (x - 1) / 2)."""
    real, terms = _FORMATS[x].real, _FORMATS[x].log_terms
    zero, half, one, two, border, log2 = map(real, (0, 0.5, 1, 2, math.sqrt(2) - 1, math.log(2)))
    taylor = tuple(real(1 / (2 * k + 1)) for k in range(terms - 1, -1, -1))

    def log1p(x: float) -> float:
        large = x > border
        x = half * (x - one) if large else x
        t = x / (two + x)
        series = zero
        for k in range(terms):
            series = series * (t * t) + taylor[k]
        return two * t * series + (log2 if large else zero)

    return log1p


@by_types
def _erfc_parts(x: Any) -> Any:
    """erfc(x) and exp(-x²) for x ≥ 0; the first is the second times t p(t), where t = 1 / (1 + x / 2).

    Beyond 10, both are 0 in float32. Up to there, p is a polynomial, in u which goes from -1 to 1.
    """
    real = _FORMATS[x].real
    if x == types.float64:
        return lambda x: (math.erfc(x), _exp(-x * x))
    least, slope = 1 / 6, 12 / 5

    def p(u: Any) -> Any:
        t = (u + 1) / slope + least
        return np.array([math.exp((2 / v - 2) ** 2) * math.erfc(2 / v - 2) / v for v in t])

    half, one, scale, shift = map(real, (0.5, 1, slope, 1 + slope * least))
    series = _polynomial(p, -1, 1, 11, real)

    def parts(x: float) -> tuple[float, float]:
        t, normal = one / (one + half * x), _exp(-x * x)
        return normal * (t * series(t * scale - shift)), normal

    return parts


@by_types
def _erf_series(x: Any) -> Any:
    """erf(x) for |x| < 1/2."""
    real = _FORMATS[x].real
    if x == types.float64:
        return lambda x: math.erf(x)
    taylor = tuple(
        real(2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1))) for k in range(7, -1, -1)
    )

    def series(x: float) -> float:
        total = taylor[0]
        for k in range(1, 8):
            total = total * (x * x) + taylor[k]
        return x * total

    return series


# Value and derivative at z, as in the reference. A kernel uses one of the two, and the compiler drops the other; so a
# value has the shortest way, one quotient, where a derivative asks for sigmoid(z) and sigmoid(-z).
# `real` makes numbers of the dtype of z: Numba would take those of Python as float64, and compute in that.


@inline
def _none(z: float, _: float, real: Any) -> tuple[float, float]:
    return z, real(1)


@inline
def _relu(z: float, _: float, real: Any) -> tuple[float, float]:
    return real(0) if z <= 0 else z, real(0) if z <= 0 else real(1)


@inline
def _leaky_relu(z: float, slope: float, real: Any) -> tuple[float, float]:
    return z if z > 0 else slope * z, real(1) if z > 0 else slope


@inline
def _elu(z: float, alpha: float, real: Any) -> tuple[float, float]:
    low = real(0) if z > 0 else z
    return z if z > 0 else alpha * _expm1(low, real), real(1) if z > 0 else alpha * _exp(low)


@inline
def _odds(z: float, real: Any) -> tuple[float, float]:
    """sigmoid(z) and sigmoid(-z), without cancellation."""
    e = _exp(-abs(z))
    large = real(1) / (real(1) + e)
    small = e * large
    return large if z >= real(0) else small, small if z >= real(0) else large


@inline
def sigmoid_at(z: float, _: float, real: Any) -> tuple[float, float]:
    """1 / (1 + exp(-z)), and its derivative."""
    s, rest = _odds(z, real)
    return real(1) / _one_plus_exp_minus(z), s * rest


@inline
def tanh_at(z: float, _: float, real: Any) -> tuple[float, float]:
    """The hyperbolic tangent, and its derivative."""
    m = _expm1(real(-2) * abs(z), real)
    t, (s, rest) = m / (real(2) + m), _odds(real(2) * z, real)
    return t if z < 0 else -t, real(4) * s * rest


@inline
def finite(z: float, real: Any) -> tuple[float, float]:
    """z, no less than -1000, and between -1000 and 1000: numbers to multiply by 0 where the result is 0 from there on.

    Of an infinite z, the product would be NaN.
    """
    above = real(-1000) if z < real(-1000) else z
    return above, real(1000) if above > real(1000) else above


@inline
def silu(z: float, _: float, real: Any) -> tuple[float, float]:
    """z sigmoid(z), and its derivative; norms apply it in their own loops as well."""
    (s, rest), (above, near) = _odds(z, real), finite(z, real)
    return above / _one_plus_exp_minus(z), s * (real(1) + near * rest)


@inline
def erf_at(z: float, _: float, real: Any) -> tuple[float, float]:
    """The error function, and its derivative."""
    size = abs(z)
    tail, normal = _erfc_parts(size)
    value = _erf_series(z) if size < real(0.5) else real(1) - tail if z > 0 else tail - real(1)
    return value, real(2 / math.sqrt(math.pi)) * normal


@inline
def _area(z: float, real: Any) -> tuple[float, float]:
    """The normal distribution function, and exp(-z²/2)."""
    tail, normal = _erfc_parts(abs(z) * real(math.sqrt(0.5)))
    return real(0.5) * tail if z < 0 else real(1) - real(0.5) * tail, normal


@inline
def ndtr_at(z: float, _: float, real: Any) -> tuple[float, float]:
    """The normal distribution function, and its derivative."""
    area, normal = _area(z, real)
    return area, normal * real(1 / math.sqrt(2 * math.pi))


@inline
def _gelu(z: float, _: float, real: Any) -> tuple[float, float]:
    (area, normal), (above, near) = _area(z, real), finite(z, real)
    return above * area, area + near * normal * real(1 / math.sqrt(2 * math.pi))


@inline
def _gelu_tanh(z: float, _: float, real: Any) -> tuple[float, float]:
    near = real(25) if z > 25 else real(-25) if z < -25 else z  # beyond, tanh is 1, and z³ may be infinite
    square, c = near * near, real(math.sqrt(8 / math.pi))
    doubled = c * near * (real(1) + real(0.044715) * square)  # (1 + tanh u) / 2 = sigmoid(2u)
    s, rest = _odds(doubled, real)
    slope = s + near * (s * rest) * (c * (real(1) + real(3 * 0.044715) * square))
    return finite(z, real)[0] / _one_plus_exp_minus(doubled), slope


@inline
def _hardswish(z: float, _: float, real: Any) -> tuple[float, float]:
    value, slope = z * (z + real(3)) * real(1 / 6), z * real(1 / 3) + real(0.5)
    above, below = z >= real(3), z <= real(-3)
    return real(0) if below else z if above else value, real(0) if below else real(1) if above else slope


@inline
def softplus_at(z: float, _: float, real: Any) -> tuple[float, float]:
    """log(1 + exp(z)), and its derivative."""
    return (z if z > 0 else real(0)) + _log1p(_exp(-abs(z))), real(1) / _one_plus_exp_minus(z)


@inline
def _mish(z: float, _: float, real: Any) -> tuple[float, float]:
    value, derivative = softplus_at(z, z, real)
    (t, slope), (above, near) = tanh_at(value, z, real), finite(z, real)
    return above * t, t + near * slope * derivative


class Line(NamedTuple):
    """An activation that norms apply by themselves: z above 0, and max(slope z, low) below; SiLU in float32 is None."""

    slope: Any
    low: Any
    """0, where the derivative is 0 below, or -∞."""


@by_types
def activated(z: Any, line: Any) -> Any:
    """The activation of z; where there is none, a loop around this has a form of its own, with none of its work."""

    def on_line(z: Any, line: Any) -> Any:
        slope, low = line
        if slope == 1 and low == -np.inf:
            return z
        below = slope * z
        return z if z > 0 else low if below < low else below

    def smooth(z: Any, line: Any) -> Any:
        return silu(z, z, np.float32)[0]

    return smooth if isinstance(line, types.NoneType) else on_line


@by_types
def times_derivative(d: Any, z: Any, line: Any) -> Any:
    """Times the derivative of that activation at z; a loop around this has a form of its own for each."""

    def on_line(d: Any, z: Any, line: Any) -> Any:
        slope, low = line
        if low == 0:
            return low * d if z <= 0 else d
        if slope == 1:
            return d
        return d if z > 0 else slope * d

    def smooth(d: Any, z: Any, line: Any) -> Any:
        return d * silu(z, z, np.float32)[1]

    return smooth if isinstance(line, types.NoneType) else on_line


_FORMULAS = {
    "none": _none,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "sigmoid": sigmoid_at,
    "tanh": tanh_at,
    "silu": silu,
    "erf": erf_at,
    "ndtr": ndtr_at,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardswish": _hardswish,
    "softplus": softplus_at,
    "mish": _mish,
}


_CHEAP = "none", "relu", "leaky_relu"


def _work(name: str, z: Array) -> int:
    """What z takes, in elements of a simpler kernel."""
    return z.size if name in _CHEAP else 4 * z.size


@cache
def _kernel(name: str) -> Kernel:
    formula = _FORMULAS[name]

    def apply(dy: Array | None, z: Array, parameter: float, out: Array) -> None:
        real = z.dtype.type
        for i in prange(z.size):
            value, derivative = formula(z[i], real(parameter), real)
            out[i] = value if dy is None else dy[i] * derivative

    return Kernel(apply)


@cache
def _finish(name: str) -> Kernel:
    formula = _FORMULAS[name]

    def finish(y: Array, bias: Array, parameter: float) -> None:
        real = y.dtype.type
        for pixel in prange(len(y)):
            row = y[pixel]
            for c in range(len(bias)):
                row[c] = formula(row[c] + bias[c], real(parameter), real)[0]

    return Kernel(finish)


def finish(y: Array, bias: Array | None, activation: Activation) -> None:
    """Add a bias to the last axis of y, which has no gaps, and activate what comes out, in place."""
    if y.size == 0 or (bias is None and activation is None):
        return
    name, parameter = activation or ("none", 0.0)
    shift = launch(np.zeros, y.shape[-1], y.dtype) if bias is None else launch(np.ascontiguousarray, bias)
    launch(_finish(name), _work(name, y), y.reshape(-1, len(shift)), shift, parameter)


def activate(z: Array, activation: Activation) -> Array:
    """The activation of z."""
    if activation is None:
        return z
    y, (name, parameter) = empty_like(z), activation
    launch(_kernel(name), _work(name, z), None, flat(z, y), parameter, flat(y, y))
    return y


def activation_gradient(dy: Array, z: Array, activation: Activation) -> Array:
    """Dy times the derivative of the activation at z."""
    if activation is None:
        return dy
    dz, (name, parameter) = empty_like(z), activation
    launch(_kernel(name), _work(name, z), flat(dy, dz), flat(z, dz), parameter, flat(dz, dz))
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


def ndtr(z: Array) -> Array:
    """The normal distribution function."""
    return activate(z, ("ndtr", 0.0))
