"""Derived norms by their kernels, where these are installed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_derived import CASES, norms
from tinygrad_norm.derived import derive


@pytest.mark.parametrize("name", CASES)
def test_float32_is_good_to_the_bound_that_is_promised(name):
    more, options, tensors = CASES[name]
    norm = derive(norms[name])
    arrays = (tensors[0].raw, *more, *(each.raw for each in tensors[1:]))
    single = [array.astype(np.float32) for array in arrays]
    rounded = [array.astype(np.float64) for array in single]
    expected, found = norm(*rounded, **options), norm(*single, **options)
    expected, found = (each[0] if isinstance(each, tuple) else each for each in (expected, found))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.raw, expected.raw, rtol=0, atol=1e-6 * np.abs(expected.raw).max())
