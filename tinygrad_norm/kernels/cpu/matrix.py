"""Matrices in memory, for kernels whose innermost loops are written in LLVM."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from tinygrad_norm.kernels.cpu.numba_internals import cgutils


class Matrix:
    """Where the elements of a matrix lie: so many bytes from each row to the next, and from each column."""

    def __init__(self, builder: Any, start: Any, by_row: Any, by_column: Any) -> None:
        self._builder, self._start, self._by_row, self._by_column = builder, start, by_row, by_column

    def load(self, pointer: Any, row: Any, column: Any) -> Any:
        """What lies there, a number or a vector."""
        return self._builder.load(self._builder.bitcast(self._place(row, column), pointer), align=4)

    def store(self, value: Any, row: Any, column: Any) -> None:
        """Write it there."""
        self._builder.store(value, self._builder.bitcast(self._place(row, column), value.type.as_pointer()), align=4)

    def fetch(self, row: Any, column: Any) -> None:
        """Have the cache get what lies there, to be written; where nothing does, nothing happens."""
        hint = ir.IntType(32)
        place = self._place(row, column)
        kind = ir.FunctionType(ir.VoidType(), [place.type, hint, hint, hint])
        function = cgutils.get_or_insert_function(self._builder.module, kind, "llvm.prefetch.p0")
        self._builder.call(function, [place, hint(1), hint(3), hint(1)])

    def _place(self, row: Any, column: Any) -> Any:
        row, column = (self._by_row.type(n) if isinstance(n, int) else n for n in (row, column))
        far = self._builder.add(self._builder.mul(row, self._by_row), self._builder.mul(column, self._by_column))
        return self._builder.gep(self._start, [far])


def memory(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, Any, Any]:
    """Where an array of two axes begins, how many bytes its rows are apart, and its shape."""
    array = context.make_array(kind)(context, builder, value)
    apart, shape = (cgutils.unpack_tuple(builder, lengths) for lengths in (array.strides, array.shape))
    return builder.bitcast(array.data, ir.IntType(8).as_pointer()), apart[0], shape
