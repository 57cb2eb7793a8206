"""Pooling against the reference, over drawn windows and layouts."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions
from tinygrad_norm.definitions.windows import Window
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))


def check(x, dy, divisor, window):
    """All four functions, that they are channels-last, and that they left their inputs alone."""
    given = (x, dy, divisor)
    before = [array.copy() for array in given]
    y, position = cpu.max_pool2d(x, window)
    expected = definitions.max_pool2d(x, window)
    dx = cpu.max_pool2d_gradient(dy, position, x.shape, window)
    average, share = cpu.avg_pool2d(x, divisor, window), cpu.avg_pool2d_gradient(dy, divisor, x.shape, window)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(position, expected[1])
    assert position.dtype == expected[1].dtype
    close = TOLERANCE[x.dtype.type]
    for found, right in [
        (dx, definitions.max_pool2d_gradient(dy, position, x.shape, window)),
        (average, definitions.avg_pool2d(x, divisor, window)),
        (share, definitions.avg_pool2d_gradient(dy, divisor, x.shape, window)),
        (cpu.mean_of_pixels(x), x.mean(axis=(2, 3), dtype=np.float64)),
    ]:
        np.testing.assert_allclose(found, right, rtol=close, atol=close * 10)
    for array in (y, position, dx, average, share):
        assert array.dtype == x.dtype or array is position
        assert array.transpose(0, 2, 3, 1).flags.c_contiguous
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@st.composite
def cases(draw):
    """Images in any layout with gaps or without, and any windows, which may miss the image; ties, NaN and infinity."""
    window = Window(
        draw(PAIRS), draw(PAIRS), draw(st.tuples(st.integers(0, 3), st.integers(0, 3))), (1, 1), draw(PAIRS)
    )
    shape = (draw(st.integers(0, 3)), *draw(st.tuples(st.integers(1, 20), st.integers(1, 7), st.integers(1, 7))))
    rng, dtype = np.random.default_rng(draw(st.integers(0, 99))), draw(st.sampled_from(sorted(TOLERANCE, key=str)))

    def array(shape):
        order = draw(st.permutations(range(4)))
        steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
        stored = rng.integers(-3, 4, [abs(steps[i]) * shape[i] for i in order]).astype(dtype)
        return stored.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]

    x = array(shape)
    if draw(st.booleans()):
        x[rng.random(shape) < 0.1] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return x, array((*shape[:2], *window.size)), rng.uniform(1, 2, window.size).astype(dtype), window


@given(cases(), PAIRS)
def test_any_window_and_layout(case, dilation):
    x, dy, divisor, window = case
    check(x, dy, divisor, window)
    spread = window._replace(dilation=dilation)
    for found, expected in zip(cpu.max_pool2d(x, spread), definitions.max_pool2d(x, spread), strict=True):
        np.testing.assert_array_equal(found, expected)
    position = definitions.max_pool2d(x, spread)[1]
    np.testing.assert_allclose(
        cpu.max_pool2d_gradient(dy, position, x.shape, spread),
        definitions.max_pool2d_gradient(dy, position, x.shape, spread),
        rtol=1e-6,
    )


def test_a_window_with_more_places_than_a_byte_counts(rng):
    window = Window((16, 16), (3, 2), (8, 8), (1, 1), (3, 4))
    x, dy = rng.normal(size=(2, 3, 9, 8)), rng.normal(size=(2, 3, 3, 4))
    check(x, dy, rng.uniform(1, 2, (3, 4)), window)


@pytest.mark.parametrize("kernel", [2, 3])
def test_the_number_of_threads_changes_no_bit(monkeypatch, rng, kernel):
    window = Window((kernel, kernel), (2, 2), (kernel // 2, 0), (1, 1), (5, 4))
    x = rng.normal(size=(4, 9, 8, 5)).astype(np.float32).transpose(0, 3, 1, 2)
    dy, divisor = rng.normal(size=(4, 5, 5, 4)).astype(np.float32), rng.uniform(1, 2, (5, 4)).astype(np.float32)

    def run():
        y, position = cpu.max_pool2d(x, window)
        dx = cpu.max_pool2d_gradient(dy, position, x.shape, window)
        return (
            y,
            position,
            dx,
            cpu.avg_pool2d(x, divisor, window),
            cpu.avg_pool2d_gradient(dy, divisor, x.shape, window),
        )

    monkeypatch.setattr(compiler, "LARGE", 1)
    together = run()
    numba.set_num_threads(1)
    alone = run()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    check(x, dy, divisor, window)
