from __future__ import annotations

import tracemalloc

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn.budget import TooManyParametersError, at_most


def test_layers_may_have_as_many_elements_as_there_are_and_no_more():
    with at_most(9, 3 * 4 + 4 + 2 * 3 * 5 * 5):
        nn.Linear(3, 4)
        nn.Conv2D(3, 2, 5, bias=False)
        with pytest.raises(TooManyParametersError, match=r"6 arrays of 0 elements are left for one of shape \(1, 1\)"):
            nn.Linear(1, 1)
    nn.Linear(1, 1)


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(1000, 10**9), lambda: nn.Conv2D(10**9, 10**9, 3), lambda: nn.Linear(10**18, 1)]
)
def test_a_layer_that_is_too_large_takes_no_memory(make):
    tracemalloc.start()
    try:
        with at_most(9, 1000), pytest.raises(TooManyParametersError):
            make()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_limit_inside_a_limit_ends_with_its_block():
    with at_most(9, 10):
        with at_most(2, 2):
            nn.Linear(1, 1)
            with pytest.raises(TooManyParametersError, match="0 arrays of 0 elements"):
                nn.Linear(1, 1)
        nn.Linear(5, 2, bias=False)
        with pytest.raises(TooManyParametersError, match="8 arrays of 0 elements"):
            nn.Linear(1, 1)


def test_arrays_are_counted_too():
    with at_most(3, 10**6):
        nn.Linear(1, 1)
        with pytest.raises(
            TooManyParametersError, match=r"0 arrays of \d+,\d+ elements are left for one of shape \(1,\)"
        ):
            nn.Linear(1, 1)
