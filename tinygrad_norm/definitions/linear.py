"""The linear layer, and the matrix product."""

from __future__ import annotations

import math

from tinygrad_norm.definitions.activation import Activation, activate, activation_gradient
from tinygrad_norm.dtypes import AnyArray


def matmul(x: AnyArray, y: AnyArray) -> AnyArray:
    """The product of the last two axes, broadcast over those before."""
    return x @ y


def linear(x: AnyArray, weight: AnyArray, bias: AnyArray | None, activation: Activation) -> AnyArray:
    """x weightᵀ + bias, activated."""
    y = x @ weight.mT
    return activate(y if bias is None else y + bias, activation)


def linear_gradient(
    dy: AnyArray, x: AnyArray, weight: AnyArray, bias: AnyArray | None, activation: Activation, needs: tuple[bool, ...]
) -> tuple[AnyArray | None, AnyArray | None, AnyArray | None]:
    """Gradients of `linear` that are needed: dx = dz weight; dweight = dzᵀ x; dbias = Σ dz.

    dz is the gradient of what is activated.
    """
    xp = x.__array_namespace__()
    if activation is not None:
        dy = activation_gradient(dy, linear(x, weight, bias, None), activation)
    count = math.prod(dy.shape[:-1])
    rows = xp.reshape(dy, (count, weight.shape[0]))
    dx = dy @ weight if needs[0] else None
    dweight = rows.mT @ xp.reshape(x, (count, weight.shape[1])) if needs[1] else None
    return dx, dweight, xp.sum(rows, axis=0) if needs[2] else None
