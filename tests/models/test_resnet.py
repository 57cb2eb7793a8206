from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor, nn
from tinygrad_norm.models import ResNet18
from tinygrad_norm.models.norms import Norms
from tinygrad_norm.models.resnet import BasicBlock

STAGES = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool")


def test_parameters(undrawn, count):
    assert count(ResNet18()) == 11_173_962
    assert count(ResNet18(1000, small_images=False)) == 11_689_512


def test_shapes_of_both_forms(undrawn, shapes):
    small, large = ResNet18(width=0.0625), ResNet18(width=0.0625, small_images=False)
    sides = {"small": [32, 32, 32, 16, 8, 4], "large": [112, 56, 56, 28, 14, 7]}
    channels = [4, 4, 4, 8, 16, 32]
    for model, form in ((small, "small"), (large, "large")):
        wanted = [f"(1, {c}, {side}, {side})" for c, side in zip(channels, sides[form], strict=True)]
        assert shapes(model, *STAGES) == [*wanted, "(1, 32)"]


def test_a_block_adds_to_what_it_is_given(rng):
    block = BasicBlock(4, 4, 1, Norms("batch")).eval()
    nn.init.zeros_(block.bn2.weight)
    x = rng.normal(size=(2, 4, 5, 5)).astype(np.float32)
    np.testing.assert_array_equal(block(Tensor(x)).raw, np.maximum(x, 0))


def test_a_block_that_changes_the_shape_has_a_convolution_beside_it():
    assert isinstance(BasicBlock(4, 4, 1, Norms("batch")).downsample, nn.Identity)
    for block in (BasicBlock(4, 4, 2, Norms("batch")), BasicBlock(4, 6, 1, Norms("batch"))):
        assert [type(layer) for layer in block.downsample.children()] == [nn.Conv2D, nn.BatchNorm2D]


def test_the_linear_layer_is_drawn_as_any(rng):
    bound = 1 / np.sqrt(64)
    weight = ResNet18(width=0.125).fc.weight.raw
    assert 0.9 * bound < np.abs(weight).max() <= bound
