"""ScaleNorm and pRMSNorm, beside their formulas."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, along, close, gradient_of, stirred
from tinygrad_norm import nn

pytestmark = pytest.mark.usefixtures("plain_numpy")


def test_scale_norm_divides_by_the_length(rng):
    x = rng.normal(size=IMAGES)
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    close(nn.ScaleNorm(4, dtype="float64")(x), expected * 2)  # √4
    layer = stirred(nn.ScaleNorm(4, dtype="float64"), rng)
    close(layer(x), expected * layer.weight.item())
    assert layer.weight.shape == ()
    layer.reset_parameters()
    assert layer.weight.item() == 2
    fixed = nn.ScaleNorm(4, affine=False, channels_last=True, dtype="float64")
    assert fixed.state_dict() == {}
    close(fixed(np.moveaxis(x, 1, -1)), np.moveaxis(expected * 2, 1, -1))


@pytest.mark.parametrize("fused", [True, False])
def test_a_vector_of_zeros_stays_one_and_has_a_gradient(fused, rng):
    layer = nn.ScaleNorm(4, eps=1e-2, dtype="float64", fused=fused)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    x[1] = 0
    assert not layer(x).raw[1].any()
    dx, dweight = gradient_of(layer, [x], dy)
    close(dx.raw[1], dy[1] * 2 / 1e-2)  # where the length is below eps, that is divided by
    assert np.isfinite(dx.raw).all()
    assert np.isfinite(dweight.raw).all()


@pytest.mark.parametrize(("p", "count"), [(0.0625, 1), (0.5, 2), (0.51, 3), (1.0, 4), (1, 4)])
def test_a_part_of_the_channels_gives_the_mean_square(p, count, rng):
    layer = stirred(nn.PartialRMSNorm(4, p, dtype="float64"), rng)
    x = rng.normal(size=IMAGES)
    square = (x[:, :count] ** 2).mean(axis=1, keepdims=True)
    close(layer(x), x / np.sqrt(square + 1e-6) * along(layer.weight))
    assert layer.bias is None


def test_with_all_channels_it_is_rms_norm(rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    close(nn.PartialRMSNorm(4, 1.0, channels_last=True)(x), nn.RMSNorm(4, eps=1e-6)(x), 1e-6)


@pytest.mark.parametrize("p", [0, 1.5, -0.1, math.nan, "all", True])
def test_p_is_a_part(p):
    words = f"PartialRMSNorm: p is a number above 0, up to 1, got {p!r}"
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        nn.PartialRMSNorm(4, p)


def test_reprs():
    assert repr(nn.ScaleNorm(4)) == "ScaleNorm(4, eps=1e-05, affine=True)"
    assert repr(nn.PartialRMSNorm(4, channels_last=True)) == (
        "PartialRMSNorm(4, p=0.0625, eps=1e-06, affine=True, channels_last=True)"
    )


@pytest.mark.parametrize(("p", "count"), [(0.07, 7), (0.14, 14), (0.28, 28), (0.555, 56)])
def test_the_part_of_the_channels_is_rounded_up_and_no_further(p, count):
    assert nn.PartialRMSNorm(100, p).count == count


def test_a_weight_without_axes_stays_an_array():
    layer = nn.ScaleNorm(4)
    layer.weight.replace(layer.weight.raw * 2)
    assert layer(np.ones((2, 4), np.float32)).shape == (2, 4)
