"""L1 and L∞ batch norm, beside their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nn.norms.layers import along, check_three_steps, close
from tinygrad_norm import Tensor, nn

pytestmark = pytest.mark.usefixtures("plain_numpy")

CHANNELS = (0, 2, 3)


def normalized(layer, x, mean, var):
    """y by given statistics of each channel."""
    mean, var = mean[:, None, None], var[:, None, None]
    return (x - mean) * along(layer.weight) / (var + layer.eps) ** 0.5 + along(layer.bias)


def size(name, x):
    """The deviation of each channel."""
    distance = np.abs(x - x.mean(CHANNELS, keepdims=True)).transpose(1, 0, 2, 3).reshape(4, -1)
    if name == "L1Norm":
        return distance.sum(axis=1) / distance.shape[1] * 1.2533141373155001
    return distance.max(axis=1) / np.sqrt(2 * np.log(distance.shape[1]))


@pytest.mark.parametrize("name", ["L1Norm", "LInfNorm"])
def test_three_steps_and_inference(name, rng):
    layer = getattr(nn, name)(4, eps=1e-3, momentum=0.3, dtype="float64")

    def train(x, _, __):
        mean, var = x.mean(CHANNELS), size(name, x) ** 2
        return normalized(layer, x, mean, var), mean, var

    check_three_steps(layer, rng, train, lambda x, mean, var: normalized(layer, x, mean, var))


@pytest.mark.parametrize("name", ["L1Norm", "LInfNorm"])
def test_the_size_of_normal_values_is_their_deviation(name, rng):
    layer = getattr(nn, name)(4, eps=0.0, dtype="float64")
    y = layer(rng.normal(3, 7, (20000, 4)))
    close(y.raw.std(axis=0), np.ones(4), 0.01 if name == "L1Norm" else 0.15)


@pytest.mark.parametrize("name", ["L1Norm", "LInfNorm"])
def test_equal_values_become_the_bias(name):
    layer = getattr(nn, name)(4)
    layer.bias.raw = np.arange(4, dtype="float32")
    close(layer(np.full((3, 4, 2, 3), 7.0, np.float32)), np.broadcast_to(along(layer.bias), (3, 4, 2, 3)))


@pytest.mark.parametrize("name", ["L1Norm", "LInfNorm"])
def test_one_value_per_channel_is_refused_in_training_and_not_in_inference(name):
    layer = getattr(nn, name)(4)
    with pytest.raises(ValueError, match="one value per channel has no variance"):
        layer(np.ones((1, 4), np.float32))
    assert layer.eval()(np.ones((1, 4), np.float32)).shape == (1, 4)


def test_what_is_no_variance_is_kept_as_it_is():
    """A batch norm keeps n / (n - 1) times the variance."""
    layer = nn.L1Norm(1, momentum=1.0, eps=0.0, dtype="float64")
    layer(Tensor(np.array([[-1.0], [1.0]])))
    np.testing.assert_allclose(layer.running_var.raw, [np.pi / 2])
