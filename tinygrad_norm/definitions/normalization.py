"""Normalization: subtract the mean of the values that share it, divide by their deviation, apply weight and bias.

Batch, layer, group and instance norm differ in the axes alone, whose values share a mean and a variance. Weight and
bias have the rank of x, with length 1 where they are shared. All is computed in float64, as a square may be beyond
float32 and long sums lose digits; what comes out is rounded once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tinygrad_norm.definitions.activation import Activation, activate, activation_gradient
from tinygrad_norm.definitions.special import rsqrt
from tinygrad_norm.dtypes import AnyArray, Shape


def normalize(
    x: AnyArray, weight: AnyArray | None, bias: AnyArray | None, axes: Shape, eps: float, activation: Activation
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """x̂ = (x - mean) / √(var + eps), times weight, plus bias, activated.

    Returns:
        The output, and the mean and the biased variance over `axes`, kept as length 1, in float64.
    """
    standard = _standardize(x, axes, eps)
    y = activate(_affine(standard.x, weight, bias), activation)
    return _like(x, y), standard.mean, standard.var


def normalize_gradient(
    dy: AnyArray,
    x: AnyArray,
    weight: AnyArray | None,
    bias: AnyArray | None,
    mean: AnyArray,
    var: AnyArray,
    axes: Shape,
    eps: float,
    activation: Activation,
) -> tuple[AnyArray, AnyArray | None, AnyArray | None]:
    """Gradients of `normalize` with respect to x, weight and bias.

    With r = 1/√(var + eps) and g = weight · dy, dx = r (g - mean(g) - x̂ mean(g x̂)), means taken over `axes`;
    dweight = Σ dy x̂; dbias = Σ dy. Mean and variance spare kernels a pass; here they are taken of x anew.
    Source: Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
    shift, 2015, section 3, with the three paths of x (itself, mean, variance) joined.
    """
    xp, standard = x.__array_namespace__(), _standardize(x, axes, eps)
    g, dweight, dbias = _affine_gradient(dy, standard, weight, bias, activation)
    mean_term = xp.mean(g, axis=axes, keepdims=True)
    variance_term = standard.x * xp.mean(g * standard.x, axis=axes, keepdims=True)
    dx = standard.rstd * (g - mean_term - variance_term) / standard.unit
    return _like(x, dx), dweight, dbias


def normalize_inference(
    x: AnyArray,
    mean: AnyArray,
    var: AnyArray,
    weight: AnyArray | None,
    bias: AnyArray | None,
    eps: float,
    activation: Activation,
) -> AnyArray:
    """`normalize` with a given mean and variance: constants, through which no gradient goes."""
    standard = _standardize_by(x, mean, var, eps)
    return _like(x, activate(_affine(standard.x, weight, bias), activation))


def normalize_inference_gradient(
    dy: AnyArray,
    x: AnyArray,
    mean: AnyArray,
    var: AnyArray,
    weight: AnyArray | None,
    bias: AnyArray | None,
    eps: float,
    activation: Activation,
) -> tuple[AnyArray, None, None, AnyArray | None, AnyArray | None]:
    """Gradients of `normalize_inference`, none for the statistics: dx = r g, the rest as in `normalize_gradient`."""
    standard = _standardize_by(x, mean, var, eps)
    g, dweight, dbias = _affine_gradient(dy, standard, weight, bias, activation)
    dx = standard.rstd * g
    return _like(x, dx), None, None, dweight, dbias


def rms_normalize(
    x: AnyArray, weight: AnyArray | None, axes: Shape, eps: float, activation: Activation
) -> tuple[AnyArray, AnyArray]:
    """x / √(mean(x²) + eps), times weight, activated. Returns the output, and mean(x²) in float64.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """
    standard = _standardize(x, axes, eps, centred=False)
    return _like(x, activate(_affine(standard.x, weight, None), activation)), standard.var


def rms_normalize_gradient(
    dy: AnyArray,
    x: AnyArray,
    weight: AnyArray | None,
    square: AnyArray,
    axes: Shape,
    eps: float,
    activation: Activation,
) -> tuple[AnyArray, AnyArray | None]:
    """Gradients of `rms_normalize`: as `normalize_gradient`, without the term of the mean."""
    xp, standard = x.__array_namespace__(), _standardize(x, axes, eps, centred=False)
    g, dweight, _ = _affine_gradient(dy, standard, weight, None, activation)
    variance_term = standard.x * xp.mean(g * standard.x, axis=axes, keepdims=True)
    dx = standard.rstd * (g - variance_term) / standard.unit
    return _like(x, dx), dweight


class _Standard(NamedTuple):
    """x̂, which has mean 0 and variance 1 but for eps; the mean and the variance of x; 1/√(var + eps), in a unit."""

    x: AnyArray
    mean: AnyArray
    var: AnyArray
    rstd: AnyArray
    unit: AnyArray | float = 1.0


def moved(running: AnyArray, statistic: AnyArray, momentum: float, factor: float = 1.0) -> AnyArray:
    """A running statistic [...] after one of a batch, [..., I, ...] of several: (1 − m) r + m f mean(s).

    Args:
        running: its dtype is the result's.
        statistic: of as many elements, or a multiple of them, over whose first axis the mean is taken.
        momentum: m, the weight of the new value.
        factor: f, n / (n − 1) to make a variance unbiased.
    """
    xp = running.__array_namespace__()
    own = xp.mean(xp.reshape(statistic, (-1, *running.shape)), axis=0) * factor
    return xp.astype((1 - momentum) * running + momentum * own, running.dtype)


def _standardize(x: AnyArray, axes: Shape, eps: float, centred: bool = True) -> _Standard:
    """x less its mean (0 unless `centred`), over the root of its mean square and eps."""
    xp, mean = x.__array_namespace__(), 0.0
    x, unit, eps = _in_own_unit(x, axes, eps, centred)
    if centred:
        mean = xp.mean(x, axis=axes, keepdims=True)
        x = x - mean
        x = x - xp.mean(x, axis=axes, keepdims=True)  # which is 0, but for the rounding of a large mean
    var = xp.mean(xp.square(x), axis=axes, keepdims=True)
    rstd = rsqrt(var + eps)
    if not isinstance(unit, float):
        mean, var = mean * unit, var * unit * unit
    return _Standard(x * rstd, mean, var, rstd, unit)


def _standardize_by(x: AnyArray, mean: AnyArray, var: AnyArray, eps: float) -> _Standard:
    """x less a given mean, over the root of a given variance and eps."""
    xp = x.__array_namespace__()
    mean, var = xp.astype(mean, xp.float64), xp.astype(var, xp.float64)
    rstd = rsqrt(var + eps)
    bare: AnyArray = getattr(mean, "raw", mean)
    if bare.__array_namespace__().all(abs(bare) < 1e290):
        return _Standard((x - mean) * rstd, mean, var, rstd)
    return _Standard((x / 2 - mean / 2) * (2 * rstd), mean, var, rstd)  # x - mean might leave the range of float64


def _in_own_unit(
    x: AnyArray, axes: Shape, eps: float, centred: bool
) -> tuple[AnyArray, AnyArray | float, AnyArray | float]:
    """x in float64; where squares or sums might leave its range, or vanish, in units of its own.

    Returns:
        x, the unit of each group (1 if none needs one; or the power of two, which rounds nothing, near its range, or
        its largest magnitude unless `centred`, and no less than √eps), and eps in the square of the unit.
    """
    xp = x.__array_namespace__()
    if x.dtype == xp.float32:
        return xp.astype(x, xp.float64), 1.0, eps
    bare: AnyArray = getattr(x, "raw", x)  # a tensor's array: a unit is a constant, and no part of what is drawn
    xp = bare.__array_namespace__()
    low, high = (extreme(bare, axis=axes, keepdims=True) for extreme in (xp.min, xp.max))
    largest = xp.maximum(xp.abs(low), xp.abs(high))
    size = xp.maximum(high / 2 - low / 2, largest * 2.0**-960) if centred else largest
    size = xp.clip(xp.where(xp.isfinite(size), size, 1.0), max(math.sqrt(eps), 2.0**-1000), 2.0**1000)
    exponent = xp.floor(xp.log(size) / math.log(2))
    if xp.max(xp.abs(exponent)) < 400 and xp.max(largest) < 2.0**900:
        return x, 1.0, eps
    unit = 2.0**exponent
    return x / unit, unit, eps / unit / unit


def _affine(normal: AnyArray, weight: AnyArray | None, bias: AnyArray | None) -> AnyArray:
    y = normal if weight is None else normal * weight
    return y if bias is None else y + bias


def _affine_gradient(
    dy: AnyArray, standard: _Standard, weight: AnyArray | None, bias: AnyArray | None, activation: Activation
) -> tuple[AnyArray, AnyArray | None, AnyArray | None]:
    """Gradients of weight times x̂, plus bias, activated: g, of x̂, in float64; dweight = Σ dy x̂; dbias = Σ dy."""
    xp = dy.__array_namespace__()
    dy = activation_gradient(xp.astype(dy, xp.float64, copy=False), _affine(standard.x, weight, bias), activation)
    g = dy if weight is None else dy * weight
    return g, _sum_like(dy * standard.x, weight), _sum_like(dy, bias)


def _sum_like(x: AnyArray, like: AnyArray | None) -> AnyArray | None:
    """x summed over the axes where `like` has length 1, and rounded to its dtype."""
    if like is None:
        return None
    xp = x.__array_namespace__()
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, like.shape, strict=True)) if m == 1 and n != 1)
    return _like(like, xp.sum(x, axis=axes, keepdims=True) if axes else x)


def _like(like: AnyArray, x: AnyArray) -> AnyArray:
    """x, rounded to the dtype of `like`."""
    return x.__array_namespace__().astype(x, like.dtype, copy=False)
