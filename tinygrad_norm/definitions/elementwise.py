"""Arithmetic of single elements."""

from __future__ import annotations

from typing import Any

Array = Any


def add(x: Array, y: Array) -> Array:
    """x + y."""
    return x + y


def multiply(x: Array, y: Array) -> Array:
    """x times y."""
    return x * y


def relu(x: Array) -> Array:
    """x where it is positive, else 0."""
    return x.__array_namespace__().maximum(x, 0)


def relu_gradient(dy: Array, y: Array) -> Array:
    """dy where y, the output of a ReLU, is not 0."""
    xp = y.__array_namespace__()
    return xp.where(y <= 0, xp.zeros_like(dy), dy)


def add_relu(x: Array, y: Array) -> Array:
    """ReLU of x + y."""
    return relu(x + y)


def scale_gradient(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """Gradients of x times factors with respect to both, where factors have length 1 along the axes that share them."""
    xp, added = x.__array_namespace__(), x.ndim - factors.ndim
    shared = tuple(i for i in range(x.ndim) if i < added or factors.shape[i - added] == 1)
    return dy * factors, xp.reshape(xp.sum(dy * x, axis=shared), factors.shape)
