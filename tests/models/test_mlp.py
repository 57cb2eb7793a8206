from __future__ import annotations

import pytest

from tinygrad_norm import nn
from tinygrad_norm.models import MLP


def test_the_net_of_the_batch_norm_paper(count):
    model = MLP(in_channels=1, image_size=28)
    assert count(model) == 235_530
    assert [type(layer) for layer in model.layers] == [
        nn.Flatten,
        *[nn.Linear, nn.BatchNorm1D] * 2,
        nn.Linear,
    ]
    assert [layer.activation for layer in model.modules() if isinstance(layer, nn.BatchNorm1D)] == ["relu", "relu"]


def test_hidden_says_how_many_layers_and_how_wide(shapes):
    model = MLP(3, 1, image_size=4, hidden=[7, 5, 2])
    assert shapes(model, "layers.0", "layers.1", "layers.3", "layers.5", "layers.7") == [
        "(1, 16)",
        "(1, 7)",
        "(1, 5)",
        "(1, 2)",
        "(1, 3)",
    ]
    assert [type(layer) for layer in MLP(hidden=()).layers] == [nn.Flatten, nn.Linear]


def test_widths_are_numbers():
    with pytest.raises(TypeError, match="out_features is an integer of at least 1, got 'w'"):
        MLP(hidden="wide")
