"""Definitions that stress the engine."""

from __future__ import annotations

from typing import Any

from tinygrad_norm.definitions import special
from tinygrad_norm.nn.norms import evonorm, switchable

evonorm_b0, switchable_norm = evonorm.evonorm_b0, switchable.switchable_norm  # over several sets of axes, as layers


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
