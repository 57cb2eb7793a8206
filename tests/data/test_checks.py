from __future__ import annotations

import sys

import numpy as np
import pytest

from tinygrad_norm.data.checks import real_number, whole_number


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_integers_of_any_kind_become_int(value):
    number = whole_number("count", value, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [3.0, "3", None, True, np.True_, np.float32(3)])
def test_anything_else_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"count must be an integer of at least 1, got .*\("):
        whole_number("count", value, 1)


def test_too_small_a_value_names_the_bound():
    with pytest.raises(ValueError, match="count must be at least 3, got 2"):
        whole_number("count", 2, 3)
    assert whole_number("count", sys.maxsize, 0) == sys.maxsize
    with pytest.raises(ValueError, match=r"count must be at most \d+, got a number of 401 digits"):
        whole_number("count", 10**400, 0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1)])
def test_real_numbers_of_any_kind_become_float(value):
    number = real_number("p", value, 0, 1)
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, [0.5]])
def test_what_is_no_real_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="p must be a number from 0 to 1, got"):
        real_number("p", value, 0, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), -float("inf")])
def test_a_real_number_outside_its_bounds_is_refused(value):
    with pytest.raises(ValueError, match=f"p must be a number from 0 to 1, got {value}"):
        real_number("p", value, 0, 1)


def test_a_real_number_without_an_upper_bound_is_finite_all_the_same():
    assert real_number("std", 1e300, 0) == 1e300
    for value in (-1, float("inf")):
        with pytest.raises(ValueError, match=f"std must be a number of at least 0, got {value}"):
            real_number("std", value, 0)
