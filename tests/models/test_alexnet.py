from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.models import AlexNet


def test_parameters(undrawn, count):
    assert count(AlexNet()) == 6_977_994
    assert count(AlexNet(1000, norm="none", small_images=False)) == 61_100_840


def test_shapes_of_the_small_form(undrawn, shapes):
    model = AlexNet(norm="none")
    paths = ("features.0", "features.3", "features.6", "features.10", "features.12", "classifier.1", "classifier.4")
    assert shapes(model, *paths) == [
        "(1, 64, 32, 32)",
        "(1, 192, 16, 16)",
        "(1, 384, 8, 8)",
        "(1, 256, 8, 8)",
        "(1, 256, 4, 4)",
        "(1, 1024)",
        "(1, 512)",
    ]


def test_shapes_of_the_imagenet_form(undrawn, shapes):
    model = AlexNet(norm="none", small_images=False, width=0.0625)
    paths = ("features.0", "features.3", "features.6", "features.10", "avgpool")
    assert shapes(model, *paths) == [
        "(1, 4, 55, 55)",
        "(1, 12, 27, 27)",
        "(1, 24, 13, 13)",
        "(1, 16, 13, 13)",
        "(1, 16, 6, 6)",
    ]


def test_only_the_imagenet_form_takes_other_sizes(undrawn):
    model = AlexNet(small_images=False, width=0.0625).eval()
    assert model(np.zeros((1, 3, 70, 64), np.float32)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"AlexNet: images are \(N, 3, 32, 32\) with image_size=32, got"):
        AlexNet(width=0.0625)(np.zeros((1, 3, 40, 40), np.float32))


def test_dropout_stands_before_the_hidden_layers(undrawn):
    kinds = [type(layer) for layer in AlexNet(dropout=0.3).classifier]
    assert kinds == [*[nn.Dropout, nn.Linear, nn.ReLU] * 2, nn.Linear]
    assert {layer.p for layer in AlexNet(dropout=0.3).modules() if isinstance(layer, nn.Dropout)} == {0.3}
