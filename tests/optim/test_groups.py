from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.nn import parametrizations


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1D(3)
        self.rows = nn.LayerNorm((2, 3))  # its weight has two axes
        self.scale = nn.Parameter(np.ones(3))
        self.table = nn.Parameter(np.ones((2, 2)))
        self.relative_bias = nn.Parameter(np.ones((2, 2)))
        self.last = nn.Linear(3, 4, bias=False)
        self.last_again = self.last


def named(model, group):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return sorted(names[id(parameter)] for parameter in group["params"])


def test_norms_biases_and_scales_do_not_decay():
    model = Net()
    decay, spared = optim.decay_groups(model, 0.05)
    assert named(model, decay) == ["first.weight", "last.weight", "table"]
    assert named(model, spared) == [
        "first.bias",
        "norm.bias",
        "norm.weight",
        "relative_bias",
        "rows.bias",
        "rows.weight",
        "scale",
    ]
    assert (decay["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)


def test_of_a_parametrized_weight_the_gain_does_not_decay():
    model = nn.Sequential(
        {
            "conv": parametrizations.weight_norm(nn.Conv2D(3, 4, 3)),
            "narrow": parametrizations.weight_norm(nn.Linear(4, 1)),
            "whole": parametrizations.weight_norm(nn.Linear(4, 4, bias=False), dim=None),
            "spectral": parametrizations.spectral_norm(nn.Linear(4, 4, bias=False)),
            "rows": parametrizations.weight_norm(nn.LayerNorm((2, 3), bias=False)),
        }
    )
    decay, spared = optim.decay_groups(model, 0.05)
    path = "parametrizations.weight.original"
    assert named(model, decay) == [f"conv.{path}1", f"narrow.{path}1", f"spectral.{path}", f"whole.{path}1"]
    gains = [f"{name}.{path}0" for name in ("conv", "narrow", "rows", "whole")]
    assert named(model, spared) == sorted([*gains, f"rows.{path}1", "conv.bias", "narrow.bias"])


def test_goes_straight_into_an_optimizer():
    model = Net()
    before = {name: parameter.raw.copy() for name, parameter in model.named_parameters()}
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = parameter * 0.0
    optimizer.step()
    shrunk = [name for name, parameter in model.named_parameters() if (parameter.raw != before[name]).any()]
    assert shrunk == ["table", "first.weight", "last.weight"]
    np.testing.assert_allclose(model.table.raw, 1 - 0.1 * 0.05)


@pytest.mark.parametrize(("model", "decay"), [(nn.Linear(2, 2, bias=False), 0.5), (nn.BatchNorm2D(3), 0.0)])
def test_a_group_that_would_be_empty_is_left_out(model, decay):
    (group,) = optim.decay_groups(model, 0.5)
    assert group["weight_decay"] == decay
    assert len(group["params"]) == len(list(model.parameters()))


def test_an_impossible_decay_is_the_optimizers_error():
    with pytest.raises(ValueError, match="weight_decay is a finite number of at least 0, got -1"):
        optim.AdamW(optim.decay_groups(Net(), -1.0))
