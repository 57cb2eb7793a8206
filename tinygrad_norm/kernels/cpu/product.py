"""Products of stacks of matrices, [G, M, K] times [G, K, N]: each thread takes a part, and multiplies it by itself.

NumPy's BLAS has threads of its own, which spin for a while after a product and slow down the kernels that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import ProductKernel

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS = 512
"""The most rows of a product that are a unit of work."""

_PARTS = 8
"""Into how many parts a long sum is cut, or else its result."""

_WORK = 64
"""How many multiplications take as long as it takes another kernel to treat an element."""


def multiply(a: Array, b: Array, out: Array) -> None:
    """Write a b."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    made = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
    _multiply(a.size * b.shape[2] // _WORK, a, b, max(1, min(_ROWS, -(-a.shape[1] // 2))), made)
    if made is not out:
        out[:] = made


def multiply_transposed(a: Array, b: Array) -> Array:
    """Return aᵀ b, for a [G, K, M] and b [G, K, N]."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    (groups, depth, rows), columns = a.shape, b.shape[2]
    size = a.size * columns // _WORK
    if depth > _PARTS * max(rows, columns):
        parts = np.empty((_PARTS, groups, rows, columns), a.dtype)
        _sum_in_parts(size, a, b, parts)
        return parts.sum(axis=0)
    out = np.empty((groups, rows, columns), a.dtype)
    _multiply_transposed(size, a, b, max(64, -(-rows // _PARTS)), out)
    return out


@ProductKernel
def _multiply(a: Array, b: Array, rows: int, out: Array) -> None:
    units = -(-a.shape[1] // rows)
    for unit in prange(len(a) * units):
        group, first = unit // units, unit % units * rows
        np.dot(a[group, first : first + rows], b[group], out[group, first : first + rows])


@ProductKernel
def _sum_in_parts(a: Array, b: Array, parts: Array) -> None:
    count, groups, depth = len(parts), len(a), a.shape[1]
    for unit in prange(count * groups):
        part, group = unit // groups, unit % groups
        first, last = depth * part // count, depth * (part + 1) // count
        np.dot(a[group, first:last].T, b[group, first:last], parts[part, group])


@ProductKernel
def _multiply_transposed(a: Array, b: Array, rows: int, out: Array) -> None:
    units = -(-a.shape[2] // rows)
    for unit in prange(len(a) * units):
        group, first = unit // units, unit % units * rows
        some = np.ascontiguousarray(a[group, :, first : first + rows])
        np.dot(some.T, b[group], out[group, first : first + rows])
