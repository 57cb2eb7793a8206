from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.models import ConvNeXtTiny
from tinygrad_norm.models.convnext import ConvNeXtBlock, Permute
from tinygrad_norm.models.norms import Norms


def test_parameters(undrawn, count):
    assert count(ConvNeXtTiny()) == 27_824_362
    assert count(ConvNeXtTiny(1000, small_images=False)) == 28_589_128


@pytest.mark.parametrize(("small", "sides"), [(True, [16, 8, 4, 2]), (False, [56, 28, 14, 7])])
def test_shapes(undrawn, shapes, small, sides):
    model = ConvNeXtTiny(small_images=small, width=0.0625)
    stages = [f"features.{number}" for number in (1, 3, 5, 7)]
    wanted = [f"(1, {c}, {side}, {side})" for c, side in zip((6, 12, 24, 48), sides, strict=True)]
    assert shapes(model, *stages) == wanted


def test_permute_is_a_view(rng):
    x = Tensor(rng.normal(size=(2, 3, 4, 5)))
    y = Permute(0, 2, 3, 1)(x)
    assert y.shape == (2, 4, 5, 3)
    assert np.shares_memory(y.raw, x.raw)
    assert repr(Permute(0, 2, 3, 1)) == "Permute(0, 2, 3, 1)"


def test_a_block_begins_as_nearly_nothing(rng):
    block = ConvNeXtBlock(4, Norms("layer"), 1e-6, 0.0)
    x = Tensor(rng.normal(size=(2, 4, 6, 6)).astype(np.float32))
    np.testing.assert_allclose(block(x).raw, x.raw, atol=1e-4)
    block.layer_scale.raw[...] = 1.0
    assert np.abs(block(x).raw - x.raw).max() > 1e-3
    block.layer_scale.raw[...] = 0.0
    np.testing.assert_array_equal(block(x).raw, x.raw)


def test_convolutions_keep_their_biases_whatever_the_norm(undrawn):
    for norm in ("layer", "batch"):
        model = ConvNeXtTiny(norm=norm, width=0.0625)
        assert all(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2D))


def test_after_the_average_instance_norm_is_layer_norm(undrawn):
    model = ConvNeXtTiny(norm="instance", width=0.0625)
    assert isinstance(model.classifier[0], nn.LayerNorm2D)
    assert isinstance(model.features[0][1], nn.InstanceNorm2D)
