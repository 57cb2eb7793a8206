"""Normalization: subtract the mean of the values that share it, divide by their deviation.

Normalization. The axes share a mean and a variance; weight and bias have the rank of x, with length 1 where they are
shared. One derivation serves batch, layer, group and instance norm: they differ in the axes alone. All of it is done
in float64, as a square may be beyond float32 and long sums lose digits; what comes out is rounded once. What is too
large, too small or too constant for float64 as well is measured in units of its own, a power of two for each group.
"""

from __future__ import annotations

from typing import Any

from tinygrad_norm.definitions.activation import Activation, activate, activation_gradient
from tinygrad_norm.definitions.ranges import are_ordinary, group_unit, moments, times_difference

Array = Any


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: tuple[int, ...], eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """x̂ = (x - mean) / √(var + eps), times weight, plus bias, activated.

    Returns:
        The output, and the mean and the biased variance over `axes`, kept as length 1, in float64.
    """
    xp = x.__array_namespace__()
    mean = xp.mean(xp.astype(x, xp.float64), axis=axes, keepdims=True)
    centred, own = x - mean, 1.0
    var = xp.mean(centred * centred, axis=axes, keepdims=True)
    if not are_ordinary(x, mean, var, eps):
        own = group_unit(x, axes, eps)
        mean, var, eps = moments(x, axes, own, eps)
        centred = x / own - mean
    y = activate(_affine(centred * (1 / xp.sqrt(var + eps)), weight, bias), activation)
    return _like(x, y), mean * own, var * own * own


def normalize_gradient(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    axes: tuple[int, ...],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize` with respect to x, weight and bias.

    With r = 1/√(var + eps), x̂ = (x - mean) r and g = weight · dy, means taken over `axes`:
    dx = r (g - mean(g) - x̂ mean(g x̂)); dweight = Σ dy x̂; dbias = Σ dy.
    Source: Ioffe and Szegedy 2015, section 3, with the three paths of x (itself, mean, variance) joined.
    """
    xp, own, like = x.__array_namespace__(), 1.0, x
    if not are_ordinary(x, mean, var, eps):
        own = group_unit(x, axes, eps)
        mean, var, eps = moments(x, axes, own, eps)
        x = x / own
    dy, rstd = xp.astype(dy, xp.float64), 1 / xp.sqrt(var + eps)
    normal = (x - mean) * rstd
    dy = activation_gradient(dy, _affine(normal, weight, bias), activation)
    g = dy if weight is None else dy * weight
    dx = rstd * (g - xp.mean(g, axis=axes, keepdims=True) - normal * xp.mean(g * normal, axis=axes, keepdims=True))
    return _like(like, dx / own), _sum_like(dy * normal, weight), _sum_like(dy, bias)


def normalize_inference(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> Array:
    """`normalize` with a given mean and variance: constants, through which no gradient goes."""
    xp = x.__array_namespace__()
    mean, var = xp.astype(mean, xp.float64), xp.astype(var, xp.float64)
    normal = times_difference(x, mean, 1 / xp.sqrt(var + eps))
    return _like(x, activate(_affine(normal, weight, bias), activation))


def normalize_inference_gradient(
    dy: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize_inference`: dx = weight · r · dy; dweight = Σ dy x̂; dbias = Σ dy."""
    xp = x.__array_namespace__()
    dy, mean, var = [xp.astype(array, xp.float64) for array in (dy, mean, var)]
    rstd = 1 / xp.sqrt(var + eps)
    normal = times_difference(x, mean, rstd)
    dy = activation_gradient(dy, _affine(normal, weight, bias), activation)
    dx = dy * rstd if weight is None else dy * rstd * weight
    return _like(x, dx), _sum_like(dy * normal, weight), _sum_like(dy, bias)


def rms_normalize(
    x: Array, weight: Array | None, axes: tuple[int, ...], eps: float, activation: Activation
) -> tuple[Array, Array]:
    """x / √(mean(x²) + eps), times weight, activated. Returns the output, and mean(x²) in float64.

    Source: Zhang and Sennrich 2019.
    """
    xp = x.__array_namespace__()
    wide, own = xp.astype(x, xp.float64), 1.0
    square = xp.mean(wide * wide, axis=axes, keepdims=True)
    if not are_ordinary(x, 0.0, square, eps):
        own = group_unit(x, axes, eps, centred=False)
        wide, eps = wide / own, eps / own / own
        square = xp.mean(wide * wide, axis=axes, keepdims=True)
    y = activate(_affine(wide * (1 / xp.sqrt(square + eps)), weight, None), activation)
    return _like(x, y), square * own * own


def rms_normalize_gradient(
    dy: Array,
    x: Array,
    weight: Array | None,
    square: Array,
    axes: tuple[int, ...],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None]:
    """Gradients of `rms_normalize`: with x̂ = r x, dx = r (g - x̂ mean(g x̂)); dweight = Σ dy x̂."""
    xp, own, like = x.__array_namespace__(), 1.0, x
    if not are_ordinary(x, 0.0, square, eps):
        own = group_unit(x, axes, eps, centred=False)
        x, eps = x / own, eps / own / own
        square = xp.mean(x * x, axis=axes, keepdims=True)
    dy, rstd = xp.astype(dy, xp.float64), 1 / xp.sqrt(square + eps)
    normal = x * rstd
    dy = activation_gradient(dy, _affine(normal, weight, None), activation)
    g = dy if weight is None else dy * weight
    dx = rstd * (g - normal * xp.mean(g * normal, axis=axes, keepdims=True))
    return _like(like, dx / own), _sum_like(dy * normal, weight)


def _affine(normal: Array, weight: Array | None, bias: Array | None) -> Array:
    y = normal if weight is None else normal * weight
    return y if bias is None else y + bias


def _like(like: Array, x: Array) -> Array:
    """x, rounded to the dtype of `like`."""
    return x.__array_namespace__().astype(x, like.dtype, copy=False)


def _sum_like(x: Array, like: Array | None) -> Array | None:
    """x summed over the axes where `like` has length 1, and rounded to its dtype."""
    if like is None:
        return None
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, like.shape, strict=True)) if m == 1 and n != 1)
    return _like(like, x.__array_namespace__().sum(x, axis=axes, keepdims=True) if axes else x)
