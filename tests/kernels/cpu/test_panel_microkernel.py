"""Products by panels, at every edge of their blocks."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.kernels.cpu import gemm
from tinygrad_norm.kernels.cpu.panel_microkernel import _DEPTH, _HEIGHTS, _TERMS

HEIGHT = _HEIGHTS[0]


def multiply_panels(a, transposed_a, b, transposed_b, add, out):
    """By the kernel that calls it for one unit of work: a device function has no door of its own."""
    stacks = [x[np.newaxis] for x in (a, b)]
    rows, columns = out.shape
    kernel = gemm._multiply_by_panels.serial
    kernel(stacks[0], transposed_a, stacks[1], transposed_b, rows, columns, add, out[np.newaxis, np.newaxis])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        (1, 1, 1),
        (HEIGHT, 5, 16),
        (2 * HEIGHT + 5, 7, 37),  # blocks of each height, and a panel that ends early
        (3, _DEPTH + 3, 9),
        (HEIGHT + 1, 2 * _DEPTH, 20),
        (2, _TERMS // 8, 16 * 8 + 5),  # more panels than are made at a time
        (4, 0, 5),
    ],
)
def test_every_number_is_its_sum(rows, depth, columns, transposed, add, dtype, rng):
    a, b = rng.normal(size=(rows, depth)).astype(dtype), rng.normal(size=(depth, columns)).astype(dtype)
    before = rng.normal(size=(rows, columns)).astype(dtype)
    out = before.copy() if add else np.full_like(before, np.nan)
    given = [np.ascontiguousarray(x.T) if turned else x for x, turned in zip((a, b), transposed, strict=True)]
    multiply_panels(given[0], transposed[0], given[1], transposed[1], add, out)
    expected = a.astype(np.float64) @ b.astype(np.float64) + (before if add else 0)
    close = (1e-6 if dtype == np.float32 else 1e-14) * np.sqrt(depth + 1)
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * close)


def test_what_is_not_finite_stays_in_its_row_and_column(rng):
    a, b, out = rng.normal(size=(8, 40)), rng.normal(size=(40, 37)), np.empty((8, 37))
    a[2, 39], b[11, 35] = np.nan, np.nan
    multiply_panels(a, False, b, False, False, out)
    expected = np.zeros((8, 37), bool)
    expected[2], expected[:, 35] = True, True
    np.testing.assert_array_equal(np.isnan(out), expected)
