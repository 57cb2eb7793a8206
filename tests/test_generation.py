"""The number that rises with every change of what a step computes, and with nothing that a step itself moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, generation, nn, ops, optim
from tinygrad_norm.optim.schedules import StepLR

CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "an array": lambda net, _: setattr(net[0].weight, "data", np.ones((4, 3), "f")),
    "requires_grad": lambda net, _: setattr(net[0].weight, "requires_grad", False),
    "requires_grad_": lambda net, _: net.requires_grad_(False),
    "dtype": lambda net, _: net.astype("float64"),
    "a state": lambda net, _: net.load_state_dict(net.state_dict()),
    "training": lambda net, _: net.eval(),
    "frozen": lambda net, _: setattr(net[1], "frozen", True),
    "momentum": lambda net, _: setattr(net[1], "momentum", 0.2),
    "statistics": lambda net, _: net[1].reset_running_stats(),
    "a parameter": lambda net, _: setattr(net[0], "weight", nn.Parameter(np.ones((4, 3), "f"))),
    "a module": lambda net, _: net.add_module("0", nn.Linear(3, 4)),
    "no module": lambda net, _: delattr(net, "0"),
    "an option": lambda _, optimizer: optimizer.param_groups[0].__setitem__("lr", 0.1),
    "options": lambda _, optimizer: optimizer.param_groups[0].update(momentum=0.1, lr=0.2),
    "a schedule": lambda _, optimizer: StepLR(optimizer, 1).step(),
    "a group": lambda _, optimizer: optimizer.add_param_group({"params": [Tensor([1.0], requires_grad=True)]}),
    "an optimizer's state": lambda _, optimizer: optimizer.load_state_dict(optimizer.state_dict()),
}


@pytest.fixture
def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.Dropout(0.5))


@pytest.fixture
def optimizer(net: nn.Sequential) -> optim.SGD:
    return optim.SGD(net.parameters(), momentum=0.9)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_what_a_step_computes_raises_it(change, net, optimizer):
    before = generation.number()
    change(net, optimizer)
    assert generation.number() != before


def test_a_step_does_not(net, optimizer, rng):
    x, y = rng.normal(size=(5, 3)).astype("f"), np.array([0, 1, 2, 3, 0])
    before = generation.number()
    for _ in range(2):
        optimizer.zero_grad()
        ops.cross_entropy(net(Tensor(x)), y).backward()
        optim.clip_grad_norm(net.parameters(), 1.0)
        optimizer.step()
    assert generation.number() == before
    assert net[1].num_batches_tracked.item() == 2


def test_a_deleted_attribute_raises_it():
    model = nn.Sequential(nn.Linear(2, 3))
    before = generation.number()
    del model[0].bias
    assert generation.number() != before
