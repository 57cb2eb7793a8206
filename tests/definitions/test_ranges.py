"""Units of groups that leave the range of float64, and what is measured in them."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.definitions.ranges import are_moderate, are_ordinary, group_unit, moments, times_difference


@pytest.mark.parametrize("size", [1e308, 1e200, 1.0, 1e-200, 5e-324])
def test_a_unit_is_a_power_of_two_near_the_range_of_its_group(size, rng):
    x = np.array([[1.0, -1, 0.5], [1, 1, 1]]) * size
    (spread,), (constant,) = group_unit(x, (1,), 0.0)
    assert np.frexp(spread)[0] == np.frexp(constant)[0] == 0.5
    assert min(0.5 * size, 2.0**1000) <= spread <= max(size, 2.0**-1000)
    assert constant <= max(size * 2.0**-900, 2.0**-1000)
    (magnitude,) = group_unit(x[1:], (1,), 0.0, centred=False)[0]
    assert min(0.5 * size, 2.0**1000) <= magnitude <= max(size, 2.0**-1000)


def test_a_unit_is_no_less_than_the_root_of_eps_and_1_for_what_is_not_finite():
    assert group_unit(np.zeros((1, 3)), (1,), 1e-5).item() == 2.0**-9
    with np.errstate(invalid="ignore"):
        for value in (np.nan, np.inf):
            assert group_unit(np.array([[value, 1.0]]), (1,), 1e-5).item() == 1


@pytest.mark.parametrize("size", [1.7e308, 1e200, 1e-200])
def test_moments_in_a_unit_are_those_of_the_numbers(size, rng):
    x = rng.uniform(-1, 1, size=(3, 7)) * size
    own = group_unit(x, (1,), 0.0)
    mean, var, eps = moments(x, (1,), own, 1e-300)
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose((mean * own)[:, 0], exact.mean(axis=1).astype(float), rtol=1e-12)
    expected = exact.var(axis=1) / own[:, 0].astype(np.longdouble) ** 2
    np.testing.assert_allclose(var[:, 0], expected.astype(float), rtol=1e-12)
    np.testing.assert_allclose(eps[:, 0], (1e-300 / own[:, 0].astype(np.longdouble) ** 2).astype(float), rtol=1e-12)


@pytest.mark.parametrize("value", [1e30, 0.1, 1.7e308, -3e-320])
@pytest.mark.parametrize("count", [3, 6, 7, 84])
def test_of_equal_numbers_the_mean_is_the_number(value, count):
    x = np.full((2, count), value)
    own = group_unit(x, (1,), 1e-5)
    mean, var, _ = moments(x, (1,), own, 1e-5)
    np.testing.assert_array_equal(mean, x[:, :1] / own)
    assert not var.any()


def test_what_is_ordinary():
    x, mean, var = np.zeros((2, 3)), np.array([1.0, 0.0]), np.array([1.0, 0.0])
    assert are_ordinary(x, mean, var, 1e-5)
    assert not are_ordinary(x, mean, var, 0.0)
    for wrong in (np.inf, np.nan, 1e295):
        assert not are_ordinary(x, mean, np.array([1.0, wrong]), 1e-5)
    assert not are_ordinary(x, np.array([1e30, 0]), var, 1e-5), "rounding, perhaps"
    assert are_ordinary(x.astype(np.float32), np.array([1e30, 0]), var, 1e-5), "float32 is not rounded in float64"


def test_a_difference_that_leaves_the_range_is_taken_by_halves():
    x, mean = np.array([1.7e308, 1.0]), np.array([-1.7e308, 5e-324])
    np.testing.assert_array_equal(times_difference(x, mean, np.array([1e-300, 1.0])), [2 * 1.7e8, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_moderate_numbers_stay_in_the_range(dtype):
    assert are_moderate(np.dtype(dtype), np.array([1e12, 1e-12]))
    for far in (1e13, 1e-13, np.inf, np.nan, 0):
        assert are_moderate(np.dtype(dtype), np.array([1.0, far])) == (dtype == "float64" and 0 < far < np.inf)
    for far in (1e121, 1e-121):
        assert not are_moderate(np.dtype("float64"), np.array([1.0, far]))
