"""Products of stacks of matrices, [G, M, K] times [G, K, N], and sums of rows: each thread takes a part of its own.

NumPy's BLAS has threads of its own, which spin for a while after a product and slow down the kernels that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import LARGE, Kernel, ProductKernel

Array = np.ndarray[Any, np.dtype[Any]]

_ROWS = 512
"""The most rows of a product that are a unit of work."""

_PARTS = 8
"""Into how many parts a long sum is cut, or else its result."""

_FEW = 128
"""With fewer rows than this, a product spends its time on arranging the other matrix."""

_WORK = 64
"""How many multiplications take as long as it takes another kernel to treat an element."""


def multiply(a: Array, b: Array, out: Array) -> None:
    """Write a b."""
    if a.shape[1] < min(_FEW, b.shape[2]):  # then it is b that the threads share
        out[:] = multiply_transposed(b, a.transpose(0, 2, 1)).transpose(0, 2, 1)
        return
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    made = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
    _multiply(a.size * b.shape[2] // _WORK, a, b, max(1, min(_ROWS, -(-a.shape[1] // 2))), made)
    if made is not out:
        out[:] = made


def multiply_transposed(a: Array, b: Array) -> Array:
    """Return aᵀ b, for a [G, K, M] and b [G, K, N]."""
    b = np.ascontiguousarray(b)
    (groups, depth, rows), columns = a.shape, b.shape[2]
    size = a.size * columns // _WORK
    out = np.empty((groups, rows, columns), a.dtype)
    if a.transpose(0, 2, 1).flags.c_contiguous:
        _multiply(size, a.transpose(0, 2, 1), b, max(1, min(_ROWS, -(-rows // _PARTS))), out)
    elif depth > _PARTS * max(rows, columns):
        parts = np.empty((_PARTS, groups, rows, columns), a.dtype)
        _sum_in_parts(size, np.ascontiguousarray(a), b, parts)
        parts.sum(axis=0, out=out)
    else:
        _multiply_transposed(size, np.ascontiguousarray(a), b, max(64, -(-rows // _PARTS)), out)
    return out


def sum_rows(x: Array) -> Array:
    """Return the sum of the rows of x [M, N], taken in float64."""
    x = np.ascontiguousarray(x)
    parts = np.zeros((1 if x.size < LARGE else 4 * _PARTS, x.shape[1]))
    _sum_rows(x.size, x, parts)
    return parts.sum(axis=0).astype(x.dtype)


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


@Kernel
def _sum_rows(x: Array, parts: Array) -> None:
    count = len(parts)
    for part in prange(count):
        for r in range(len(x) * part // count, len(x) * (part + 1) // count):
            for k in range(x.shape[1]):
                parts[part, k] += x[r, k]
