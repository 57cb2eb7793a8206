"""The reference's convolution: on an array module that has nothing but the Array API standard, and its edges."""

from __future__ import annotations

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import definitions

CASES = [
    ((2, 3, 5, 6), (4, 3, 3, 2), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1, None)),
    ((2, 4, 5, 6), (6, 2, 3, 2), ((2, 3), ((1, 0), (2, 1)), (1, 2), 2, ("silu", 0.0))),
    ((1, 3, 1, 1), (3, 1, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 3, ("leaky_relu", 0.1))),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "weight", "how"), CASES)
def test_the_standard_is_enough(shape, weight, how, dtype, rng):
    x, w, b = [rng.normal(size=size).astype(dtype) for size in (shape, weight, weight[:1])]
    y = definitions.conv2d(x, w, b, *how)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected = (y, *definitions.conv2d_gradient(dy, x, w, b, *how, (True, True, True)))
    strict = [xp.asarray(array) for array in (dy, x, w, b)]
    found = (definitions.conv2d(*strict[1:], *how), *definitions.conv2d_gradient(*strict, *how, (True, True, True)))
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, type(strict[0]))
        assert (one.shape, np.from_dlpack(one).dtype) == (other.shape, dtype)
        np.testing.assert_allclose(np.from_dlpack(one), other, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_what_is_needed_is_computed(wanted, rng):
    shape, weight, how = CASES[1]
    x, w = rng.normal(size=shape), rng.normal(size=weight)
    dy = np.ones_like(definitions.conv2d(x, w, None, *how))
    results = definitions.conv2d_gradient(dy, x, w, None, *how, tuple(i == wanted for i in range(3)))
    assert [result is not None for result in results] == [i == wanted for i in range(3)]


def test_the_pixels_that_no_window_meets_have_no_gradient(rng):
    x, w = rng.normal(size=(1, 1, 6, 6)), rng.normal(size=(1, 1, 1, 2))
    dy = rng.normal(size=(1, 1, 2, 2))
    dx = definitions.conv2d_gradient(dy, x, w, None, (4, 3), ((0, 0), (0, 0)), (1, 1), 1, None, (True, False, False))[0]
    expected = np.zeros((6, 6))
    for (i, j), value in np.ndenumerate(dy[0, 0]):
        expected[4 * i, 3 * j : 3 * j + 2] = value * w[0, 0, 0]
    np.testing.assert_allclose(dx[0, 0], expected, rtol=1e-14)
