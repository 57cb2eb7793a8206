"""Running statistics move as the reference has it."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 7, 1, 1), (5, 7, 1, 1), (7,)])
def test_a_statistic_moves_as_the_reference_has_it(dtype, shape, rng):
    running, statistic = rng.normal(size=7).astype(dtype), rng.normal(size=shape)
    given = running.copy()
    found = cpu.moved(running, statistic, 0.3, 1.25)
    expected = 0.7 * running + 0.3 * 1.25 * statistic.reshape(-1, 7).mean(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-15 if dtype is np.float64 else 2e-7, atol=1e-7)
    np.testing.assert_allclose(definitions.moved(running, statistic, 0.3, 1.25), found, rtol=2e-7, atol=1e-7)
    assert (found.dtype, found.shape) == (dtype, (7,))
    np.testing.assert_array_equal(running, given)


def test_a_matrix_moves_as_a_whole(rng):
    running, statistic = rng.normal(size=(2, 3, 3)), rng.normal(size=(2, 3, 3))
    np.testing.assert_allclose(cpu.moved(running, statistic, 0.5), (running + statistic) / 2, rtol=1e-15)
    np.testing.assert_allclose(definitions.moved(running, statistic, 0.5), (running + statistic) / 2, rtol=1e-15)


def test_what_is_beyond_float32_becomes_infinity():
    found = cpu.moved(np.zeros(2, np.float32), np.array([1e39, np.nan]), 1.0)
    np.testing.assert_array_equal(found, [np.inf, np.nan])
