"""What a function reaches."""

from __future__ import annotations

import itertools
import sys
from functools import partial
from random import Random, _inst
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_norm import Tensor, derive, nn, optim, random
from tinygrad_norm.plan.reach import Reach

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
    always = {id(each) for each in (random.generator(), np.random.mtrand._rand, _inst)}
    assert {id(each) for each in reached(len).generators} == always
    own = np.random.RandomState(0), Random(0)
    assert {id(each) for each in reached(lambda: (rng, own)).generators} == {*always, id(rng), *map(id, own)}


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


def test_modules_of_the_users_are_entered_where_code_names_what_they_hold(monkeypatch):
    mine, sub, other = (ModuleType(name) for name in ("mine", "mine.sub", "other"))
    vars(mine).update(SCALE=Tensor([1.0]), sub=sub, OTHER=Tensor([2.0]))
    vars(sub).update(DEEP=Tensor([3.0]), TEXT=Tensor([4.0]))
    vars(other).update(SCALE=Tensor([5.0]))
    for each in (mine, sub, other):
        monkeypatch.setitem(sys.modules, each.__name__, each)

    def function():
        import other as imported  # type: ignore[import-not-found]

        return mine.SCALE, getattr(mine.sub, "TEXT"), mine.sub.DEEP, imported  # noqa: B009

    wanted = [mine.SCALE, sub.TEXT, sub.DEEP, other.SCALE]
    assert {id(each) for each in reached(function).tensors} == {*map(id, wanted)}


class Settings:
    scale = Tensor([1.0])


def test_classes_that_code_names_are_entered():
    assert [id(each) for each in reached(lambda: Settings.scale).tensors] == [id(Settings.scale)]


def test_iterators_of_pythons_own_kinds_are_found(tmp_path):
    kinds = [iter([1]), itertools.count(), (each for each in "a"), zip("a", "b", strict=True), iter({1})]
    with open(tmp_path / "file", "w") as file:
        found = reached(lambda: (kinds, file)).iterators
    assert {*map(id, found)} == {*map(id, kinds)}


def test_globals_that_are_not_there_yet_are_known_by_name():
    names: dict[str, Any] = {"__name__": "mine"}
    exec("def function():\n    global not_there_yet\n    not_there_yet = 1", names)
    assert [names for _, names in reached(names["function"]).names] == [("not_there_yet",)]


def test_the_module_that_a_derived_norm_says_it_is_from_is_not_entered(monkeypatch):
    place = ModuleType("of_a_norm")
    vars(place).update(
        mean=itertools.count()
    )  # under a name that the definition mentions, as a notebook's history may be
    monkeypatch.setitem(sys.modules, "of_a_norm", place)

    def centred(x, *, axes):
        return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)

    centred.__module__ = "of_a_norm"
    norm = derive(centred)
    assert norm.__module__ == "of_a_norm"
    assert reached(norm).iterators == []
