"""Switchable norm, beside its formula."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nn.norms.layers import along, check_three_steps, close
from tinygrad_norm import nn

pytestmark = pytest.mark.usefixtures("plain_numpy")

CHANNELS = (0, 2, 3)


def softmax(vector):
    return np.exp(vector) / np.exp(vector).sum()


def switched(layer, x, batch_mean, batch_var):
    """As the authors' program, with the statistics of the batch given."""
    means = x.mean((2, 3), keepdims=True), x.mean((1, 2, 3), keepdims=True), batch_mean.reshape(1, -1, 1, 1)
    variances = x.var((2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True), batch_var.reshape(1, -1, 1, 1)
    mean = sum(w * each for w, each in zip(softmax(layer.mean_weight.raw), means, strict=True))
    var = sum(w * each for w, each in zip(softmax(layer.var_weight.raw), variances, strict=True))
    return along(layer.weight) * (x - mean) / np.sqrt(var + layer.eps) + along(layer.bias)


@pytest.mark.parametrize("fused", [True, False])
def test_three_steps_and_inference(fused, rng):
    layer = nn.SwitchableNorm2D(4, eps=1e-3, momentum=0.3, dtype="float64", fused=fused)

    def train(x, _, __):
        mean, var = x.mean(CHANNELS), x.var(CHANNELS)
        return switched(layer, x, mean, var), mean, var

    check_three_steps(layer, rng, train, lambda *given: switched(layer, *given))


@pytest.mark.parametrize(("chosen", "other"), [(0, nn.InstanceNorm2D), (2, nn.BatchNorm2D)])
def test_where_one_has_all_the_weight_it_is_that_norm(chosen, other, rng):
    layer, x = nn.SwitchableNorm2D(4, dtype="float64", fused=False), rng.normal(size=(3, 4, 2, 3))
    for weight in (layer.mean_weight, layer.var_weight):
        weight.raw = np.where(np.arange(3) == chosen, 0.0, -1e4)
    close(layer(x), other(4, dtype="float64")(x))


def test_the_shares_begin_equal():
    layer = nn.SwitchableNorm2D(4)
    assert [share.item() for share in layer.shares()] == pytest.approx([1 / 3] * 5)
    assert layer.state_dict()["mean_weight"].shape == layer.state_dict()["var_weight"].shape == (3,)


def test_one_value_per_channel_is_refused_in_training():
    with pytest.raises(ValueError, match="one value per channel has no variance"):
        nn.SwitchableNorm2D(4)(np.ones((1, 4, 1, 1), np.float32))
