"""Definitions that stress the engine."""

from __future__ import annotations

from typing import Any

from tinygrad_norm.definitions import special


def layer_norm(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    return (x - mean) / xp.sqrt(var + eps) * weight + bias


def batch_norm(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """Layer norm, with its statistics."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    return (x - mean) / xp.sqrt(var + eps) * weight + bias, mean, var


def grn(x: Any, gamma: Any, beta: Any, *, pixels: Any, channels: Any, eps: Any = 1e-6) -> Any:
    """Source: Woo et al., ConvNeXt V2, 2023; the root has an eps, so that it has a gradient at 0."""
    xp = x.__array_namespace__()
    energy = xp.sum(xp.square(x), axis=pixels, keepdims=True)
    size = xp.sqrt(energy + eps)
    level = xp.mean(size, axis=channels, keepdims=True)
    return gamma * (x * (size / (level + eps))) + beta + x


def batch_renorm(x: Any, running_mean: Any, running_var: Any, *, axes: Any, eps: Any, r_max: Any, d_max: Any) -> Any:
    """Source: Ioffe, Batch renormalization, 2017."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    deviation, running = xp.sqrt(var + eps), xp.sqrt(running_var + eps)
    r = xp.stop_gradient(xp.clip(deviation / running, 1 / r_max, r_max))
    d = xp.stop_gradient(xp.clip((mean - running_mean) / running, -d_max, d_max))
    return (x - mean) / deviation * r + d, mean, var


def linf_norm(x: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    top = xp.max(xp.abs(x), axis=axes, keepdims=True)
    return x / (top + eps)


def masked_norm(x: Any, mask: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    n = xp.sum(mask, axis=axes, keepdims=True)
    mean = xp.sum(x * mask, axis=axes, keepdims=True) / n
    var = xp.sum(mask * xp.square(x - mean), axis=axes, keepdims=True) / n
    return (x - mean) / xp.sqrt(var + eps), mean, var


def l1_norm(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    size = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    return weight * x / (size + eps)


def soft_norm(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """RMS norm with activations before and after it."""
    xp = x.__array_namespace__()
    size = xp.mean(xp.square(special.softplus(x)), axis=axes, keepdims=True)
    return special.gated(x / xp.sqrt(size + eps) * weight, special.sigmoid(x))


def fourth_moment_norm(x: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    spread = xp.mean((x - mean) ** 4, axis=axes, keepdims=True)
    return (x - mean) / (spread + eps) ** 0.25


def shifted_norm(x: Any, weight: Any, shift: Any, scale: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """A parameter within a statistic, and a sum in brackets: (x̂ + shift) scale."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    size = xp.mean(weight * xp.abs(x - mean), axis=axes, keepdims=True)
    return ((x - mean) / (size + eps) + shift) * scale


def one_pass_norm(x: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """The variance as a difference of statistics, which costs digits."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    square = xp.mean(x**2, axis=axes, keepdims=True)
    return xp.where(x == 0, mean, (x - mean) / xp.sqrt(square - mean**2 + eps))


def switchable_norm(
    x: Any,
    weight: Any,
    bias: Any,
    mean_in: Any,
    mean_ln: Any,
    mean_bn: Any,
    var_in: Any,
    var_ln: Any,
    var_bn: Any,
    *,
    pixels: Any,
    channels: Any,
    batch: Any,
    eps: Any = 1e-5,
) -> Any:
    """Three norms, mixed by weights. Source: Luo et al., Differentiable learning-to-normalize, 2018."""
    xp = x.__array_namespace__()
    mu_in = xp.mean(x, axis=pixels, keepdims=True)
    s_in = xp.mean(xp.square(x - mu_in), axis=pixels, keepdims=True)
    mu_ln = xp.mean(mu_in, axis=channels, keepdims=True)
    s_ln = xp.mean(s_in + xp.square(mu_in - mu_ln), axis=channels, keepdims=True)
    mu_bn = xp.mean(mu_in, axis=batch, keepdims=True)
    s_bn = xp.mean(s_in + xp.square(mu_in - mu_bn), axis=batch, keepdims=True)
    mean = mean_in * mu_in + mean_ln * mu_ln + mean_bn * mu_bn
    var = var_in * s_in + var_ln * s_ln + var_bn * s_bn
    return (x - mean) / xp.sqrt(var + eps) * weight + bias


def evonorm_b0(x: Any, v: Any, weight: Any, bias: Any, *, pixels: Any, batch: Any, eps: Any = 1e-5) -> Any:
    """Source: Liu et al., Evolving normalization-activation layers, 2020."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=(*batch, *pixels), keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=(*batch, *pixels), keepdims=True)
    centre = xp.mean(x, axis=pixels, keepdims=True)
    own = xp.mean(xp.square(x - centre), axis=pixels, keepdims=True)
    return x / xp.maximum(xp.sqrt(var + eps), v * x + xp.sqrt(own + eps)) * weight + bias, var
