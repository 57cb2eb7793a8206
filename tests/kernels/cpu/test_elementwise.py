"""Sums, products and ReLU against the reference, over drawn shapes and layouts."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
SHARED = {  # the shape of the factors of x, (3, 5, 4, 2), and how x lies in memory
    "channels of each image": ((3, 5, 1, 1), (0, 2, 3, 1)),
    "channels": ((5, 1, 1), (0, 2, 3, 1)),
    "images": ((3, 1, 1, 1), (0, 2, 3, 1)),
    "channels of each image, channels first": ((3, 5, 1, 1), (0, 1, 2, 3)),
    "channels, channels first": ((1, 5, 1, 1), (0, 1, 2, 3)),
    "pixels": ((4, 2), (0, 2, 3, 1)),
    "rows": ((1, 1, 4, 1), (0, 2, 3, 1)),
    "all": ((1, 1), (0, 2, 3, 1)),
}


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(compiler, "LARGE", 1)


def drawn(rng, shape, order, dtype=np.float64):
    """An array that lies in memory in this order of axes."""
    stored = rng.normal(size=[shape[i] for i in order]).astype(dtype)
    return stored.transpose(np.argsort(order))


@st.composite
def pairs(draw):
    """Two arrays of one shape, each in any layout, with gaps or without; ties, NaN and infinity."""
    shape = draw(st.lists(st.integers(0, 9), max_size=4))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(st.sampled_from(sorted(TOLERANCE, key=str)))

    def array():
        order, steps = draw(st.permutations(range(len(shape)))), [draw(st.sampled_from([1, 1, 2, -1])) for _ in shape]
        stored = rng.integers(-3, 4, [abs(steps[i]) * shape[i] for i in order]).astype(dtype)
        stored[rng.random(stored.shape) < 0.1] = draw(st.sampled_from([0, np.nan, np.inf, -np.inf]))
        return stored.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]

    return array(), array()


@given(pairs())
def test_arrays_of_equal_shape(pair):
    x, y = pair
    before = [array.copy() for array in pair]
    with np.errstate(invalid="ignore"):
        for name in ("add", "multiply", "add_relu", "relu_gradient"):
            found = getattr(cpu, name)(x, y)
            np.testing.assert_array_equal(found, getattr(definitions, name)(x, y))
            assert found.dtype == x.dtype
    np.testing.assert_array_equal(cpu.relu(x), definitions.relu(x))
    for array, copy in zip(pair, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(("shape", "order"), SHARED.values(), ids=SHARED)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_shared_factors(rng, shape, order, dtype):
    x, dy, factors = drawn(rng, (3, 5, 4, 2), order, dtype), drawn(rng, (3, 5, 4, 2), (1, 0, 2, 3), dtype), None
    factors = rng.normal(size=shape).astype(dtype)
    for found in (cpu.multiply(x, factors), cpu.multiply(factors, x)):
        np.testing.assert_array_equal(found, x * factors)
        assert found.strides == x.strides
    found = cpu.scale_gradient(dy, x, factors)
    for a, b in zip(found, definitions.scale_gradient(dy, x, factors), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_factors_of_other_kinds_are_left_to_numpy(rng):
    x = drawn(rng, (3, 5, 4, 2), (0, 2, 3, 1))
    factors = rng.normal(size=(5, 1, 1))
    for a, b in [
        (x, factors.astype(np.float32)),
        (x[:, ::2], factors[::2]),
        (x[:, :1], factors),
        (factors, x[0, :, 0, 0]),
        (x, 2.0),
        (2.0, x),
        (x[:0], factors),
        (x[:1, :1, :1, :1], factors[:1]),
    ]:
        np.testing.assert_array_equal(cpu.multiply(a, b), a * b)
    np.testing.assert_array_equal(cpu.add_relu(x, factors), definitions.add_relu(x, factors))
    np.testing.assert_array_equal(cpu.add_relu(x, -1.0), definitions.add_relu(x, -1.0))


def test_infinity_and_nan_meet_factors(rng):
    x, factors = drawn(rng, (2, 3, 2, 2), (0, 2, 3, 1)), np.array([0.0, 1.0, np.nan])[:, None, None]
    x[0, 0, 0, 0], x[1, 1, 1, 1] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(cpu.multiply(x, factors), x * factors)
        for a, b in zip(cpu.scale_gradient(x, x, factors), definitions.scale_gradient(x, x, factors), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("lengths", [(70, 5, 1, 1), (5, 1, 1), (70, 1, 1, 1)])
def test_the_number_of_threads_changes_no_bit(rng, lengths):
    x, dy = (drawn(rng, (70, 5, 6, 7), (0, 2, 3, 1), np.float32) for _ in range(2))
    factors = rng.normal(size=lengths).astype(np.float32)
    together = cpu.scale_gradient(dy, x, factors)
    numba.set_num_threads(1)
    alone = cpu.scale_gradient(dy, x, factors)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_sums_keep_their_digits(rng):
    x = np.ones((1, 2, 700, 700), np.float32)
    dy = np.full_like(x, 0.1)
    dy[0, 0, 0, 0] = 1e6
    _, found = cpu.scale_gradient(
        *(a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2) for a in (dy, x)), x[0, :, :1, :1]
    )
    np.testing.assert_allclose(found.ravel(), dy.sum(axis=(0, 2, 3), dtype=np.float64), rtol=1e-6)
