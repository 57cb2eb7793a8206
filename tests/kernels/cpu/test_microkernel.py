"""The innermost loop of matrix products, for blocks of any shape, of numbers and of vectors."""

from __future__ import annotations

from functools import partial

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.matrix import Matrix, memory
from tinygrad_norm.kernels.cpu.microkernel import sum_products, write

VECTOR = 2


def multiplies(shape, vector):
    """A function that writes a bᵀ to `out` for that many rows of both, or adds it; of `vector` columns of a and b."""

    @intrinsic
    def multiply(_, a, b, steps, add, out):
        def code(context, builder, signature, values):
            number = context.get_value_type(a.dtype)
            form = ir.VectorType(number, VECTOR) if vector else number
            item = context.get_constant(types.intp, a.dtype.bitwidth // 8)
            step = context.get_constant(types.intp, a.dtype.bitwidth // 8 * (VECTOR if vector else 1))
            one, other, made = (
                Matrix(builder, *memory(context, builder, kind, value)[:2], by_column)
                for kind, value, by_column in ((a, values[0], step), (b, values[1], step), (out, values[4], item))
            )
            many = form.as_pointer()
            sums = sum_products(builder, form, shape, values[2], partial(one.load, many), partial(other.load, many))
            if vector:  # the first of a vector's two sums, and the second one
                first, second = (
                    {place: builder.extract_element(total, ir.IntType(32)(i)) for place, total in sums.items()}
                    for i in (0, 1)
                )
                sums = {place: builder.fsub(first[place], second[place]) for place in sums}
            write(builder, sums, values[3], made)
            return context.get_dummy_value()

        return types.void(a, b, types.intp, types.boolean, out), code

    @numba.njit
    def run(a, b, steps, add, out):
        multiply(a, b, steps, add, out)

    return run


@pytest.mark.parametrize(
    ("shape", "vector", "dtype"), [((1, 1), False, "float64"), ((3, 2), False, "float32"), ((2, 3), True, "float64")]
)
def test_all_sums_of_a_block(shape, vector, dtype, rng):
    run = multiplies(shape, vector)
    a, b = (rng.normal(size=(rows, 12)).astype(dtype)[:, :10] for rows in shape)
    for steps in (0, 1, 5):
        terms = np.einsum("rk,ck->rck", a, b, dtype=np.float64)
        if vector:
            expected = terms[..., : 2 * steps : 2].sum(axis=2) - terms[..., 1 : 2 * steps : 2].sum(axis=2)
        else:
            expected = terms[..., :steps].sum(axis=2)
        before = rng.normal(size=(shape[0], 7)).astype(dtype)
        for add in (False, True):
            memory = before.copy()
            run(a, b, steps, add, memory[:, 2 : 2 + shape[1]])
            wanted = before.astype(np.float64)
            wanted[:, 2 : 2 + shape[1]] = expected + (wanted[:, 2 : 2 + shape[1]] if add else 0)
            np.testing.assert_allclose(memory, wanted, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)
