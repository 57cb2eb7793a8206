"""Where the elements of a matrix lie, to loops that are written in LLVM."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.matrix import Matrix, memory

VECTOR = 4


def matrix(context, builder, kind, value, transposed=False):
    """An array of two axes."""
    start, apart, shape = memory(context, builder, kind, value)
    item = context.get_constant(types.intp, kind.dtype.bitwidth // 8)
    return Matrix(builder, start, *((item, apart) if transposed else (apart, item))), shape


@intrinsic
def move(_, x, row, column, out):
    """Write a number of x to the mirrored place of `out`, and four numbers of x's last row to its first row."""

    def code(context, builder, signature, values):
        number = context.get_value_type(x.dtype)
        given, (rows, _) = matrix(context, builder, x, values[0])
        made, _ = matrix(context, builder, out, values[3], transposed=True)
        made.fetch(values[1], values[2])
        made.store(given.load(number.as_pointer(), values[1], values[2]), values[1], values[2])
        several = given.load(ir.VectorType(number, VECTOR).as_pointer(), builder.sub(rows, rows.type(1)), 0)
        given.store(several, 0, 0)
        return context.get_dummy_value()

    return types.void(x, types.intp, types.intp, out), code


@intrinsic
def shape_and_distance(_, x):
    """The shape of an array, and how many bytes its rows are apart."""

    def code(context, builder, signature, values):
        _, apart, shape = memory(context, builder, x, values[0])
        return context.make_tuple(builder, signature.return_type, [*shape, apart])

    return types.UniTuple(types.intp, 3)(x), code


@numba.njit
def run(x, row, column, out):
    move(x, row, column, out)


@numba.njit
def look(x):
    return shape_and_distance(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_and_a_vector_are_read_and_written_where_they_lie(dtype):
    whole = np.arange(42, dtype=dtype).reshape(6, 7)
    x, out = whole[1::2, 1:6], np.zeros((8, 9), dtype)[:5, 2:5]  # rows with gaps
    before = whole.copy()
    run(x, 1, 3, out)
    expected = np.zeros((5, 3), dtype)
    expected[3, 1] = before[3, 4]
    np.testing.assert_array_equal(out, expected)
    before[1, 1:5] = before[5, 1:5]
    np.testing.assert_array_equal(whole, before)


def test_an_array_tells_its_shape_and_how_far_its_rows_are_apart():
    x = np.zeros((6, 7))
    assert look(x[1::2, 1:6]) == (3, 5, 2 * 7 * 8)
    assert look(x[::-1, :2]) == (6, 2, -7 * 8)


def test_memory_that_will_be_written_is_asked_for():
    x = np.ones((2, 5))[:, :4]
    run(x, 0, 0, np.zeros((4, 4))[:3, :3])
    (text,) = {code for types_, code in run.inspect_llvm().items() if types_[0].dtype == types.float64}
    assert "llvm.prefetch" in text
    run(x, 1, 0, np.zeros((4, 4))[:3, :3])
