from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.testing import gradcheck


def by_hand(layer, x, inner, outer):
    """Two matrix products on the average of each channel."""
    weights = [(c.weight.numpy()[:, :, 0, 0], c.bias.numpy()) for c in (layer.fc1, layer.fc2)]
    squeezed = inner(x.mean(axis=(2, 3)) @ weights[0][0].T + weights[0][1])
    return outer(squeezed @ weights[1][0].T + weights[1][1])[:, :, None, None] * x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("options", "inner", "outer"),
    [
        ({}, lambda x: np.maximum(x, 0), sigmoid),
        ({"activation": nn.SiLU, "scale_activation": "tanh"}, lambda x: x * sigmoid(x), np.tanh),
        ({"activation": lambda: nn.LeakyReLU(0.3)}, lambda x: np.where(x > 0, x, 0.3 * x), sigmoid),
    ],
)
def test_value(rng, options, inner, outer):
    layer = nn.SqueezeExcite(6, 4, **options).astype(np.float64)
    x = rng.normal(size=(3, 6, 4, 5))
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), by_hand(layer, x, inner, outer), rtol=1e-12, atol=1e-14)


def test_gradient(rng):
    layer = nn.SqueezeExcite(3, 2, "silu").astype(np.float64)
    gradcheck(layer, [Tensor(rng.normal(size=(2, 3, 2, 3)), requires_grad=True)])


def test_keys_and_modules_are_torchvisions():
    layer = nn.SqueezeExcite(8, 2)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        "fc1.weight": (2, 8, 1, 1),
        "fc1.bias": (2,),
        "fc2.weight": (8, 2, 1, 1),
        "fc2.bias": (8,),
    }
    names = [name for name, _ in layer.named_modules() if name]
    assert names == ["avgpool", "fc1", "fc2", "activation", "scale_activation"]
    assert isinstance(layer.activation, nn.ReLU)
    assert isinstance(layer.scale_activation, nn.Sigmoid)


def test_refuses():
    with pytest.raises(ValueError, match=r"SqueezeExcite: activation is 'relu' or .*got 'swilu'; did you mean"):
        nn.SqueezeExcite(8, 2, "swilu")
    with pytest.raises(ValueError, match=r"scale_activation is 'relu' or .*got 'Sigmoid'; did you mean sigmoid"):
        nn.SqueezeExcite(8, 2, scale_activation="Sigmoid")
    for wrong in (None, nn.ReLU()):
        with pytest.raises(TypeError, match=r"SqueezeExcite: activation is .* makes a module"):
            nn.SqueezeExcite(8, 2, activation=wrong)
    with pytest.raises(ValueError, match="is an integer of at least 1, got 0"):
        nn.SqueezeExcite(8, 0)
