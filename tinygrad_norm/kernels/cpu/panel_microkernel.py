"""The matrix product of thin matrices, with which BLAS takes longer to arrange than to multiply.

A block of the result, six rows of a vector, stays in registers while it walks along the sum, in the loop of
`microkernel.py`. The columns of b that it meets are a panel, copied so that they lie side by side in the cache; a is
read where it lies.

Source: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008; with a not packed.

Accuracy: sums are taken in the arrays' own dtype, term after term. `python -m benchmarks --only convolutions` measures
the constants again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import device, inline
from tinygrad_norm.kernels.cpu.matrix import Matrix, memory
from tinygrad_norm.kernels.cpu.microkernel import sum_products, write
from tinygrad_norm.kernels.cpu.vector import Vector, length
from tinygrad_norm.launch import Array

_HEIGHTS = 6, 4, 1
"""The rows of a block: as many as are left, or the most below that."""

_DEPTH = 256
"""The terms of a sum that are taken at a time: a panel is 16 KB then."""

_TERMS = 1024
"""Those of all panels that are made at a time, 64 KB."""


@device
def multiply_panels(a: Array, transposed_a: bool, b: Array, transposed_b: bool, add: bool, out: Array) -> None:
    """Write a b to `out`, or add it there; `transposed`, an array is taken for its transpose. As `blas.gemm`."""
    rows, columns = out.shape
    depth, width = a.shape[0] if transposed_a else a.shape[1], length(a)
    terms, edge = min(depth, _DEPTH), np.empty((_HEIGHTS[0], width), a.dtype)
    across = min(-(-columns // width), max(1, _TERMS // max(terms, 1)))
    panels = np.empty((across, terms, width), a.dtype)
    if depth == 0 and not add:
        out[:] = 0
    for first in range(0, depth, _DEPTH):
        count, more = min(_DEPTH, depth - first), add or first > 0
        for start in range(0, columns, across * width):
            stop = min(columns, start + across * width)
            for left in range(start, stop, width):
                _fill(panels[(left - start) // width], b, transposed_b, first, count, left)
            top = 0
            while top < rows:
                height, last = _height(rows - top), first + count
                bottom = top + height
                some = a[first:last, top:bottom] if transposed_a else a[top:bottom, first:last]
                for left in range(start, stop, width):
                    panel, whole = panels[(left - start) // width, :count], left + width <= columns
                    to = out[top:bottom, left : left + width] if whole else edge[:height]
                    _multiply_panel(some, transposed_a, panel, more and whole, to)
                    if not whole:
                        for i in range(height):
                            for j in range(columns - left):
                                before = out[top + i, left + j] if more else a.dtype.type(0)
                                out[top + i, left + j] = before + edge[i, j]
                top = bottom


@inline
def _height(left: int) -> int:
    for height in _HEIGHTS:
        if height <= left:
            return height
    return 0


@inline
def _fill(panel: Array, b: Array, transposed: bool, first: int, count: int, left: int) -> None:
    """Copy the columns from `left` on, and zeros for those that b does not have."""
    taken = min(panel.shape[1], (b.shape[0] if transposed else b.shape[1]) - left)
    if transposed:
        for j in range(taken):
            for k in range(count):
                panel[k, j] = b[left + j, first + k]
    else:
        for k in range(count):
            for j in range(taken):
                panel[k, j] = b[first + k, left + j]
    for k in range(count):
        for j in range(taken, panel.shape[1]):
            panel[k, j] = 0


@intrinsic
def _multiply_panel(_: Any, a: Any, transposed: Any, panel: Any, add: Any, out: Any) -> tuple[Any, Callable[..., Any]]:
    """Write to `out` as many rows of a, or add there, times the panel."""
    return types.void(a, types.boolean, panel, types.boolean, out), _microkernels


def _microkernels(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The code of each height, of which one is run."""
    (a, transposed, panel, add, out), (kind_a, _, kind_panel, _, kind_out) = values, signature.args
    item = context.get_constant(types.intp, kind_a.dtype.bitwidth // 8)
    start, apart, _ = memory(context, builder, kind_a, a)
    rows = Matrix(builder, start, builder.select(transposed, item, apart), builder.select(transposed, apart, item))
    start, apart, (count, _) = memory(context, builder, kind_panel, panel)
    columns = Matrix(builder, start, apart, item)
    start, apart, (height, _) = memory(context, builder, kind_out, out)
    results = Matrix(builder, start, apart, item)
    form = context.get_value_type(Vector(kind_a.dtype))
    for number in _HEIGHTS:
        with builder.if_then(builder.icmp_signed("==", height, height.type(number))):
            _microkernel(builder, form, number, rows, columns, count, add, results)
    return context.get_dummy_value()


def _microkernel(
    builder: Any, form: Any, height: int, rows: Matrix, columns: Matrix, count: Any, add: Any, out: Matrix
) -> None:
    """The code of one block, for vectors of this form."""

    def row(r: int, k: Any) -> Any:
        return _spread(builder, rows.load(form.element.as_pointer(), r, k), form)

    for r in range(height, 2 * height):
        out.fetch(r, 0)  # those of the next block, which memory sends meanwhile
    sums = sum_products(builder, form, (height, 1), count, row, lambda _, k: columns.load(form.as_pointer(), k, 0))
    write(builder, sums, add, out)


def _spread(builder: Any, value: Any, form: Any) -> Any:
    """A vector of equal numbers."""
    index = ir.IntType(32)
    one = builder.insert_element(ir.Constant(form, ir.Undefined), value, index(0))
    first = ir.Constant(ir.VectorType(index, form.count), None)
    return builder.shuffle_vector(one, ir.Constant(form, ir.Undefined), first)
