"""Matrix products against NumPy's, over drawn shapes and layouts, by BLAS, by panels and row by row."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm.kernels.cpu import compiler, gemm
from tinygrad_norm.kernels.cpu.threads import _scipy_pools

LENGTHS = st.integers(0, 40) | st.sampled_from([96, 255, 257, 600])


def laid_out(x, layout):
    """The same values in another layout: rows that follow each other, rows with gaps, or the transpose of either."""
    groups, rows, columns = x.shape
    if layout in ("columns", "columns with gaps"):
        return laid_out(x.transpose(0, 2, 1), layout.replace("columns", "rows")).transpose(0, 2, 1)
    memory = np.full((groups, rows, columns + (3 if layout == "rows with gaps" else 0)), np.nan, x.dtype)
    found = memory[..., :columns]
    found[:] = x
    return found


LAYOUTS = st.sampled_from(["rows", "rows with gaps", "columns", "columns with gaps"])


def check(a, b, out, add):
    expected = a.astype(np.float64) @ b.astype(np.float64) + (out if add else 0)
    if not add:
        out[:] = np.nan
    gemm.gemm(a, b, out, add)
    scale = np.sqrt(a.shape[2] + 1) * (1e-6 if a.dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * scale)


@given(
    shape=st.tuples(st.integers(1, 3), LENGTHS, LENGTHS, LENGTHS),
    layouts=st.tuples(LAYOUTS, LAYOUTS, LAYOUTS),
    dtype=st.sampled_from([np.float32, np.float64]),
    add=st.booleans(),
    threads=st.booleans(),
    panels=st.booleans(),
)
def test_drawn_products(shape, layouts, dtype, add, threads, panels):
    groups, rows, depth, columns = shape
    rng = np.random.default_rng(0)
    shapes = (groups, rows, depth), (groups, depth, columns), (groups, rows, columns)
    a, b, out = [laid_out(rng.normal(size=s).astype(dtype), how) for s, how in zip(shapes, layouts, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "LARGE", 1 if threads else 2**62)
        patch.setattr(compiler, "LARGE", 1 if threads else 2**62)
        patch.setattr(gemm, "_PARTS", 3)
        patch.setattr(gemm, "_SHORT_WORK", 1 if panels else 2**62)
        check(a, b, out, add)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("shape", [(5, 1001, 17), (23, 6000, 13), (6, 777, 1), (1, 500, 40), (16, 4000, 32)])
def test_a_long_sum_is_cut_in_parts(shape, add, rng, monkeypatch):
    monkeypatch.setattr(gemm, "LARGE", 1)
    rows, depth, columns = shape
    a, b = rng.normal(size=(2, depth, rows)).transpose(0, 2, 1), rng.normal(size=(2, depth, columns))
    assert depth > gemm._PARTS * max(rows, columns)  # panels do it
    check(a, b, rng.normal(size=(2, rows, columns)), add)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 9, 2), (3, 8, 5), (5, 2053, 50), (64, 1024, 24), (0, 4, 5)])
def test_few_rows_meet_the_rows_of_the_other_matrix(shape, dtype, threads, add, rng, monkeypatch):
    monkeypatch.setattr(gemm, "_multiply", None)  # BLAS takes no part
    monkeypatch.setattr(compiler, "LARGE", 1 if threads else 2**62)
    rows, depth, columns = shape
    a, b = rng.normal(size=(2, rows, depth)).astype(dtype), rng.normal(size=(2, columns, depth)).astype(dtype)
    check(a, b.transpose(0, 2, 1), rng.normal(size=(2, rows, columns)).astype(dtype), add)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("depth", [1, gemm._SHORT, gemm._SHORT + 1])
def test_short_sums_are_multiplied_by_panels_if_there_are_many(depth, layout, rng, monkeypatch):
    few, many = 65, -(-gemm._SHORT_WORK * gemm._WORK // (40 * depth))
    for rows, spared in (
        (few, "_multiply_by_panels"),
        (many, "_multiply" if depth <= gemm._SHORT else "_multiply_by_panels"),
    ):
        a, b = rng.normal(size=(1, rows, depth)), laid_out(rng.normal(size=(1, depth, 40)), layout)
        with monkeypatch.context() as patch:
            patch.setattr(gemm, spared, None)
            check(a, b, np.empty((1, rows, 40)), False)


@pytest.mark.parametrize("depth", [30, 60])  # by panels and by BLAS
@pytest.mark.parametrize("sides", [(1200, 20), (20, 1200)])
def test_a_long_side_is_cut_in_parts(sides, depth, rng, monkeypatch):
    monkeypatch.setattr(gemm, "LARGE", 1)
    rows, columns = sides
    check(rng.normal(size=(1, rows, depth)), rng.normal(size=(1, depth, columns)), np.empty((1, rows, columns)), False)


def test_rows_that_are_one_row_of_memory(rng):
    a = np.broadcast_to(rng.normal(size=(1, 1, 7)), (1, 6, 7))
    check(a, rng.normal(size=(1, 7, 5)), np.empty((1, 6, 5)), False)


@pytest.mark.parametrize("transposed", [False, True])  # row by row
@pytest.mark.parametrize(("depth", "short"), [(8, 2**62), (8, 1), (900, 1)])  # by BLAS, and by panels twice
def test_what_is_not_finite_stays_in_its_row(depth, short, transposed, rng, monkeypatch):
    monkeypatch.setattr(gemm, "LARGE", 1)
    monkeypatch.setattr(gemm, "_SHORT_WORK", short)
    a, b, out = rng.normal(size=(1, 9, depth)), rng.normal(size=(1, depth, 20)), np.empty((1, 9, 20))
    b = laid_out(b, "columns") if transposed else b
    a[0, 4, 2], a[0, 6, 3] = np.nan, np.inf
    gemm.gemm(a, b, out)
    assert np.isnan(out[0, 4]).all()
    assert np.isinf(out[0, 6]).all()
    assert np.isfinite(np.delete(out, [4, 6], axis=1)).all()


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize(("rows", "depth"), [(64, 3000), (3000, 30)])
def test_products_are_the_same_whatever_the_number_of_threads(rows, depth, layout, rng, monkeypatch):
    a, b = rng.normal(size=(1, rows, depth)), laid_out(rng.normal(size=(1, depth, 200)), layout)
    one, other = np.empty((2, 1, rows, 200))
    gemm.gemm(a, b, one)
    monkeypatch.setattr(compiler, "LARGE", 2**62)
    gemm.gemm(a, b, other)
    np.testing.assert_array_equal(one, other)


def test_blas_has_its_threads_again_after_products_of_several_threads(rng):
    def number():
        return [get() for get, _ in _scipy_pools()]

    before = number()
    a, b = rng.normal(size=(1, 300, 300)), rng.normal(size=(1, 300, 300))
    out = np.empty((4, 1, 300, 300))
    threads = [threading.Thread(target=gemm.gemm, args=(a, b, out[i])) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number() == before
    for result in out:
        np.testing.assert_allclose(result, a @ b, atol=1e-11)


def test_the_sum_of_rows_loses_no_digits(rng):
    x = rng.normal(1e4, 1, (3001, 129)).astype(np.float32)
    np.testing.assert_array_equal(gemm.sum_rows(x), x.sum(axis=0, dtype=np.float64).astype(np.float32))
