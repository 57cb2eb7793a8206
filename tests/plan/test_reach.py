"""What a function reaches."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinygrad_norm import Tensor, nn, optim, random
from tinygrad_norm.plan.reach import Reach, is_users

FACTOR = Tensor([2.0])


def reached(root):
    return Reach([root])


def test_tensors_are_found_along_closures_attributes_lists_and_dicts():
    held, listed, keyed, default, given = (Tensor([float(i)]) for i in range(5))

    class Holder:
        __slots__ = ("slot",)

        def __init__(self):
            self.slot = held

    holder, both = Holder(), {"list": [listed], keyed: 1}

    def inner(x):
        return x + holder.slot

    def function(x, more=default):
        return inner(x) * both["list"][0] * more * FACTOR

    found = reached(partial(function, given)).tensors
    assert {id(each) for each in found} == {id(each) for each in (held, listed, keyed, default, given, FACTOR)}


def test_a_model_and_its_optimizer_are_reached_from_a_step():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1D(3))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.step()

    reach = reached(step)
    assert {id(each) for each in model.parameters()} <= {id(each) for each in reach.tensors}
    assert id(optimizer.param_groups[0]) in reach.told
    layers = reached(model)
    assert {id(each) for each in (*model.parameters(), *model.buffers())} == {id(each) for each in layers.tensors}
    assert {id(vars(each)) for each in model.modules()} <= layers.told


def test_generators_are_reached_and_the_global_one_always(rng):
    assert {id(each) for each in reached(lambda: rng.normal()).generators} == {id(rng), id(random.generator())}
    assert reached(len).generators == [random.generator()]


def test_what_a_circle_holds_is_found_once():
    circle: list[object] = []
    circle.append(circle)
    assert reached(lambda: circle).lists == [circle]


def test_an_empty_cell_holds_nothing():
    def outer():
        def inner():
            return late

        found = reached(inner)
        late = 1
        return found, late

    assert len(outer()[0].cells) == 1


def test_modules_of_python_and_of_packages_are_not_the_users():
    assert is_users(__name__)
    assert not any(map(is_users, ("json", "numpy", "tinygrad_norm.nn.module", None)))
    assert not reached(np.linalg.norm).names
