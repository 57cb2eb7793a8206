"""The matrix product of BLAS for kernels: on parts of arrays, transposed or not, written or added, without a copy.

Numba's `np.dot` asks for arrays without gaps and allocates where it should add. This calls what it calls: SciPy's BLAS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.numba_internals import GEMM, cgutils

_KINDS = {types.float32: "s", types.float64: "d"}


@intrinsic
def gemm(
    _: Any, a: Any, transposed_a: Any, b: Any, transposed_b: Any, add: Any, out: Any
) -> tuple[Any, Callable[..., Any]]:
    """Write a b to `out`, or add it there; `transposed`, an array is taken for its transpose.

    The arrays have two axes and one dtype. Elements of a row lie side by side; rows may lie anywhere, in order.
    """
    signature = types.void(a, types.boolean, b, types.boolean, types.boolean, out)
    return signature, _call


def _call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    # To BLAS a matrix lies by columns, and so ours is its transpose: bᵀ aᵀ is what it writes as (a b)ᵀ.
    kinds, (a, transposed_a, b, transposed_b, add, out) = signature.args, values
    dtype = kinds[0].dtype
    word, size, pointer, char = (context.get_value_type(t) for t in (types.intc, types.intp, types.voidptr, types.char))
    real = context.get_value_type(dtype)

    def number(value: float) -> Any:
        return builder.bitcast(cgutils.alloca_once_value(builder, ir.Constant(real, value)), pointer)

    def matrix(kind: Any, value: Any) -> tuple[Any, Any, tuple[Any, Any]]:
        """Where the elements lie, how far rows are apart, and the shape."""
        array = context.make_array(kind)(context, builder, value)
        rows, columns = cgutils.unpack_tuple(builder, array.shape)
        leading = builder.sdiv(cgutils.unpack_tuple(builder, array.strides)[0], size(dtype.bitwidth // 8))
        for least in (columns, size(1)):  # of a single row, the distance may be anything
            leading = builder.select(builder.icmp_signed("<", leading, least), least, leading)
        return builder.bitcast(array.data, pointer), leading, (rows, columns)

    def order(transposed: Any) -> Any:
        return builder.select(transposed, char(ord("t")), char(ord("n")))

    a_data, lda, (a_rows, a_columns) = matrix(kinds[0], a)
    b_data, ldb, _ = matrix(kinds[2], b)
    out_data, ldc, (rows, columns) = matrix(kinds[5], out)
    depth = builder.select(transposed_a, a_rows, a_columns)
    beta = builder.select(add, number(1), number(0))
    parameters = [char, char, char, size, size, size, pointer, pointer, size, pointer, size, pointer, pointer, size]
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, parameters), GEMM)
    shape, factors = (columns, rows, depth), (b_data, ldb, a_data, lda)
    options = char(ord(_KINDS[dtype])), order(transposed_b), order(transposed_a)
    builder.call(function, [*options, *shape, number(1), *factors, beta, out_data, ldc])
    return context.get_dummy_value()
