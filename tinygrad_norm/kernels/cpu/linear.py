"""The linear layer: one product of all rows; bias and activation cost no temporary, and dbias is summed in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm.kernels.cpu.activation import activation_gradient, finish
from tinygrad_norm.kernels.cpu.product import multiply, sum_rows
from tinygrad_norm.kernels.reference import Activation

Array = np.ndarray[Any, np.dtype[Any]]


def linear(x: Array, weight: Array, bias: Array | None, activation: Activation) -> Array:
    """X weightᵀ + bias, activated."""
    y = _product(_rows(x), weight.T)
    finish(y, bias, activation)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(weight))


def linear_gradient(
    dy: Array, x: Array, weight: Array, bias: Array | None, activation: Activation, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `linear` that are needed."""
    if activation is not None:
        dy = activation_gradient(dy, linear(x, weight, bias, None), activation)
    rows = _rows(dy)
    dx = _product(rows, weight).reshape(x.shape) if needs[0] else None
    dweight = _product(rows.T, _rows(x)) if needs[1] else None
    return dx, dweight, sum_rows(rows) if needs[2] else None


def _rows(x: Array) -> Array:
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _product(a: Array, b: Array) -> Array:
    out = np.empty((len(a), b.shape[1]), a.dtype)
    multiply(a[np.newaxis], b[np.newaxis], out[np.newaxis])
    return out
