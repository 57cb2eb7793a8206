"""FRN and GRN, beside the formulas of timm's FilterResponseNormTlu2d and GlobalResponseNorm."""

from __future__ import annotations

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, along, close, gradient_of, stirred
from tinygrad_norm import nn

pytestmark = pytest.mark.usefixtures("plain_numpy")


@pytest.mark.parametrize("training", [True, False])
def test_frn_keeps_what_is_above_the_threshold(training, rng):
    layer = stirred(nn.FilterResponseNorm2D(4, dtype="float64"), rng).train(training)
    x = rng.normal(size=IMAGES)
    square = (x**2).mean(axis=(2, 3), keepdims=True)
    y = x / np.sqrt(square + 1e-6) * along(layer.weight) + along(layer.bias)
    close(layer(x), np.maximum(y, along(layer.threshold)))
    assert 0 < (y > along(layer.threshold)).mean() < 1
    free = nn.FilterResponseNorm2D(4, threshold=False, dtype="float64")
    assert free.load_state_dict(layer.state_dict(), strict=False).unexpected_keys == ["threshold"]
    close(free(x), y)
    assert repr(free) == "FilterResponseNorm2D(4, eps=1e-06, affine=True, bias=True, threshold=False)"


def test_the_threshold_begins_with_0(rng):
    x = rng.normal(size=IMAGES).astype(np.float32)
    layer = nn.FilterResponseNorm2D(4)
    assert layer.threshold.shape == (4,)
    assert layer(x).raw.min() == 0
    with pytest.raises(TypeError, match=r"^FilterResponseNorm2D: threshold is True or False, got 1"):
        nn.FilterResponseNorm2D(4, threshold=1)


@pytest.mark.parametrize("fused", [True, False])
def test_y_and_a_threshold_that_are_equal_share_the_gradient(fused, rng):
    layer, dy = nn.FilterResponseNorm2D(4, dtype="float64", fused=fused), rng.normal(size=IMAGES)
    _, of_bias, of_threshold, _ = gradient_of(layer, [np.zeros(IMAGES)], dy)
    close(of_bias, dy.sum(axis=(0, 2, 3)) / 2)
    close(of_threshold, dy.sum(axis=(0, 2, 3)) / 2)


@pytest.mark.parametrize("last", [True, False])
def test_grn_lets_channels_compete(last, rng):
    layer = stirred(nn.GlobalResponseNorm(4, channels_last=last, dtype="float64"), rng)
    x = rng.normal(size=IMAGES)
    size = np.linalg.norm(x, axis=(2, 3), keepdims=True)
    y = x + along(layer.bias) + along(layer.weight) * x * (size / (size.mean(axis=1, keepdims=True) + 1e-6))
    if last:
        x, y = np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1)
    close(layer(x), y)


def test_grn_begins_as_the_identity(rng):
    x = rng.normal(size=IMAGES).astype(np.float32)
    np.testing.assert_array_equal(nn.GlobalResponseNorm(4)(x).raw, x)


def test_a_channel_of_zeros_has_a_gradient(rng):
    layer = stirred(nn.GlobalResponseNorm(4, dtype="float64"), rng)
    x, dy = rng.normal(size=IMAGES), rng.normal(size=IMAGES)
    x[0, 1] = 0
    for fused in (True, False):
        layer.fused = fused
        dx, *others = gradient_of(layer, [x], dy)
        assert all(np.isfinite(each.raw).all() for each in others)
        close(dx.raw[0, 1], dy[0, 1])  # nothing but x itself has a part in it
        assert np.isfinite(dx.raw).all()
        assert np.isfinite(gradient_of(layer, [np.zeros(IMAGES)], dy)[0].raw).all()


def test_training_refuses_one_value_of_a_channel_unless_eps_is_learned(rng):
    x = rng.normal(size=(2, 4, 1, 1))
    layer = nn.FilterResponseNorm2D(4, threshold=False, dtype="float64")
    told = r"^FilterResponseNorm2D: one value .* is a sign, got shape \(2, 4, 1, 1\); .* or learned_eps=True"
    with pytest.raises(ValueError, match=told):
        layer(x)
    close(layer.eval()(x), x / np.sqrt(x**2 + 1e-6))
    assert layer.train()(x[:0]).shape == (0, 4, 1, 1)
    assert layer(rng.normal(size=(2, 4, 2, 1))).shape == (2, 4, 2, 1)
    learning = nn.FilterResponseNorm2D(4, threshold=False, learned_eps=True, dtype="float64")
    close(learning(x), x / np.sqrt(x**2 + 1e-6 + 1e-4))


@pytest.mark.parametrize("threshold", [True, False])
@pytest.mark.parametrize("eps", [0.3, -0.3, 0.0])
def test_the_learned_eps_counts_by_its_magnitude(eps, threshold, rng):
    layer = stirred(nn.FilterResponseNorm2D(4, threshold=threshold, learned_eps=True, dtype="float64"), rng)
    assert [*layer.state_dict()] == ["weight", "bias", *["threshold"] * threshold, "learned_eps"]
    layer.learned_eps.replace(np.array(eps))
    x, dy = rng.normal(size=IMAGES), rng.normal(size=IMAGES)
    square = (x**2).mean(axis=(2, 3), keepdims=True) + 1e-6 + abs(eps)
    y = x / np.sqrt(square) * along(layer.weight) + along(layer.bias)
    below = y <= along(layer.threshold) if threshold else np.zeros(IMAGES, bool)
    close(layer(x), np.where(below, along(layer.threshold), y) if threshold else y)
    _, _, found, *_ = gradient_of(layer, [x], dy)
    slope = (np.where(below, 0, dy) * x * along(layer.weight) * square**-1.5).sum()
    close(found, -0.5 * np.sign(eps) * slope)


def test_the_learned_eps_begins_as_in_the_paper():
    layer = nn.FilterResponseNorm2D(4, learned_eps=True)
    assert layer.learned_eps.item() == pytest.approx(1e-4)
    assert repr(layer).endswith("bias=True, learned_eps=True)")
    layer.learned_eps.replace(np.array(7.0, np.float32))
    layer.reset_parameters()
    assert layer.learned_eps.item() == pytest.approx(1e-4)
    with pytest.raises(TypeError, match=r"^FilterResponseNorm2D: learned_eps is True or False, got 1e-06"):
        nn.FilterResponseNorm2D(4, learned_eps=1e-6)
