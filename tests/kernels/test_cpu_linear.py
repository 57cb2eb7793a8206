"""The linear layer against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.kernels import cpu, reference


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (2, 5, 3), (3,)])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", [None, *[(name, 0.3) for name in reference.ACTIVATIONS]])
def test_values_and_gradients(shape, activation, with_bias, rng):
    x, weight, dy = rng.normal(size=shape), rng.normal(size=(4, 3)), rng.normal(size=(*shape[:-1], 4))
    bias = rng.normal(size=4) if with_bias else None
    found, expected = (module.linear(x, weight, bias, activation) for module in (cpu, reference))
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    how = weight, bias, activation, (True, True, with_bias)
    found, expected = (module.linear_gradient(dy, x, *how) for module in (cpu, reference))
    assert (found[2] is None) == (not with_bias)
    for a, b in zip(found[: 2 + with_bias], expected, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)


def test_only_what_is_needed_is_computed(rng):
    x, weight, dy = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=(5, 4))
    for i in range(3):
        results = cpu.linear_gradient(dy, x, weight, None, None, tuple(j == i for j in range(3)))
        assert [result is not None for result in results] == [j == i for j in range(3)]


def test_the_bias_gradient_loses_no_digits_over_many_rows():
    dy = np.full((100_000, 1), 0.1, np.float32)
    (dbias,) = cpu.linear_gradient(dy, dy, np.ones((1, 1), np.float32), None, None, (False, False, True))[2]
    assert dbias.dtype == np.float32
    assert dbias == np.float32(np.float64(np.float32(0.1)) * 100_000)
