"""Local response normalization against the reference, over drawn sizes, numbers and layouts."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler

TOLERANCE = {np.float32: 2e-6, np.float64: 1e-14}


def check(x, dy, *numbers):
    """Both functions, by what they are sums of, that they are channels-last and left their inputs alone."""
    before = [array.copy() for array in (x, dy)]
    y, (dx,) = cpu.local_response_norm(x, *numbers), cpu.local_response_norm_gradient(dy, x, *numbers)
    expected = definitions.local_response_norm(x, *numbers)
    (right,) = definitions.local_response_norm_gradient(dy, x, *numbers)
    powers = np.abs(definitions.local_response_norm(x, *numbers).astype(float) / x)
    for found, wanted, scaled in ((y, expected, x), (dx, right, dy)):
        assert found.dtype == x.dtype
        assert np.moveaxis(found, 1, -1).flags.c_contiguous
        unit = (powers * np.abs(scaled)).max(axis=1, keepdims=True)
        assert (np.abs(found - wanted) <= TOLERANCE[x.dtype.type] * unit).all()
    for array, copy in zip((x, dy), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@st.composite
def cases(draw):
    """Arrays in any layout with gaps or without; a window may be larger than there are channels."""
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(st.sampled_from(sorted(TOLERANCE, key=str)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 7), st.integers(1, 7)))

    def array():
        order = draw(st.permutations(range(4)))
        steps = [draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
        stored = rng.normal(0.3, 1.2, [abs(steps[i]) * shape[i] for i in order]).astype(dtype)
        return stored.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]

    beta = draw(st.sampled_from([0.5, 0.75, 0.6, 1.0, -0.5]))
    return array(), array(), draw(st.integers(1, 45)), draw(st.sampled_from([1e-4, 0.7, 3.0])), beta, 1.3


@given(cases())
def test_any_size_and_layout(case):
    check(*case)


@pytest.mark.parametrize("beta", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e17, 1e25])
def test_squares_that_are_beyond_float32(scale, beta, rng):
    x, dy = rng.normal(size=(2, 2, 5, 3, 20)).astype(np.float32)
    x[0, :, 1, 7] *= np.float32(scale)  # among pixels that are not
    check(x, dy, 3, 0.5, beta, 1e-20)


def test_what_is_not_finite_stays_within_its_windows(rng):
    x, dy = rng.normal(size=(2, 2, 9, 4)).astype(np.float32)
    x[0, 4, 1], x[1, 0, 2] = np.nan, np.inf
    y, (dx,) = cpu.local_response_norm(x, 3, 0.5, 0.75, 1.0), cpu.local_response_norm_gradient(dy, x, 3, 0.5, 0.75, 1.0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(y, definitions.local_response_norm(x, 3, 0.5, 0.75, 1.0), rtol=2e-6)
        (expected,) = definitions.local_response_norm_gradient(dy, x, 3, 0.5, 0.75, 1.0)
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(y[0, :, 1])), [3, 4, 5])


def test_any_number_of_threads_gives_the_same_bits(rng):
    x, dy = rng.normal(size=(2, 9, 67, 31, 16)).astype(np.float32).transpose(0, 1, 4, 2, 3)
    assert x.size >= compiler.LARGE
    found, before = [], numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        found.append([cpu.local_response_norm(x, 5, 1e-2, 0.75, 2.0)])
        found[-1] += cpu.local_response_norm_gradient(dy, x, 5, 1e-2, 0.75, 2.0)
    numba.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    check(x, dy, 5, 1e-2, 0.75, 2.0)
