"""Special functions: a series on arrays, whose modules lack them or overflow; one op on tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from tinygrad_norm.dtypes import AnyArray


def _atom(series: Callable[..., AnyArray]) -> Callable[..., AnyArray]:
    """The function of that name in the namespace of its argument; `series` where that has none, as on arrays."""

    @functools.wraps(series)
    def function(z: AnyArray, *others: AnyArray) -> AnyArray:
        return getattr(z.__array_namespace__(), series.__name__, series)(z, *others)

    return function


@_atom
def stop_gradient(z: AnyArray) -> AnyArray:
    """z, as a constant to whoever differentiates."""
    return z


@_atom
def relu(x: AnyArray) -> AnyArray:
    """x where it is positive or NaN, else 0; the derivative at 0 is 0."""
    return x.__array_namespace__().maximum(x, 0)


FAR = 1000.0
"""From here on, the gates of SiLU, GELU and Mish are 0 or 1, and their derivatives 0, in every format."""


@_atom
def gated(z: AnyArray, gate: AnyArray) -> AnyArray:
    """z times a function of it that opens from 0 to 1 between -1000 and 1000; 0 at -∞, where the product is NaN."""
    return z.__array_namespace__().maximum(z, -FAR) * gate


@_atom
def rsqrt(z: AnyArray) -> AnyArray:
    """1 / √z."""
    return 1 / z.__array_namespace__().sqrt(z)


@_atom
def sigmoid(z: AnyArray) -> AnyArray:
    """1 / (1 + exp(-z)), without overflow."""
    xp = z.__array_namespace__()
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1 / (1 + small), small / (1 + small))


@_atom
def softplus(z: AnyArray) -> AnyArray:
    """log(1 + exp(z)), without overflow."""
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


@_atom
def erf(z: AnyArray) -> AnyArray:
    """The error function, to about 1e-15."""
    xp = z.__array_namespace__()
    size = xp.abs(z)
    body, scaled = _erf_parts(size)
    return xp.sign(z) * xp.where(size < 1, body, 1 - xp.exp(-size * size) * scaled)


@_atom
def ndtr(z: AnyArray) -> AnyArray:
    """The normal distribution function Φ, by SciPy's name; far below 0 to the rounding of z², as 1e-13 of itself."""
    xp = z.__array_namespace__()
    size = xp.abs(z) * math.sqrt(0.5)
    body, scaled = _erf_parts(size)
    tail = 0.5 * xp.where(size < 0.5, 1 - body, xp.exp(-0.5 * z * z) * scaled)
    return xp.where(z > 0, 1 - tail, tail)


def _erf_parts(size: AnyArray) -> tuple[AnyArray, AnyArray]:
    """erf(x) for x < 1, and exp(x^2) erfc(x), where x is at least 0."""
    near, far = _erf_series()
    body = size * _chebyshev(near, size.__array_namespace__().where(size < 1, 2 * size * size - 1, 0.0))
    return body, _chebyshev(far, 2 / (1 + size / 2) - 1)


@functools.cache
def _erf_series() -> tuple[list[float], list[float]]:
    """Chebyshev series of erf(x)/x in 2x^2 - 1 for x < 1, and of exp(x^2) erfc(x) in 2/(1 + x/2) - 1, from math.erf."""

    def near(u: Any) -> Any:
        x = np.sqrt((u + 1) / 2)
        return np.array([math.erf(v) / v for v in x])

    def far(t: Any) -> Any:
        x = 2 * (2 / (t + 1) - 1)
        # Beyond 5 the asymptotic series is exact to 1e-16; before, exp(x^2) does not overflow.
        return np.array([math.exp(v * v) * math.erfc(v) if v < 5 else _scaled_erfc(v) for v in x])

    return chebyshev.chebinterpolate(near, 16).tolist(), chebyshev.chebinterpolate(far, 32).tolist()


def _scaled_erfc(x: float) -> float:
    """exp(x^2) erfc(x) for large x, by its continued fraction."""
    fraction = 0.0
    for k in range(60, 0, -1):
        fraction = k / 2 / (x + fraction)
    return 1 / math.sqrt(math.pi) / (x + fraction)


def _chebyshev(series: list[float], t: AnyArray) -> AnyArray:
    """Clenshaw's recurrence."""
    last = before = 0 * t
    for coefficient in series[:0:-1]:
        last, before = 2 * t * last - before + coefficient, last
    return t * last - before + series[0]
