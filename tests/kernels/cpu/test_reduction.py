"""What all norm kernels stand on: units of work that leave nothing out, and means that begin near themselves."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm.kernels.cpu import compiler, reduction

# Device functions are compiled for kernels alone: a call from Python would crash.
start_of_columns, are_near = reduction.start_of_columns.py_func, reduction.are_near.py_func


@pytest.mark.parametrize(("blocks", "period"), [(1, 1), (32, 1), (1, 5000), (4, 37), (1, 64)])
def test_every_unit_has_one_turn(blocks, period):
    @numba.njit
    def run(units):
        return [(turn, unit) for turn in range(reduction.turns_of(units)) for unit in reduction.units_of(turn, units)]

    found = run((blocks, 1, 1, period))
    assert [unit for _, unit in found] == [*range(blocks * period)]
    assert len({turn for turn, _ in found}) == min(blocks * period, 64)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 40))
def test_every_group_belongs_to_one_unit_of_its_own_parameters(blocks, period, turns):
    groups = period * turns
    seen: list[int] = []
    for unit in range(blocks * period):
        first, last = reduction.groups_of(unit, blocks * period, groups, period)
        own = range(first, last, period)
        assert all(group % period == unit % period for group in own)
        seen += own
    assert sorted(seen) == list(range(groups))


@given(st.integers(0, 50), st.integers(1, 9))
def test_every_row_belongs_to_one_unit(rows, units):
    x = np.arange(rows)
    np.testing.assert_array_equal(np.concatenate([x[reduction.rows_of(x, unit, units)] for unit in range(units)]), x)


@pytest.mark.parametrize(("repeat", "inner"), [(1, 1), (3, 1), (2, 4)])
def test_the_first_row_of_a_group(repeat, inner):
    """Of a matrix [K0 R0 K1, R1], whose rows are numbered, those with the k0 and k1 of the group."""
    rows = np.arange(5 * repeat * inner).reshape(5, repeat, inner)
    groups = reduction.Groups(1, 5 * inner, 2, repeat, inner)
    found = [reduction.first_row(groups, j) for j in range(reduction.length_of(groups))]
    assert found == [int(rows[k // inner, 0, k % inner]) for k in range(1, 5 * inner, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [1, 3])
def test_a_mean_begins_with_the_average_of_the_first_values(dtype, share, rng):
    x, start = rng.normal(1000, 1, (20, 6)).astype(dtype), np.empty(6, dtype)
    start_of_columns(x, share, np.empty(6), start)
    expected = x[:8].astype(float).reshape(8, -1, share).mean(axis=(0, 2)).repeat(share)
    np.testing.assert_allclose(start, expected, rtol=1e-7)
    start_of_columns(np.full((20, 6), 0.1, dtype), share, np.empty(6), start)
    assert (start == np.full(6, 0.1, dtype)).all()


@pytest.mark.parametrize(("away", "near"), [(0.0, True), (1.9, True), (2.1, False), (50.0, False)])
def test_what_is_near_is_within_two_deviations(away, near, rng):
    d = rng.normal(size=10_000)
    d = (d - d.mean()) / d.std() + away
    assert reduction.is_near(d.sum(), (d * d).sum(), d.size) == near


def test_columns_that_begin_far_away_move_to_their_mean_and_are_told():
    start, ok = np.zeros(2), np.empty(2, np.bool_)
    assert not are_near(start, np.array([0.0, 50.0]), np.array([10.0, 251.0]), 10, ok)
    np.testing.assert_array_equal(start, [0, 5])
    np.testing.assert_array_equal(ok, [True, False])


@pytest.mark.parametrize(("single", "value"), [(True, 2e30), (True, 1e-31), (False, 1e291), (False, 1e-291)])
def test_what_leaves_no_room_for_a_product_is_out_of_range(single, value):
    assert not reduction.in_range(value, single)
    assert reduction.in_range(-value, not single) == single
    assert reduction.in_range(0.0, single)
    assert not reduction.in_range(np.nan, single)
    assert not reduction.in_range(np.inf, single)


@pytest.mark.parametrize(("name", "function"), [("sum", np.sum), ("max", np.max), ("min", np.min)])
def test_units_and_columns_come_together(name, function, rng):
    sums = rng.normal(size=(5, 6))
    total = getattr(reduction, f"gather_{name}").py_func(sums.copy())
    np.testing.assert_allclose(total, function(sums, axis=0))
    join, apart = getattr(reduction, f"join_{name}").py_func, total.copy()
    join(total, (3, 1))
    np.testing.assert_allclose(total, function(function(sums, axis=0).reshape(2, 3), axis=1).repeat(3))
    join(apart, (3, 2))
    np.testing.assert_allclose(apart, np.tile(function(function(sums, axis=0).reshape(3, 2), axis=0), 3))


@pytest.mark.parametrize("name", ["max", "min"])
def test_nan_is_the_extreme_of_all(name):
    total = getattr(reduction, f"gather_{name}").py_func(np.array([[1.0, np.nan], [2.0, 3.0]]))
    assert np.isnan(total).tolist() == [False, True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "function"), [("raised", np.max), ("lowered", np.min)])
def test_a_vectorized_extreme_keeps_nan(name, function, dtype, rng):
    step = getattr(reduction, name)

    @compiler.reassociate
    def of(x, first, last):
        found, lost = x[first], False
        for i in range(first, last):
            found = step(x[i], found)
            lost |= x[i] != x[i]
        return reduction.unless(lost, found)

    @numba.njit
    def run(x):
        return of(x, np.uintp(0), np.uintp(len(x)))

    for n in (1, 7, 16, 100, 513):
        x = rng.normal(size=n).astype(dtype)
        x[rng.integers(n)] *= np.inf
        assert run(x) == function(x)
        for place in {0, n // 2, n - 1}:
            for value in (np.nan, -np.nan):
                lost = x.copy()
                lost[place] = value
                assert np.isnan(run(lost))


def test_what_is_in_range_is_written_for_each_group():
    @numba.njit
    def run(ok, fine):
        reduction.keep(ok, reduction.Groups(1, 6, 2, 1, 1), fine)

    fine = np.ones(7, np.bool_)
    run(np.array([False, True, False]), fine)
    assert fine.tolist() == [True, False, True, True, True, False, True]
