"""What says that arithmetic of single elements is right: values written out, and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.testing import gradcheck


@pytest.mark.parametrize("make", [np.asarray, Tensor], ids=["arrays", "tensors"])
def test_values(make):
    x, y = make([[-2.0, 0.5, 3.0]]), make([[1.0, 2.0, -3.5]])
    assert definitions.add(x, y).tolist() == [[-1.0, 2.5, -0.5]]
    assert definitions.multiply(x, y).tolist() == [[-2.0, 1.0, -10.5]]
    assert definitions.add_relu(x, y).tolist() == [[0.0, 2.5, 0.0]]


@pytest.mark.parametrize("name", ["add", "multiply", "add_relu"])
def test_derivatives_of_the_definition(name, rng):
    x, y = [Tensor(rng.uniform(0.5, 2, (3, 4)) * [1, -1, 1, -1], requires_grad=True) for _ in range(2)]
    gradcheck(getattr(definitions, name), [x, y], order=2)


def test_the_gradient_of_a_relu_is_stopped_where_its_output_is_not_positive():
    dy, y = np.array([5.0, 6.0, 7.0, 8.0]), np.array([0.0, -0.0, 1e-300, np.nan])
    assert definitions.relu_gradient(dy, y).tolist() == [0, 0, 7, 8]


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 1), (4, 1, 1), (1,), (4, 3, 5), (5,)])
def test_the_gradient_of_a_scale_is_that_of_the_product(shape, rng):
    (x, dy), factors = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=shape)
    leaves = [Tensor(array, requires_grad=True) for array in (x, factors)]
    gradcheck(definitions.multiply, leaves)
    closed = definitions.scale_gradient(dy, x, factors)
    for found, expected in zip(closed, grad(definitions.multiply(*leaves), leaves, dy), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 1), (4, 1, 1)])
def test_the_standard_is_enough(shape, rng):
    (x, y), factors = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=shape)
    for function in (definitions.add, definitions.multiply, definitions.add_relu, definitions.relu_gradient):
        agree(function, x, y)
    agree(definitions.scale_gradient, y, x, factors)
