"""The door to all work on elements, and the memory that kernels take."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, launch
from tinygrad_norm.launch import empty, empty_like, scratch

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture(autouse=True)
def _nothing_kept():
    vars(launch._kept).clear()


def test_what_is_launched_is_called_with_its_arguments():
    total = np.empty(3)
    assert launch.launch(np.add, np.ones(3), np.arange(3), total) is total
    np.testing.assert_array_equal(total, [1, 2, 3])


def test_an_array_with_anything_in_it():
    x = empty((2, 3), FLOAT32)
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((2, 3), FLOAT32, True)


def test_one_like_another_has_its_order_of_memory():
    x = np.zeros((2, 5, 3, 4), np.float32).transpose(0, 3, 1, 2)
    y = empty_like(x)
    assert (y.shape, y.dtype, y.strides) == (x.shape, x.dtype, x.strides)
    assert not np.shares_memory(x, y)


def test_a_name_has_one_memory_that_grows():
    first = scratch("windows", (4, 5), FLOAT64)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == ((4, 5), FLOAT64, True)
    again = scratch("windows", (3, 2), FLOAT32)
    assert (again.shape, again.dtype) == ((3, 2), FLOAT32)
    assert np.shares_memory(first, again)
    larger = scratch("windows", (4, 6), FLOAT64)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(larger, scratch("windows", (4, 5), FLOAT64))  # and what was smaller is forgotten


def test_other_names_and_other_threads_have_a_memory_of_their_own():
    found = [scratch("windows", (4,), FLOAT64), scratch("tiles", (4,), FLOAT64)]
    thread = threading.Thread(target=lambda: found.append(scratch("windows", (4,), FLOAT64)))
    thread.start()
    thread.join()
    assert len(found) == 3
    assert np.shares_memory(found[1], scratch("tiles", (4,), FLOAT64))
    assert not any(np.shares_memory(a, b) for i, a in enumerate(found) for b in found[:i])


def test_a_plan_has_memory_for_what_is_taken_and_not_for_all_that_is_kept(rng):
    scratch("windows", (10_000,), FLOAT64)

    def through_scratch(x):
        taken = scratch("windows", (3,), FLOAT64)
        launch.launch(np.copyto, taken, x.raw)
        return launch.launch(np.negative, taken)

    fast = capture(through_scratch)
    for _ in range(3):
        x = Tensor(rng.normal(size=3))
        np.testing.assert_array_equal(fast(x), -x.raw)
    assert fast.plan.memory() < 1000


def test_nothing_may_be_kept_too():
    assert scratch("windows", (0, 5), FLOAT64).shape == (0, 5)
    assert scratch("windows", (), FLOAT64).shape == ()
