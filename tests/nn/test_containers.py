from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn


class Add(nn.Module):
    def __init__(self, amount: float):
        super().__init__()
        self.amount = amount

    def forward(self, x):
        return x + self.amount


class Double(nn.Module):
    def forward(self, x):
        return x * 2


def test_sequential_calls_in_order():
    double = Double()
    model = nn.Sequential(Add(1), double, Add(3), double)
    assert model(2) == 18
    assert nn.Sequential()(5) == 5


def test_sequential_takes_names():
    model = nn.Sequential(OrderedDict(one=Add(1), two=nn.Linear(2, 3)))
    assert [name for name, _ in model.named_children()] == ["one", "two"]
    assert list(model.state_dict()) == ["two.weight", "two.bias"]
    assert isinstance(model.two, nn.Linear)


def test_indexing_from_both_ends_and_length():
    first, second = Add(1), Add(2)
    for container in (nn.Sequential(first, second), nn.ModuleList([first, second])):
        assert len(container) == 2
        assert list(container) == [first, second]
        assert container[0] is container[-2] is first
        assert container[np.int64(1)] is second
        with pytest.raises(IndexError, match="holds 2 modules, none at index 2"):
            container[2]
        with pytest.raises(IndexError, match="none at index -3"):
            container[-3]


def test_a_slice_of_a_sequential_keeps_the_names():
    model = nn.Sequential(Add(1), Add(2), Double()).eval()
    part = model[1:]
    assert type(part) is nn.Sequential
    assert part(1) == 6
    assert not part.training
    assert [name for name, _ in part.named_children()] == ["1", "2"]
    assert part[0] is model[1]
    part.append(Add(5))
    assert part(1) == 11
    assert len(model) == 3


def test_a_slice_of_a_list_counts_anew_and_leaves_names_on_the_tape():
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Add(1), Add(2), Add(3)])

    owner = Owner()
    part = owner.blocks[::2]
    assert [name for name, _ in part.named_children()] == ["0", "1"]
    assert [module.amount for module in part] == [1, 3]
    assert owner.blocks[2]._scope == "blocks.2"


def test_append_extend_and_replacing():
    model = nn.Sequential(Add(1))
    assert model.append(Double()) is model
    assert model.extend([Add(1), Add(1)]) is model
    assert model(1) == 6
    model[-1] = Double()
    assert model(1) == 10
    assert [name for name, _ in model.named_children()] == ["0", "1", "2", "3"]
    layers = nn.ModuleList().append(Add(1)).extend([Double()])
    assert [type(layer) for layer in layers] == [Add, Double]


@pytest.mark.parametrize("build", [nn.Sequential, lambda *items: nn.ModuleList(items)])
def test_what_is_no_module_is_refused(build):
    with pytest.raises(TypeError, match=r"item 1 is a Module.*did you mean Double\(...\)\?"):
        build(Add(1), Double)
    with pytest.raises(TypeError, match="item 0 is a Module, got <function"):
        build(lambda x: x)


def test_a_list_instead_of_modules():
    modules: Any = [Add(1), Add(2)]
    with pytest.raises(TypeError, match=r"did you mean Sequential\(\*modules\)\?"):
        nn.Sequential(modules)


def test_names_that_cannot_be():
    with pytest.raises(ValueError, match="without dots"):
        nn.Sequential({"a.b": Add(1)})
    with pytest.raises(ValueError, match="method"):
        nn.Sequential({"forward": Add(1)})
    with pytest.raises(ValueError, match="method"):
        nn.Sequential({"append": Add(1)})


def test_gradients_pass_through_and_reach_every_layer():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model(Tensor(np.ones((5, 3), np.float32))).sum().backward()
    assert all(np.any(parameter.grad.numpy()) for parameter in model.parameters())
