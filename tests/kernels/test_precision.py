"""Whether algorithms with larger rounding errors are allowed, and what they may cost."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, fast_math, ops
from tinygrad_norm.kernels.precision import is_fast

BOUND = {True: 2e-5, False: 3e-6}
"""The largest error of a convolution in float32, over the largest output."""


def test_they_are_allowed_until_a_block_says_otherwise():
    assert is_fast()
    with fast_math(False):
        assert not is_fast()
        with fast_math():
            assert is_fast()
        assert not is_fast()
    assert is_fast()


def test_an_error_ends_a_block_as_well():
    with pytest.raises(KeyError), fast_math(False):
        raise KeyError
    assert is_fast()


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_within_its_bound(stride, allowed, rng):
    x, w = rng.normal(2, 1, (2, 64, 10, 10)), rng.normal(size=(64, 64, 3, 3))
    x, w = x.astype(np.float32), w.astype(np.float32)
    with fast_math(allowed):
        y = ops.conv2d(Tensor(x), Tensor(w), stride=stride, padding=1).raw
    how = (stride, stride), ((1, 1), (1, 1)), (1, 1), 1, None
    exact = definitions.conv2d(x.astype(np.float64), w.astype(np.float64), None, *how)
    assert np.abs(y - exact).max() < BOUND[allowed] * np.abs(exact).max()
