"""The product of a few rows with a matrix whose rows they are multiplied with, along memory: nothing is arranged first.

BLAS copies the matrix to panels, which pays where many rows meet them. Here each number of it is loaded once, and
meets the numbers of four rows; all sums stay in registers, a vector for each, in the loop of `microkernel.py`.

Blocking: 12 rows of the matrix, and 512 terms. Accuracy: each number of a vector is a sum of its own, in the dtype of
the arrays, and they are added up by halves. `python -m benchmarks --only convolutions` measures the constants again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import device, inline
from tinygrad_norm.kernels.cpu.matrix import Matrix, memory
from tinygrad_norm.kernels.cpu.microkernel import sum_products, write
from tinygrad_norm.kernels.cpu.numba_internals import cgutils
from tinygrad_norm.launch import Array

_ROWS = 4, 1
_COLUMNS = 3, 1
"""The rows of a and of b that meet at a time: the first where so many are left, else the last."""

_BYTES = 32
"""The length of a vector, each number of which is a sum of its own."""

_DEPTH = 512
"""The terms of a sum that are taken at a time."""

_BLOCK = 12
"""The rows of b that stay in the first cache, where 24 KB of it are, while all rows of a meet them."""


@device
def multiply_rows(a: Array, b: Array, add: bool, out: Array) -> None:
    """Write a bᵀ to `out`, or add it there. Rows are not empty, and their elements lie side by side."""
    (rows, columns), depth = out.shape, a.shape[1]
    for first in range(0, depth, _DEPTH):
        last, more = min(first + _DEPTH, depth), add or first > 0
        for start in range(0, columns, _BLOCK):
            stop, top = min(columns, start + _BLOCK), 0
            while top < rows:
                bottom, left = top + (_ROWS[0] if top + _ROWS[0] <= rows else _ROWS[1]), start
                while left < stop:
                    right = left + (_COLUMNS[0] if left + _COLUMNS[0] <= stop else _COLUMNS[1])
                    some = out[top:bottom, left:right]
                    _multiply_part(a[top:bottom, first:last], b[left:right, first:last], more, some)
                    left = right
                top = bottom


@inline
def _multiply_part(a: Array, b: Array, add: bool, out: Array) -> None:
    step = _BYTES // a.itemsize
    whole = a.shape[1] // step * step
    _multiply_vectors(a[:, :whole], b, add, out)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(whole, a.shape[1]):
                out[i, j] += a[i, k] * b[j, k]


@intrinsic
def _multiply_vectors(_: Any, a: Any, b: Any, add: Any, out: Any) -> tuple[Any, Callable[..., Any]]:
    """Write a bᵀ, or add it, for as many rows of both as meet at a time, and terms that are whole vectors."""
    return types.void(a, b, types.boolean, out), _blocks


def _blocks(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The code of each number of rows and columns, of which one is run; a column of a or b is a vector."""
    (a, b, add, out), (kind_a, kind_b, _, kind_out) = values, signature.args
    form = ir.VectorType(context.get_value_type(kind_a.dtype), _BYTES * 8 // kind_a.dtype.bitwidth)
    item, vector = (context.get_constant(types.intp, size) for size in (kind_a.dtype.bitwidth // 8, _BYTES))
    start, apart, (_, count) = memory(context, builder, kind_a, a)
    given, steps = Matrix(builder, start, apart, vector), builder.sdiv(count, count.type(form.count))
    start, apart, _ = memory(context, builder, kind_b, b)
    met = Matrix(builder, start, apart, vector)
    start, apart, (down, across) = memory(context, builder, kind_out, out)
    made, many = Matrix(builder, start, apart, item), form.as_pointer()
    for shape in product(_ROWS, _COLUMNS):
        fits = [builder.icmp_signed("==", n, n.type(size)) for n, size in zip((down, across), shape, strict=True)]
        with builder.if_then(builder.and_(*fits)):
            sums = sum_products(builder, form, shape, steps, partial(given.load, many), partial(met.load, many))
            write(builder, {place: _sum(builder, form, total) for place, total in sums.items()}, add, made)
    return context.get_dummy_value()


def _sum(builder: Any, form: Any, vector: Any) -> Any:
    """The sum of a vector's numbers, by halves."""
    kind = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}[form.element]
    name = f"llvm.vector.reduce.fadd.v{form.count}{kind}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(form.element, [form.element, form]), name)
    return builder.call(function, [ir.Constant(form.element, 0.0), vector], fastmath=("reassoc",))
