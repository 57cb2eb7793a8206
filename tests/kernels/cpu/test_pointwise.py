"""Functions of one element are those of the definitions, in the dtype of the element."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tinygrad_norm.derivation.rules import RULES
from tinygrad_norm.kernels.cpu import pointwise

VALUES = [-30.0, -2.5, -0.5, -0.0, 0.0, 1e-3, 0.75, 3.0, 40.0, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["erf", "ndtr", "relu", "sigmoid", "sign", "softplus"])
def test_one_argument(name, dtype):
    function = getattr(pointwise, name)

    @numba.njit
    def run(x, y):
        for i in range(len(x)):
            y[i] = function(x[i], x.dtype.type)

    x = np.array(VALUES, dtype)
    y = np.empty_like(x)
    run(x, y)
    expected = RULES[name].function(x.astype(float))
    np.testing.assert_allclose(y, expected, rtol=3e-7 if dtype == "float32" else 1e-13, atol=1e-37)


@pytest.mark.parametrize("name", ["maximum", "minimum", "gated"])
def test_two_arguments(name):
    function = getattr(pointwise, name)

    @numba.njit
    def run(x, z, y):
        for i in range(len(x)):
            for j in range(len(z)):
                y[i, j] = function(x[i], z[j], x.dtype.type) if name == "gated" else function(x[i], z[j])

    x = np.array(VALUES)
    z = np.array([0.0, 0.5, 1.0]) if name == "gated" else x
    y = np.empty((len(x), len(z)))
    run(x, z, y)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, RULES[name].function(x[:, None], z[None, :]))


def test_what_a_statistic_lost_by_rounding_is_taken_away_too():
    @numba.njit(fastmath=True)
    def run(x, high, low):
        return pointwise.less(x, high, low)

    mean = 2000.0001
    high = np.float32(mean)
    found = run(np.float32(2000.25), high, np.float32(mean - float(high)))
    assert found == pytest.approx(2000.25 - mean, abs=1e-7)
