from __future__ import annotations

import re

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops, random


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_linear_multiplies_and_adds(rng, shape):
    layer = nn.Linear(3, 4, dtype=np.float64)
    x, cotangent = rng.normal(size=shape), rng.normal(size=(*shape[:-1], 4))
    given = Tensor(x, requires_grad=True)
    y = layer(given)
    y.backward(cotangent)
    weight = layer.weight.numpy()
    np.testing.assert_allclose(y.numpy(), x @ weight.T + layer.bias.numpy(), rtol=1e-12)
    rows, cotangents = x.reshape(-1, 3), cotangent.reshape(-1, 4)
    np.testing.assert_allclose(given.grad.numpy(), cotangent @ weight, rtol=1e-12)
    np.testing.assert_allclose(layer.weight.grad.numpy(), cotangents.T @ rows, rtol=1e-12)
    np.testing.assert_allclose(layer.bias.grad.numpy(), cotangents.sum(axis=0), rtol=1e-12)


def test_linear_without_bias(rng):
    layer = nn.Linear(3, 4, bias=False)
    x = rng.normal(size=(2, 3)).astype(np.float32)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    np.testing.assert_allclose(layer(x).numpy(), x @ layer.weight.numpy().T, rtol=1e-5)


def test_the_activation_is_applied_to_the_output(rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    layer = nn.Linear(3, 4, activation=("leaky_relu", 0.3))
    expected = ops.leaky_relu(ops.linear(x, layer.weight, layer.bias), 0.3)
    np.testing.assert_array_equal(layer(x).numpy(), expected.numpy())


def test_linear_starts_uniform_within_the_square_root_of_fan_in():
    layer = nn.Linear(100, 400)
    for parameter in layer.parameters():
        values = parameter.numpy()
        assert np.abs(values).max() <= 0.1
        assert values.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    assert layer.weight.shape == (400, 100)
    assert layer.weight.dtype == layer.bias.dtype == np.float32


def test_the_seed_decides_the_weights_whatever_the_dtype():
    layers = []
    for dtype in (np.float32, np.float64):
        random.manual_seed(5)
        layers.append(nn.Linear(3, 4, dtype=dtype))
    np.testing.assert_array_equal(layers[0].weight.numpy(), layers[1].weight.numpy().astype(np.float32))
    assert layers[1].bias.dtype == np.float64


def test_linear_names_itself_and_what_was_given():
    layer = nn.Linear(784, 10)
    words = "Linear: the last axis of the input is in_features=784 long, got shape (64, 28, 28); a Flatten() before it?"
    with pytest.raises(ValueError, match=re.escape(words)):
        layer(np.ones((64, 28, 28), np.float32))
    with pytest.raises(ValueError, match=r"in_features=784 long, got shape \(64, 28\)$"):
        layer(np.ones((64, 28), np.float32))
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        nn.Linear(1, 1)(np.float32(3))


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        ((0, 3), ValueError, "in_features is an integer of at least 1, got 0"),
        ((3, -1), ValueError, "out_features is an integer of at least 1, got -1"),
        ((2.0, 3), TypeError, "in_features is an integer of at least 1, got 2.0"),
        ((2, True), TypeError, "out_features is an integer of at least 1, got True"),
    ],
)
def test_numbers_of_features_are_checked(features, error, words):
    with pytest.raises(error, match=words):
        nn.Linear(*features)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="got 'rely'; did you mean relu"):
        nn.Linear(2, 3, activation="rely")


def test_an_integer_dtype_is_refused():
    with pytest.raises(TypeError, match="float32 or float64"):
        nn.Linear(2, 3, dtype=np.int64)


def test_repr():
    assert repr(nn.Linear(2, 3, bias=False)) == "Linear(in_features=2, out_features=3, bias=False)"
    words = "Linear(in_features=2, out_features=3, bias=True, activation=('elu', 0.5))"
    assert repr(nn.Linear(2, 3, activation=("elu", 0.5))) == words
    assert repr(nn.Flatten(0)) == "Flatten(start_dim=0, end_dim=-1)"
    assert repr(nn.Identity(3, eps=1)) == "Identity()"


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [((), (2, 60)), ((0,), (120,)), ((1, 2), (2, 12, 5)), ((-2,), (2, 3, 20)), ((2, 2), (2, 3, 4, 5))],
)
def test_flatten_joins_axes(rng, arguments, shape):
    x, cotangent = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=shape)
    given = Tensor(x, requires_grad=True)
    y = nn.Flatten(*arguments)(given)
    y.backward(cotangent)
    np.testing.assert_array_equal(y.numpy(), x.reshape(shape))
    np.testing.assert_array_equal(given.grad.numpy(), cotangent.reshape(x.shape))


def test_flatten_refuses_axes_that_are_not_there():
    with pytest.raises(ValueError, match="axis"):
        nn.Flatten()(Tensor([1.0, 2.0]))


def test_identity_returns_the_very_input():
    x = Tensor([1.0])
    assert nn.Identity()(x) is x


@pytest.mark.parametrize("features", [(100, 400), (7, 9000)])
def test_weights_and_bias_fill_the_whole_range_at_the_start(features):
    layer, bound = nn.Linear(*features), 1 / np.sqrt(features[0])
    for parameter in layer.parameters():
        assert 0.98 * bound < np.abs(parameter.numpy()).max() <= np.float32(bound)
