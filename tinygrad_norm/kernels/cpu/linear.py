"""The linear layer: NumPy's matrix products; the bias costs no temporary, and its gradient is summed in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """X weightᵀ + bias."""
    y: Array = x @ weight.T
    if bias is not None:
        y += bias
    return y


def linear_gradient(
    dy: Array, x: Array, weight: Array, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `linear` that are needed."""
    rows = dy.reshape(-1, weight.shape[0])
    dx = dy @ weight if needs[0] else None
    dweight = rows.T @ x.reshape(-1, weight.shape[1]) if needs[1] else None
    return dx, dweight, rows.sum(axis=0, dtype=np.float64).astype(dy.dtype) if needs[2] else None
