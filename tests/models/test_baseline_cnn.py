from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.models import BaselineCNN


def test_parameters(undrawn, count):
    assert count(BaselineCNN()) == 2_193_450


def test_shapes(undrawn, shapes):
    model = BaselineCNN()
    paths = ("features.0", "features.3", "features.6", "features.8", "features.11", "classifier.1")
    assert shapes(model, *paths) == [
        "(1, 32, 32, 32)",
        "(1, 64, 32, 32)",
        "(1, 64, 16, 16)",
        "(1, 128, 16, 16)",
        "(1, 128, 8, 8)",
        "(1, 256)",
    ]


def test_dropout_grows_with_depth(undrawn):
    rates = [layer.p for layer in BaselineCNN().modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.15, 0.25, 0.5]
