"""Orthogonal matrices as functions of any: products of reflections, the Cayley map, and the exponential.

All is computed in float64, of matrices (..., n, k) with n >= k; wider ones are transposed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import constant, launch, read
from tinygrad_norm.nn import init
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor

_TERMS = 15
"""Of the series of e^A for ‖A‖ <= 1/2: the next is 2^-16 / 16!, below the rounding of float64."""


class Solve(Op):
    """The x of a @ x = b, for matrices (..., n, n) and (..., n, k)."""

    def forward(self, a: Array, b: Array) -> Array:
        x: Array = np.linalg.solve(a, b)
        self.save(a, x)
        return x

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, x = self.saved
        db = Solve()(a.mT, grad)
        return -(db @ x.mT), db


def exponential(a: Tensor) -> Tensor:
    """Return e^A by its series, of A over so high a power of 2 that a few terms do, and as many squarings.

    Source: Moler and Van Loan, Nineteen dubious ways to compute the exponential of a matrix, twenty-five years later,
        2003, method 3.
    """
    read("the exponential, which takes as many steps as a matrix is large,")
    size = np.abs(a.raw).sum(axis=-1).max(initial=0)
    squarings = max(0, math.ceil(math.log2(2 * size))) if 0 < size < math.inf else 0
    step, identity = a * 2.0**-squarings, np.eye(a.shape[-1])
    y = step / _TERMS + identity
    for k in range(_TERMS - 1, 0, -1):
        y = step @ y / k + identity
    for _ in range(squarings):
        y = y @ y
    return y


def cayley(a: Tensor) -> Tensor:
    """Return (I - A/2)^-1 (I + A/2), which is orthogonal for A = -A^T, and has an inverse to take for any such A."""
    identity = constant(np.eye(a.shape[-1]))
    return Solve()(identity - a / 2, identity + a / 2)


def reflections(v: Tensor) -> Tensor:
    """Return the first k columns of H_1 ... H_k, with H_i = I - 2 v_i v_i^T / ‖v_i‖² for the columns of v (..., n, k).

    The product is I - V M^-1 V^T, where M is the upper triangle of V^T V, with half of its diagonal.

    Source: Puglisi, Modification of the Householder method based on the compact WY representation, 1992.
    """
    n, k = v.shape[-2:]
    inner = v.mT @ v
    m = inner * constant(np.triu(np.ones((k, k)), 1) + np.eye(k) / 2)
    return ops.subtract(constant(np.eye(n, k)), v @ Solve()(m, v.mT[..., :k]))


MAPS = {"matrix_exp": exponential, "cayley": cayley, "householder": reflections}


class Orthogonal(Module):
    """An orthogonal matrix, of the lower triangle of another: see `parametrizations.orthogonal`."""

    def __init__(self, orthogonal_map: str) -> None:
        super().__init__()
        self.orthogonal_map = orthogonal_map

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        tall = ops.astype(x.mT if wide else x, np.float64, copy=False)
        q = ops.astype(self.rotated(self.columns(tall)), x.dtype, copy=False)
        return q.mT if wide else q

    def columns(self, x: Tensor) -> Tensor:
        """Return orthonormal columns (..., n, k)."""
        n, k = x.shape[-2:]
        lower = x * constant(np.tril(np.ones((n, k)), -1))
        if self.orthogonal_map == "householder":
            return ops.multiply(reflections(lower + constant(np.eye(n, k))), launch(_signs, x.raw))
        square = lower if n == k else lower @ constant(np.eye(k, n))
        return MAPS[self.orthogonal_map](square - square.mT)[..., :k]

    def rotated(self, q: Tensor) -> Tensor:
        """Return the columns from where they are counted."""
        return q

    def extra_repr(self) -> str:
        return f"orthogonal_map={self.orthogonal_map!r}"


class Householder(Orthogonal):
    """Reflections, which are those of the QR decomposition of what is assigned."""

    def right_inverse(self, weight: Tensor) -> Tensor:
        wide = weight.shape[-2] < weight.shape[-1]
        packed, scales = np.linalg.qr(_finite(weight.mT if wide else weight), mode="raw")
        x = np.swapaxes(packed, -1, -2).copy()  # LAPACK's columns: R above, the vectors below
        places = np.arange(x.shape[-1])
        signs = np.where(x[..., places, places] < 0, -1.0, 1.0)
        x[..., places, places] = np.where(scales == 0, -signs, signs)  # no reflection, where `columns` has one of e_i
        return Tensor(np.swapaxes(x, -1, -2) if wide else x, dtype=weight.dtype)


class Trivialized(Orthogonal):
    """A rotation of the matrix that was assigned, the buffer `base` (..., n, n), from no rotation on.

    Source: Lezcano-Casado, Trivializations for gradient-based optimization on manifolds, 2019.
    """

    def __init__(self, orthogonal_map: str, weight: Tensor) -> None:
        super().__init__(orthogonal_map)
        *batch, rows, columns = weight.shape
        n = max(rows, columns)
        self.register_buffer("base", Tensor(np.broadcast_to(np.eye(n), (*batch, n, n)), dtype=weight.dtype))

    def rotated(self, q: Tensor) -> Tensor:
        return ops.matmul(launch(self.base.raw.astype, np.float64), q)

    def right_inverse(self, weight: Tensor) -> Tensor:
        rows, columns = weight.shape[-2:]
        q = _finite(weight.mT if rows < columns else weight)
        n, k = q.shape[-2:]
        others = init.normal_(Tensor(np.empty((*q.shape[:-1], n - k)))).raw
        self.base.raw = _orthonormal(np.concatenate([q, others], -1)).astype(self.base.dtype)
        return Tensor(np.broadcast_to(-np.eye(rows, columns), weight.shape), dtype=weight.dtype)


def _finite(weight: Tensor) -> Array:
    if not np.isfinite(weight.raw).all():
        raise ValueError("orthogonal: the weight is finite, got infinite values or NaN")
    return weight.raw.astype(np.float64)


def _orthonormal(a: Array) -> Any:
    """Return Q of A = QR with an R whose diagonal is not negative; of an orthogonal A it is A."""
    q, r = np.linalg.qr(a)
    return q * _signs(r)


def _signs(a: Array) -> Array:
    """The signs on the diagonal, 1 for 0, one for each column."""
    signs: Array = np.where(np.diagonal(a, axis1=-2, axis2=-1) < 0, -1.0, 1.0)[..., None, :]
    return signs
