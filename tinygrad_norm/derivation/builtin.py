"""The norms of this package as definitions that derive: they are the functions of `definitions/normalization.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_norm import definitions


def normalize(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """Batch, layer, group and instance norm, which differ in the axes."""
    return definitions.normalize(x, weight, bias, axes, eps, None)


def rms_normalize(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-6) -> Any:
    """RMS norm."""
    return definitions.rms_normalize(x, weight, axes, eps, None)


_CENTRED = ("BatchNorm1D", "BatchNorm2D", "BatchNorm3D", "LayerNorm", "LayerNorm2D", "GroupNorm")
BUILT_IN: dict[str, Callable[..., Any]] = {
    **dict.fromkeys((*_CENTRED, "InstanceNorm1D", "InstanceNorm2D"), normalize),
    **dict.fromkeys(("RMSNorm", "RMSNorm2D"), rms_normalize),
}
"""By the name of the layer."""
