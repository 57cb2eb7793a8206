"""Products of stacks of matrices, [G, M, K] times [G, K, N], and sums of rows: each thread takes a part of its own.

A part is multiplied by BLAS; by panels, where sums are short or very long; or row by row, where rows are few.
NumPy's BLAS has threads of its own, which spin for a while after a product and slow down the kernels that follow.

Source: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008.

Layout: any; a matrix whose elements lie side by side neither in rows nor in columns is copied. Blocking: the longer
side of a result is cut, and a sum much longer than both sides. Accuracy: sums are taken in the arrays' own dtype, those
of `sum_rows` in float64. `python -m benchmarks --only convolutions` measures the constants again.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu import blas, panel_microkernel, row_microkernel
from tinygrad_norm.kernels.cpu.compiler import LARGE, GemmKernel, Kernel, device
from tinygrad_norm.launch import Array, empty, launch

_SIDE = 512
"""The most rows or columns of a result that are a unit of work."""

_PARTS = 8
"""Into how many parts a long sum is cut."""

_WORK = 16
"""How many multiplications take as long as it takes another kernel to treat an element."""

FEW = 64
"""The most rows for which it is not worth arranging the other matrix."""

_COLUMNS = 24
"""The columns that are a unit of work then."""

_SHORT = 48
"""The terms of the longest sums that BLAS takes longer to prepare than to add up: panels do."""

_SHORT_WORK = 2**14
"""The least work, in elements of another kernel, for which they do; their kernel has to be compiled."""


def gemm(a: Array, b: Array, out: Array, add: bool = False) -> None:
    """Write a b to `out`, or add it there, for stacks of matrices of any layout."""
    (groups, rows, depth), columns = a.shape, b.shape[2]
    (a, transposed_a), (b, transposed_b) = _by_rows(a), _by_rows(b)
    size, made = groups * rows * columns * depth // _WORK, out if _in_rows(out) else launch(np.ascontiguousarray, out)
    given = a, transposed_a, b, transposed_b
    if rows <= FEW and transposed_b and not transposed_a:
        launch(_multiply_few, max(size, b.size), a, b, add, made)
    elif depth > _PARTS * max(rows, columns) and size >= LARGE:
        parts = empty((_PARTS, *out.shape), out.dtype)
        launch(_multiply_by_panels, size, *given, rows, columns, False, parts)
        launch(_sum_parts, parts, add, made)
    elif depth <= _SHORT and size >= _SHORT_WORK:
        launch(_multiply_by_panels, size, *given, *_unit(rows, columns, size), add, made[np.newaxis])
    else:
        launch(_multiply, size, *given, *_unit(rows, columns, size), add, made[np.newaxis])
    if made is not out:
        launch(np.copyto, out, made)


def _sum_parts(parts: Array, add: bool, out: Array) -> None:
    """Write the sums over the first axis of `parts` to `out`, or add them there."""
    total = parts.sum(axis=0)
    np.copyto(out, total + out if add else total, casting="same_kind")


def sum_rows(x: Array) -> Array:
    """Return the sum of the rows of x [M, N], taken in float64."""
    x = launch(np.ascontiguousarray, x)
    parts = launch(np.zeros, (1 if x.size < LARGE else 4 * _PARTS, x.shape[1]), np.dtype(np.float64))
    total = empty(x.shape[1:], x.dtype)
    launch(_sum_rows, x.size, x, parts)
    launch(_join_sums, parts.size, parts, total)
    return total


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
    transposed = x.transpose(0, 2, 1)
    return (transposed, True) if _in_rows(transposed) else (launch(np.ascontiguousarray, x), False)


def _in_rows(x: Array) -> bool:
    if x.flags.c_contiguous:
        return True
    _, between_rows, between_columns = x.strides
    whole = x.itemsize * x.shape[2]
    return between_columns == x.itemsize and between_rows >= whole and between_rows % x.itemsize == 0


@Kernel
def _multiply_few(a: Array, b: Array, add: bool, out: Array) -> None:
    along = -(-out.shape[2] // _COLUMNS)
    for unit in prange(len(out) * along):
        group, left = unit // along, unit % along * _COLUMNS
        row_microkernel.multiply_rows(
            a[group], b[group, left : left + _COLUMNS], add, out[group, :, left : left + _COLUMNS]
        )


@GemmKernel
def _multiply(
    a: Array, transposed_a: bool, b: Array, transposed_b: bool, rows: int, columns: int, add: bool, parts: Array
) -> None:
    """Write to parts, [P, G, M, N], or add there, the product of each of P parts of the terms."""
    for unit in prange(_units(parts, rows, columns)):
        some_a, some_b, some = _unit_of(np.intp(unit), a, transposed_a, b, transposed_b, rows, columns, parts)
        blas.gemm(some_a, transposed_a, some_b, transposed_b, add, some)


@Kernel
def _multiply_by_panels(
    a: Array, transposed_a: bool, b: Array, transposed_b: bool, rows: int, columns: int, add: bool, parts: Array
) -> None:
    for unit in prange(_units(parts, rows, columns)):
        some_a, some_b, some = _unit_of(np.intp(unit), a, transposed_a, b, transposed_b, rows, columns, parts)
        panel_microkernel.multiply_panels(some_a, transposed_a, some_b, transposed_b, add, some)


# What a unit of work takes is told in functions of their own: they are compiled once for both forms of a kernel, if the
# number of the unit is of one type; in the parallel form it has no sign.


@device
def _units(parts: Array, rows: int, columns: int) -> int:
    return parts.shape[0] * parts.shape[1] * -(-parts.shape[2] // rows) * -(-parts.shape[3] // columns)


@device
def _unit_of(
    unit: int, a: Array, transposed_a: bool, b: Array, transposed_b: bool, rows: int, columns: int, parts: Array
) -> tuple[Array, Array, Array]:
    """The rows of a, the columns of b and the part of the result that are a unit of work."""
    (count, groups), depth = parts.shape[:2], a.shape[1] if transposed_a else a.shape[2]
    down, along = -(-parts.shape[2] // rows), -(-parts.shape[3] // columns)
    part, group = unit // (groups * down * along), unit // (down * along) % groups
    top, left = unit // along % down * rows, unit % along * columns
    first, last = depth * part // count, depth * (part + 1) // count
    some_a, some_b = _rows(a, group, transposed_a, top, rows), _rows(b, group, not transposed_b, left, columns)
    some_a = some_a[first:last, :] if transposed_a else some_a[:, first:last]
    some_b = some_b[:, first:last] if transposed_b else some_b[first:last, :]
    return some_a, some_b, parts[part, group, top : top + rows, left : left + columns]


@device
def _rows(x: Array, group: int, transposed: bool, first: int, count: int) -> Array:
    """Some rows of a matrix of the stack, or of one that is transposed, columns as they lie."""
    return x[group, :, first : first + count] if transposed else x[group, first : first + count, :]


@Kernel
def _sum_rows(x: Array, parts: Array) -> None:
    count = len(parts)
    for part in prange(count):
        for r in range(len(x) * part // count, len(x) * (part + 1) // count):
            for k in range(x.shape[1]):
                parts[part, k] += x[r, k]


@Kernel
def _join_sums(parts: Array, total: Array) -> None:
    for k in prange(len(total)):
        joined = 0.0
        for part in range(len(parts)):
            joined += parts[part, k]
        total[k] = joined
