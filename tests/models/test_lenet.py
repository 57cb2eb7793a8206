from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.models import LeNet5


def test_the_parameters_are_the_papers_but_for_the_maps_that_see_all(count):
    assert count(LeNet5(in_channels=1, norm="none")) == 61_706


def test_shapes(shapes):
    model = LeNet5()
    assert shapes(model, "features.0", "features.3", "features.4", "features.7", "classifier.1", "classifier.3") == [
        "(1, 6, 28, 28)",
        "(1, 6, 14, 14)",
        "(1, 16, 10, 10)",
        "(1, 16, 5, 5)",
        "(1, 120)",
        "(1, 84)",
    ]


def test_every_hidden_layer_has_a_tanh():
    model = LeNet5(norm="none")
    assert sum(isinstance(layer, nn.Tanh) for layer in model.modules()) == 4
    assert isinstance(model.classifier[-1], nn.Linear)
