"""The norms of this package as definitions that derive: they are the functions of `definitions/normalization.py`."""

from __future__ import annotations

from typing import Any

from tinygrad_norm import definitions


def normalize(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """weight · (x - mean) / √(var + eps) + bias.

    Batch, layer, group and instance norm, which differ in the axes.
    """
    return definitions.normalize(x, weight, bias, axes, eps, None)


def rms_normalize(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-6) -> Any:
    """weight · x / √(mean(x²) + eps)."""
    return definitions.rms_normalize(x, weight, axes, eps, None)


def normalize_inference(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *, eps: Any = 1e-5) -> Any:
    """weight · (x - mean) / √(var + eps) + bias, with statistics that are given: batch and instance norm."""
    return (x - mean) * x.__array_namespace__().rsqrt(var + eps) * weight + bias
