"""Arithmetic of single elements."""

from __future__ import annotations

from tinygrad_norm.definitions.special import relu
from tinygrad_norm.dtypes import AnyArray


def add(x: AnyArray, y: AnyArray) -> AnyArray:
    """x + y."""
    return x + y


def multiply(x: AnyArray, y: AnyArray) -> AnyArray:
    """x times y."""
    return x * y


def relu_gradient(dy: AnyArray, y: AnyArray) -> AnyArray:
    """dy where y, the output of a ReLU, is not 0."""
    xp = y.__array_namespace__()
    return xp.where(y <= 0, 0.0, dy)


def add_relu(x: AnyArray, y: AnyArray) -> AnyArray:
    """ReLU of x + y."""
    return relu(x + y)


def scale_gradient(dy: AnyArray, x: AnyArray, factors: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Gradients of x times factors with respect to both, where factors have length 1 along the axes that share them."""
    xp, added = x.__array_namespace__(), x.ndim - factors.ndim
    shared = tuple(i for i in range(x.ndim) if i < added or factors.shape[i - added] == 1)
    return dy * factors, xp.reshape(xp.sum(dy * x, axis=shared), factors.shape)
