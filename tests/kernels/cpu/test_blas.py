"""BLAS, called by kernels: on parts of arrays, transposed or not, written or added."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tinygrad_norm.kernels.cpu import blas


@numba.njit
def multiply(a, transposed_a, b, transposed_b, add, out):
    blas.gemm(a, transposed_a, b, transposed_b, add, out)


def part(array, dtype):
    """The same numbers as a part of a larger array: rows have a gap behind them."""
    memory = np.full((len(array), array.shape[1] + 3), np.nan, dtype)
    memory[:, : array.shape[1]] = array
    return memory, memory[:, : array.shape[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_parts_of_arrays(transposed, add, dtype, rng):
    for rows, depth, columns in [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 1), (40, 70, 30)]:
        a, b, before = (
            rng.normal(size=(rows, depth)),
            rng.normal(size=(depth, columns)),
            rng.normal(size=(rows, columns)),
        )
        memory, out = part(before if add else np.full_like(before, np.nan), dtype)
        given = [part(x.T if turned else x, dtype)[1] for x, turned in zip((a, b), transposed, strict=True)]
        multiply(given[0], transposed[0], given[1], transposed[1], add, out)
        close = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(out, a @ b + (before if add else 0), rtol=close, atol=10 * close)
        assert np.isnan(memory[:, columns:]).all()  # what lies between rows stays


def test_the_distance_of_a_single_row_may_be_anything(rng):
    a, b = rng.normal(size=(1, 5)), rng.normal(size=(5, 4))
    row, other = (np.lib.stride_tricks.as_strided(x, x.shape, (0, 8)) for x in (a, np.empty((1, 4))))
    multiply(row, False, part(b, "float64")[1], False, False, other)
    np.testing.assert_allclose(other, a @ b, rtol=1e-12)


def test_a_sum_of_nothing_is_0():
    a, b, (_, out) = np.empty((3, 1))[:, :0], np.empty((1, 5))[:0, :4], part(np.ones((3, 4)), "float64")
    multiply(a, False, b, False, True, out)
    assert (out == 1).all()
    multiply(a, False, b, False, False, out)
    assert (out == 0).all()
