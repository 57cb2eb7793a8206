from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.definitions import ACTIVATIONS as FUSIBLE
from tinygrad_norm.nn.activation import ACTIVATION_LAYERS, activation_layer, as_fusible
from tinygrad_norm.ops.activation import fusible

erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


# the module, its formula, its repr
CASES = [
    (nn.ReLU(), lambda x: np.maximum(x, 0), "ReLU()"),
    (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x), "LeakyReLU(negative_slope=0.01)"),
    (nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x), "LeakyReLU(negative_slope=0.3)"),
    (nn.ELU(), lambda x: np.where(x > 0, x, np.exp(x) - 1), "ELU(alpha=1.0)"),
    (nn.ELU(2.5), lambda x: np.where(x > 0, x, 2.5 * (np.exp(x) - 1)), "ELU(alpha=2.5)"),
    (nn.GELU(), lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, "GELU(approximate='none')"),
    (
        nn.GELU("tanh"),
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
        "GELU(approximate='tanh')",
    ),
    (nn.SiLU(), lambda x: x * sigmoid(x), "SiLU()"),
    (nn.Softplus(), lambda x: np.log(1 + np.exp(x)), "Softplus(beta=1.0, threshold=20.0)"),
    (nn.Softplus(2.0), lambda x: np.log(1 + np.exp(2 * x)) / 2, "Softplus(beta=2.0, threshold=20.0)"),
    (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6, "Hardswish()"),
    (nn.Mish(), lambda x: x * np.tanh(np.log(1 + np.exp(x))), "Mish()"),
    (nn.Sigmoid(), sigmoid, "Sigmoid()"),
    (nn.Tanh(), np.tanh, "Tanh()"),
    (nn.Softmax(), lambda x: softmax(x, -1), "Softmax(axis=-1)"),
    (nn.Softmax(0), lambda x: softmax(x, 0), "Softmax(axis=0)"),
    (nn.Softmax(dim=0), lambda x: softmax(x, 0), "Softmax(axis=0)"),
    (nn.LogSoftmax(), lambda x: np.log(softmax(x, -1)), "LogSoftmax(axis=-1)"),
    (nn.LogSoftmax(axis=1), lambda x: np.log(softmax(x, 1)), "LogSoftmax(axis=1)"),
]


@pytest.mark.parametrize(
    ("module", "formula", "text"), CASES, ids=[f"{number} {text}" for number, (*_, text) in enumerate(CASES)]
)
def test_an_activation_is_its_formula_and_shows_its_arguments(rng, module, formula, text):
    x = rng.normal(0, 3, size=(3, 5, 7))
    np.testing.assert_allclose(module(Tensor(x)).numpy(), formula(x), rtol=1e-9, atol=1e-12)
    assert repr(module) == text
    assert list(module.state_dict()) == []


def test_an_activation_passes_gradients(rng):
    x = Tensor(rng.normal(size=(3, 5)), requires_grad=True)
    cotangent = rng.normal(size=(3, 5))
    nn.LeakyReLU(0.2)(x).backward(cotangent)
    np.testing.assert_allclose(x.grad.numpy(), np.where(x.numpy() > 0, 1, 0.2) * cotangent, rtol=1e-12)


def test_a_wrong_approximation_is_refused():
    approximate: Any = "erf"
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU(approximate)


def test_an_axis_has_one_name_at_a_time():
    assert repr(nn.LogSoftmax(1, dim=1)) == "LogSoftmax(axis=1)"
    with pytest.raises(TypeError, match="LogSoftmax: dim is another name for axis, got dim=1 and axis=0"):
        nn.LogSoftmax(0, dim=1)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU, nn.Hardswish, nn.Mish, nn.Sigmoid, nn.Tanh])
def test_an_argument_that_there_is_not_is_refused(activation):
    with pytest.raises(TypeError, match=f"{activation.__name__} has no option 'nonsense'"):
        activation(nonsense=3)


# Those that a layer or a norm can fuse


def test_every_activation_that_a_norm_can_fuse_has_its_module():
    assert ACTIVATION_LAYERS.keys() == FUSIBLE.keys()


@pytest.mark.parametrize("activation", [*FUSIBLE, ("leaky_relu", 0.3), ("elu", 0.7)])
def test_the_module_of_an_activation_is_fused_as_that(activation):
    assert fusible(as_fusible(activation_layer(activation))) == fusible(activation)


def test_none_is_an_identity_and_that_is_no_activation():
    assert type(activation_layer(None)) is nn.Identity
    assert as_fusible(nn.Identity()) is None


def test_what_no_layer_can_fuse_is_told_apart():
    class Mine(nn.ReLU):
        pass

    assert [as_fusible(module) for module in (Mine(), nn.Softplus(2.0), nn.Softmax(), nn.Linear(2, 2), None)] == [
        None
    ] * 5
    assert as_fusible(nn.GELU("tanh")) == "gelu_tanh"
    assert as_fusible(nn.ELU(2.5)) == ("elu", 2.5)
