from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, ops
from tinygrad_norm.testing import compare_with_composition, gradcheck


def test_every_op_has_tests(exported):
    assert exported("scaling") == {"scale"}


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (2, 1, 1), (3, 1, 1, 1), (4, 5), (3, 2, 4, 5), (1,), ()])
def test_value_and_gradients(rng, shape):
    x = Tensor(rng.normal(size=(3, 2, 4, 5)), requires_grad=True)
    factors = Tensor(rng.normal(size=shape), requires_grad=True)
    np.testing.assert_array_equal(ops.scale(x, factors).numpy(), x.numpy() * factors.numpy())
    gradcheck(ops.scale, [x, factors], order=2)
    if shape:
        compare_with_composition(ops.scale, [x, factors], order=2)


def test_large_images_are_their_composition(rng):
    x = rng.normal(size=(8, 64, 64, 8)).transpose(0, 3, 1, 2)
    for shape in [(8, 8, 1, 1), (8, 1, 1)]:
        factors = Tensor(rng.normal(size=shape), requires_grad=True)
        compare_with_composition(ops.scale, [Tensor.wrap(x).requires_grad_(), factors])


def test_dtypes_and_numbers():
    half, wide = np.ones((2, 3), np.float32), np.ones(3)
    assert ops.scale(half, half[0]).dtype == np.float32
    assert ops.scale(half, wide).dtype == np.float64
    assert ops.scale(half, 2.0).tolist() == [[2, 2, 2], [2, 2, 2]]
    assert ops.scale(2, 3.0).item() == 6


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2), (2, 1)])
def test_factors_do_not_stretch_the_input(shape):
    with pytest.raises(ValueError, match=r"scale: factors of shape .* do not broadcast to the shape \(1, 2\)"):
        ops.scale(np.ones((1, 2)), np.ones(shape))
