"""EvoNorm-B0 and -S0, beside timm's formulas."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, along, check_three_steps, close, stirred
from tinygrad_norm import nn

pytestmark = pytest.mark.usefixtures("plain_numpy")


def instance_std(x, eps):
    """As timm's of that name."""
    return np.sqrt(x.var(axis=(2, 3), keepdims=True) + eps)


def evonorm_2d_b0(x, layer, var):
    """As the forward of timm's EvoNorm2dB0."""
    left = np.sqrt(var.reshape(1, -1, 1, 1) + layer.eps)
    right = x * along(layer.v) + instance_std(x, layer.eps)
    return x / np.maximum(left, right) * along(layer.weight) + along(layer.bias)


def evonorm_2d_s0(x, layer, groups):
    """As the forward of timm's EvoNorm2dS0."""
    n, c, h, w = x.shape
    grouped = x.reshape(n, groups, c // groups, h, w)
    std = np.broadcast_to(np.sqrt(grouped.var(axis=(2, 3, 4), keepdims=True) + layer.eps), grouped.shape)
    nonlinear = x / (1 + np.exp(-x * along(layer.v)))
    return nonlinear / std.reshape(x.shape) * along(layer.weight) + along(layer.bias)


@pytest.mark.parametrize("fused", [True, False])
def test_b0_goes_where_timm_goes(fused, rng):
    layer = nn.EvoNormB0(4, momentum=0.3, dtype="float64", fused=fused)

    def train(x, _, __):
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        return evonorm_2d_b0(x, layer, var), mean, var

    check_three_steps(layer, rng, train, lambda x, _, var: evonorm_2d_b0(x, layer, var))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("training", [True, False])
def test_s0_goes_where_timm_goes(groups, training, rng):
    layer = stirred(nn.EvoNormS0(4, groups, dtype="float64"), rng).train(training)
    x = rng.normal(size=IMAGES)
    close(layer(x), evonorm_2d_s0(x, layer, groups))


@pytest.mark.parametrize("build", [nn.EvoNormB0, lambda *given, **more: nn.EvoNormS0(*given, 2, **more)])
def test_without_an_activation_weight_and_bias_are_left(build, rng):
    layer = stirred(build(4, nonlinear=False, dtype="float64"), rng)
    x = rng.normal(size=IMAGES)
    for mode in (True, False):
        close(layer.train(mode)(x), x * along(layer.weight) + along(layer.bias))
    assert "v" not in layer.state_dict()
    assert repr(layer).endswith("nonlinear=False)")


def test_a_state_of_timms_is_taken(rng):
    layer = stirred(nn.EvoNormB0(4), rng)
    theirs = {name: layer.state_dict()[name] for name in ("weight", "bias", "v", "running_var")}
    fresh = nn.EvoNormB0(4)
    assert fresh.load_state_dict(theirs) == ([], [])
    x = rng.normal(size=IMAGES).astype(np.float32)
    np.testing.assert_array_equal(fresh.eval()(x).raw, layer.eval()(x).raw)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.EvoNormS0(4, 3), "EvoNormS0: num_features is a multiple of num_groups, got 4 and 3"),
        (lambda: nn.EvoNormS0(4), "EvoNormS0: num_features is a multiple of num_groups, got 4 and 32"),
        (lambda: nn.EvoNormS0(4, 0), "EvoNormS0: num_groups is an integer of at least 1, got 0"),
        (lambda: nn.EvoNormS0(4, 2, nonlinear=1), "EvoNormS0: nonlinear is True or False, got 1"),
        (lambda: nn.EvoNormB0(4, nonlinear="no"), "EvoNormB0: nonlinear is True or False, got 'no'"),
    ],
)
def test_bad_arguments(build, words):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}$"):
        build()


def test_one_value_per_group_is_refused():
    with pytest.raises(ValueError, match=r"^EvoNormS0: one value per group has no variance, got shape \(1, 4, 1, 1\)"):
        nn.EvoNormS0(4, 4)(np.ones((1, 4, 1, 1), np.float32))
