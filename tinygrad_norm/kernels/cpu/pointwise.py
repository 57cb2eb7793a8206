"""The functions of definitions that Python has no operator for, of one element of a loop or of one statistic."""

from __future__ import annotations

from typing import Any

from tinygrad_norm.kernels.cpu import activation
from tinygrad_norm.kernels.cpu.compiler import inline, ordered


@ordered
def less(x: Any, high: Any, low: Any) -> Any:
    """x - (high + low), where high is near x, and low is what it lacks."""
    return (x - high) - low


@inline
def maximum(x: Any, y: Any) -> Any:
    """The larger one; NaN if one is."""
    return x if (x > y) | (x != x) else y


@inline
def minimum(x: Any, y: Any) -> Any:
    """The smaller one; NaN if one is."""
    return x if (x < y) | (x != x) else y


@inline
def sign(x: Any, real: Any) -> Any:
    """-1, 0 or 1."""
    return real(1) if x > 0 else real(-1) if x < 0 else x


@inline
def relu(x: Any, real: Any) -> Any:
    """x where it is positive, else 0."""
    return real(0) if x <= 0 else x


@inline
def sigmoid(x: Any, real: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return activation.sigmoid_at(x, x, real)[0]


@inline
def tanh(x: Any, real: Any) -> Any:
    """The hyperbolic tangent."""
    return activation.tanh_at(x, x, real)[0]


@inline
def softplus(x: Any, real: Any) -> Any:
    """log(1 + exp(x))."""
    return activation.softplus_at(x, x, real)[0]


@inline
def erf(x: Any, real: Any) -> Any:
    """The error function."""
    return activation.erf_at(x, x, real)[0]


@inline
def ndtr(x: Any, real: Any) -> Any:
    """The normal distribution function."""
    return activation.ndtr_at(x, x, real)[0]


@inline
def gated(x: Any, gate: Any, real: Any) -> Any:
    """x times a function of it that opens from 0 to 1; 0 at -∞."""
    return activation.finite(x, real)[0] * gate
