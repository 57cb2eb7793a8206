"""What says that the linear layer is right: sums in exact fractions, and finite differences."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.testing import gradcheck

activations = pytest.mark.parametrize("activation", [None, ("silu", 0.0), ("leaky_relu", 0.1)])
biases = pytest.mark.parametrize("biased", [False, True])


def example(rng, biased=True):
    x, weight = rng.normal(size=(2, 5, 3)), rng.normal(size=(4, 3))
    return x, weight, rng.normal(size=4) if biased else None


def product(x, y):
    """The matrix product, each element in fractions, which round nothing."""
    rows, columns = x.tolist(), y.T.tolist()
    return [
        [float(sum(Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True))) for column in columns]
        for row in rows
    ]


@pytest.mark.parametrize("make", [np.asarray, Tensor], ids=["arrays", "tensors"])
def test_values(make, rng):
    x, weight, bias = example(rng)
    found = np.asarray(definitions.linear(make(x), make(weight), make(bias), None).tolist())
    for one, other in zip(found, x, strict=True):
        np.testing.assert_allclose(one, np.array(product(other, weight.T)) + bias, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(definitions.matmul(make(x[0]), make(weight.T)).tolist(), product(x[0], weight.T), 1e-12)


def test_a_product_broadcasts_the_axes_before_the_last_two(rng):
    x, y = rng.normal(size=(2, 1, 5, 3)), rng.normal(size=(4, 3, 2))
    found = definitions.matmul(x, y)
    assert found.shape == (2, 4, 5, 2)
    np.testing.assert_allclose(found[1, 2], product(x[1, 0], y[2]), rtol=1e-12, atol=1e-14)


@activations
@biases
def test_the_closed_gradient_is_that_of_the_definition(biased, activation, rng):
    arrays, dy = example(rng, biased), rng.normal(size=(2, 5, 4))
    leaves = [None if array is None else Tensor(array, requires_grad=True) for array in arrays]
    given = [leaf for leaf in leaves if leaf is not None]
    gradcheck(lambda *some: definitions.linear(*some, *[None] * (3 - len(some)), activation), given, order=2)
    expected = grad(definitions.linear(*leaves, activation), given, dy)
    closed = definitions.linear_gradient(dy, *arrays, activation, (True, True, biased))
    assert (closed[2] is None) == (not biased)
    for one, other in zip(closed, expected, strict=False):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_what_is_needed_is_computed(wanted, rng):
    needs = tuple(place == wanted for place in range(3))
    found = definitions.linear_gradient(rng.normal(size=(2, 5, 4)), *example(rng), None, needs)
    assert tuple(gradient is not None for gradient in found) == needs


@activations
@biases
def test_the_standard_is_enough(biased, activation, rng):
    x, weight, bias = example(rng, biased)
    agree(definitions.linear, x, weight, bias, activation)
    agree(definitions.linear_gradient, rng.normal(size=(2, 5, 4)), x, weight, bias, activation, (True, True, biased))
    agree(definitions.matmul, x, weight.T)
