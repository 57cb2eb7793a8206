"""Matrix products. The linear layer is one product of all rows; its bias and activation cost no temporary array.

Layout: any; a weight [O, I] is read as it lies. Blocking: as in `gemm.py`. Accuracy: sums are taken in the arrays' own
dtype, but for dbias, which is summed in float64.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.kernels.cpu.activation import activation_gradient, finish
from tinygrad_norm.kernels.cpu.gemm import gemm, sum_rows
from tinygrad_norm.launch import Array, empty, launch

_THREADED = 2**18
"""The multiplications of a product from which OpenBLAS, which NumPy calls, shares them out and waits for its threads.

With one of two cores busy, 256³ took NumPy 31 ms and `gemm` 0.6.
"""


def matmul(x: Array, y: Array) -> Array:
    """The product of the last two axes of x [..., M, K] and y [..., K, N], broadcast over those before.

    Stacks that stretch each other are left to NumPy: for `gemm` they would have to be copied at full length.
    """
    stack = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    (rows, depth), columns = x.shape[-2:], y.shape[-1]
    alike = x.ndim == 2 or y.ndim == 2 or x.shape[:-2] == y.shape[:-2]
    if not alike or x.dtype != y.dtype or math.prod(stack) * rows * depth * columns <= _THREADED:
        return launch(np.matmul, x, y)
    if y.ndim == 2:
        return _product(_rows(x), y).reshape(*stack, rows, columns)
    out = empty((math.prod(stack), rows, columns), x.dtype)
    a, b = (launch((np.broadcast_to(z, (*stack, *z.shape[-2:]))).reshape, (len(out), *z.shape[-2:])) for z in (x, y))
    gemm(a, b, out)
    return out.reshape(*stack, rows, columns)


def linear(x: Array, weight: Array, bias: Array | None, activation: Activation) -> Array:
    """Return x weightᵀ + bias, activated."""
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
    return x if x.ndim == 2 else launch(x.reshape, (math.prod(x.shape[:-1]), x.shape[-1]))


def _product(a: Array, b: Array) -> Array:
    out = empty((len(a), b.shape[1]), a.dtype)
    gemm(a[np.newaxis], b[np.newaxis], out[np.newaxis])
    return out
