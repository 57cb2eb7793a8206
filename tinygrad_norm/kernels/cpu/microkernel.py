"""The innermost loop of matrix products, written in LLVM: all sums of a block of the result stay in registers.

Step by step it loads a vector for each column of the block and one for each row, and adds all their products. What a
vector is, the panel's and the rows' microkernel say: numbers of neighbouring columns, or of neighbouring terms.

Source: Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34, 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from tinygrad_norm.kernels.cpu.matrix import Matrix
from tinygrad_norm.kernels.cpu.numba_internals import cgutils

Block = dict[tuple[int, int], Any]
"""A value for each row and column."""
Load = Callable[[int, Any], Any]
"""The code that loads the vector of a row or of a column at a step."""


def sum_products(builder: Any, form: Any, shape: tuple[int, int], steps: Any, row: Load, column: Load) -> Block:
    """The code of the sums over the steps, each a vector of this form, for each row and column of a block."""
    totals = {(r, c): cgutils.alloca_once(builder, form) for r in range(shape[0]) for c in range(shape[1])}
    for total in totals.values():
        builder.store(ir.Constant(form, None), total)
    with cgutils.for_range(builder, steps) as loop:
        columns = [column(c, loop.index) for c in range(shape[1])]
        for r in range(shape[0]):
            a = row(r, loop.index)
            for c, b in enumerate(columns):
                product = builder.fmul(a, b, flags=("contract",))
                added = builder.fadd(product, builder.load(totals[r, c]), flags=("contract",))
                builder.store(added, totals[r, c])
    return {place: builder.load(total) for place, total in totals.items()}


def write(builder: Any, sums: Block, add: Any, out: Matrix) -> None:
    """The code that writes the sums to their places in `out`, or adds them there."""
    with builder.if_else(add) as (then, otherwise):
        with then:
            for place, total in sums.items():
                out.store(builder.fadd(total, out.load(total.type.as_pointer(), *place)), *place)
        with otherwise:
            for place, total in sums.items():
                out.store(total, *place)
