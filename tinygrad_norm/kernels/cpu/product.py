"""Products of stacks of matrices, [G, M, K] times [G, K, N], and sums of rows: each thread takes a part of its own.

NumPy's BLAS has threads of its own, which spin for a while after a product and slow down the kernels that follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu import blas, tile
from tinygrad_norm.kernels.cpu.compiler import LARGE, Kernel, ProductKernel, inline

Array = np.ndarray[Any, np.dtype[Any]]

_SIDE = 512
"""The most rows or columns of a result that are a unit of work."""

_PARTS = 8
"""Into how many parts a long sum is cut."""

_SMALL = 2**24
"""The multiplications of a product, up to which tiles are as fast as BLAS."""

_FEW = 4
"""With fewer rows than this, tiles are not full."""

_WORK = 4
"""How many multiplications take as long as it takes another kernel to treat an element."""


def multiply(a: Array, b: Array, out: Array, add: bool = False) -> None:
    """Write a b to `out`, or add it there, for stacks of matrices of any layout."""
    (groups, rows, depth), columns = a.shape, b.shape[2]
    (a, turned_a), (b, turned_b) = _by_rows(a), _by_rows(b)
    count = groups * rows * columns * depth
    size, made = count // _WORK, out if _in_rows(out) else np.ascontiguousarray(out)
    if depth > _PARTS * max(rows, columns) and size >= LARGE:
        parts = np.empty((_PARTS, *out.shape), out.dtype)
        _multiply_in_parts(size, a, turned_a, b, turned_b, parts)
        np.add(parts.sum(axis=0), made if add else 0, out=made)
    else:
        kernel = _multiply_small if count < groups * _SMALL and rows >= _FEW else _multiply
        kernel(size, a, turned_a, b, turned_b, *_unit(rows, columns, size), add, made)
    if made is not out:
        out[:] = made


def sum_rows(x: Array) -> Array:
    """Return the sum of the rows of x [M, N], taken in float64."""
    x = np.ascontiguousarray(x)
    parts = np.zeros((1 if x.size < LARGE else 4 * _PARTS, x.shape[1]))
    _sum_rows(x.size, x, parts)
    return parts.sum(axis=0).astype(x.dtype)


def _unit(rows: int, columns: int, size: int) -> tuple[int, int]:
    """How many rows and columns of the result are a unit of work: its longer side is cut in an even number of parts."""
    longer = max(rows, columns)
    parts = 1 if size < LARGE else 2 * -(-longer // (2 * _SIDE))
    part = max(1, -(-longer // parts))
    return (part, columns) if rows > columns else (rows, part)


def _by_rows(x: Array) -> tuple[Array, bool]:
    """Matrices whose elements lie side by side in each row, and whether they are the transposes of those given."""
    if _in_rows(x):
        return x, False
    turned = x.transpose(0, 2, 1)
    return (turned, True) if _in_rows(turned) else (np.ascontiguousarray(x), False)


def _in_rows(x: Array) -> bool:
    if x.flags.c_contiguous:
        return True
    _, between_rows, between_columns = x.strides
    whole = x.itemsize * x.shape[2]
    return between_columns == x.itemsize and between_rows >= whole and between_rows % x.itemsize == 0


@ProductKernel
def _multiply(
    a: Array, turned_a: bool, b: Array, turned_b: bool, rows: int, columns: int, add: bool, out: Array
) -> None:
    down, along = -(-out.shape[1] // rows), -(-out.shape[2] // columns)
    for unit in prange(len(out) * down * along):
        group, top, left = unit // (down * along), unit // along % down * rows, unit % along * columns
        some_a, some_b = _rows(a, group, turned_a, top, rows), _rows(b, group, not turned_b, left, columns)
        blas.multiply(some_a, turned_a, some_b, turned_b, add, out[group, top : top + rows, left : left + columns])


@Kernel
def _multiply_small(
    a: Array, turned_a: bool, b: Array, turned_b: bool, rows: int, columns: int, add: bool, out: Array
) -> None:
    down, along = -(-out.shape[1] // rows), -(-out.shape[2] // columns)
    for unit in prange(len(out) * down * along):
        group, top, left = unit // (down * along), unit // along % down * rows, unit % along * columns
        some_a, some_b = _rows(a, group, turned_a, top, rows), _rows(b, group, not turned_b, left, columns)
        tile.multiply(some_a, turned_a, some_b, turned_b, add, out[group, top : top + rows, left : left + columns])


@Kernel
def _multiply_in_parts(a: Array, turned_a: bool, b: Array, turned_b: bool, parts: Array) -> None:
    count, groups = parts.shape[:2]
    depth = a.shape[1] if turned_a else a.shape[2]
    for unit in prange(count * groups):
        part, group = unit // groups, unit % groups
        first, last = depth * part // count, depth * (part + 1) // count
        some_a = _rows(a, group, not turned_a, first, last - first)
        some_b = _rows(b, group, turned_b, first, last - first)
        tile.multiply(some_a, turned_a, some_b, turned_b, False, parts[part, group])


@inline
def _rows(x: Array, group: int, turned: bool, first: int, count: int) -> Array:
    """Some rows of a matrix of the stack, or of one that is turned, columns as they lie."""
    return x[group, :, first : first + count] if turned else x[group, first : first + count, :]


@Kernel
def _sum_rows(x: Array, parts: Array) -> None:
    count = len(parts)
    for part in prange(count):
        for r in range(len(x) * part // count, len(x) * (part + 1) // count):
            for k in range(x.shape[1]):
                parts[part, k] += x[r, k]
