from __future__ import annotations

import numpy as np

from tinygrad_norm import nn
from tinygrad_norm.models import VGG16


def test_parameters(undrawn, count):
    assert count(VGG16()) == 14_724_042
    assert count(VGG16(1000, norm="none", small_images=False)) == 138_357_544
    assert count(VGG16(1000, small_images=False)) == 138_365_992


def test_shapes_of_the_small_form(undrawn, shapes):
    model = VGG16(width=0.125)
    pools = [f"features.{name}" for name, layer in model.features.named_children() if isinstance(layer, nn.MaxPool2D)]
    assert shapes(model, *pools, "avgpool") == [
        "(1, 8, 16, 16)",
        "(1, 16, 8, 8)",
        "(1, 32, 4, 4)",
        "(1, 64, 2, 2)",
        "(1, 64, 1, 1)",
        "(1, 64, 1, 1)",
    ]


def test_its_pools_round_up_in_the_small_form_alone(undrawn):
    assert VGG16(width=0.02).eval()(np.zeros((1, 3, 28, 28), np.float32)).shape == (1, 10)
    for small in (True, False):
        model = VGG16(small_images=small, width=0.02)
        assert {layer.ceil_mode for layer in model.modules() if isinstance(layer, nn.MaxPool2D)} == {small}


def test_linear_layers_are_drawn_with_deviation_001():
    model = VGG16(width=0.0625, small_images=False)
    for layer in model.classifier.children():
        if isinstance(layer, nn.Linear):
            assert 0.005 < np.std(layer.weight.raw) < 0.02
            assert not layer.bias.raw.any()
