"""Products of a few rows with a matrix whose rows they meet, at every edge of their blocks."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.kernels.cpu import gemm
from tinygrad_norm.kernels.cpu.row_microkernel import _BLOCK, _COLUMNS, _DEPTH, _ROWS

multiply_rows = gemm._multiply_few.serial  # a device function has no door of its own


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        (1, 1, 1),  # fewer terms than a vector
        (_ROWS[0], 32, _COLUMNS[0]),
        (_ROWS[0] + 1, 33, _COLUMNS[0] + 1),
        (2 * _ROWS[0] + 3, 7, _BLOCK + 2),
        (3, _DEPTH, 5),
        (3, _DEPTH + 9, 5),
        (2, 2 * _DEPTH + 1, 2 * _BLOCK + 1),
    ],
)
def test_every_number_is_its_sum(rows, depth, columns, add, dtype, rng):
    a, b = rng.normal(size=(1, rows, depth)).astype(dtype), rng.normal(size=(1, columns, depth)).astype(dtype)
    before = rng.normal(size=(1, rows, columns)).astype(dtype)
    out = before.copy() if add else np.full_like(before, np.nan)
    multiply_rows(a, b, add, out)
    expected = a.astype(np.float64) @ b.astype(np.float64).mT + (before if add else 0)
    close = (1e-6 if dtype == np.float32 else 1e-14) * np.sqrt(depth + 1)
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * close)


def test_what_is_not_finite_stays_in_its_row_and_column(rng):
    a, b, out = rng.normal(size=(1, 6, 40)), rng.normal(size=(1, 7, 40)), np.empty((1, 6, 7))
    a[0, 2, 39], b[0, 3, 11] = np.nan, np.nan
    multiply_rows(a, b, False, out)
    expected = np.zeros((6, 7), bool)
    expected[2], expected[:, 3] = True, True
    np.testing.assert_array_equal(np.isnan(out[0]), expected)
