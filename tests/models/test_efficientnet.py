from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.models import EfficientNetB0
from tinygrad_norm.models.efficientnet import MBConv, Stage, rounded
from tinygrad_norm.models.norms import Norms


def test_parameters(undrawn, count):
    assert count(EfficientNetB0()) == 4_020_358
    assert count(EfficientNetB0(1000, small_images=False)) == 5_288_548


@pytest.mark.parametrize("small", [True, False])
def test_shapes(undrawn, shapes, small):
    model = EfficientNetB0(small_images=small, width=0.25)
    sides = [32, 32, 16, 8, 4, 4, 2, 2, 2] if small else [112, 112, 56, 28, 14, 14, 7, 7, 7]
    channels = [8, 8, 8, 16, 24, 32, 48, 80, 320]
    paths = [f"features.{number}" for number in range(9)]
    wanted = [f"(1, {c}, {side}, {side})" for c, side in zip(channels, sides, strict=True)]
    assert shapes(model, *paths) == wanted


@pytest.mark.parametrize(
    ("channels", "width", "wanted"), [(32, 1.0, 32), (16, 0.25, 8), (40, 0.5, 24), (112, 0.25, 32), (80, 0.1, 8)]
)
def test_channels_are_rounded_to_eights_and_lose_a_tenth_at_most(channels, width, wanted):
    assert rounded(channels, width) == wanted


def test_a_block_adds_where_the_shapes_are_equal(rng):
    stage = Stage(expansion=2, kernel_size=3, stride=1, channels=4, blocks=1)
    x = Tensor(rng.normal(size=(2, 4, 6, 6)).astype(np.float32))
    block = MBConv(4, 1, stage, Norms("batch"), 0.0).eval()
    np.testing.assert_array_equal(block(x).raw, block.block(x).raw + x.raw)
    for other in (MBConv(4, 2, stage, Norms("batch"), 0.0), MBConv(6, 1, stage, Norms("batch"), 0.0)):
        assert not other.adds
    assert MBConv(4, 2, stage, Norms("batch"), 0.0)(x).shape == (2, 4, 3, 3)


def test_the_first_stage_expands_nothing(undrawn):
    first, second = EfficientNetB0().features[1][0], EfficientNetB0().features[2][0]
    assert (len(first.block), len(second.block)) == (3, 4)
    assert [type(layer) for layer in first.block][1:] == [nn.SqueezeExcite, nn.Sequential]
