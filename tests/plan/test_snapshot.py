"""What containers hold: compared, and put back."""

from __future__ import annotations

import random as python_random
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, optim, random
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.snapshot import Guards, Snapshot, same, same_state, set_state, state_of

LEVEL = 1


def world():
    """A function, and all that it reaches."""
    count, items = 0, [1, 2]
    table: dict[str, Any] = {"a": 1.0, "many": [float(each) for each in range(100)], "list": [3]}
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def function():
        nonlocal count
        count += 0
        return count, items, table, model, optimizer, LEVEL

    def add():
        nonlocal count
        count += 1

    return function, add, items, table, model, optimizer


CHANGES = {
    "a variable": lambda add, items, table, model, optimizer: add(),
    "a list": lambda add, items, table, model, optimizer: items.append(3),
    "an element": lambda add, items, table, model, optimizer: items.__setitem__(0, 5),
    "a dict": lambda add, items, table, model, optimizer: table.update(a=2.0),
    "a key": lambda add, items, table, model, optimizer: table.update(b=2.0),
    "an attribute past its setter": lambda add, items, table, model, optimizer: model.__dict__.update(training=False),
    "an attribute more": lambda add, items, table, model, optimizer: model.__dict__.update(more=1),
    "whether a gradient is wanted": lambda add, items, table, model, optimizer: setattr(
        model.weight, "wants_grad", False
    ),
    "hooks": lambda add, items, table, model, optimizer: model.weight.register_hook(lambda grad: grad),
    "what goes from a list to the next": lambda add, items, table, model, optimizer: table["list"].insert(
        0, items.pop()
    ),
    "what goes from a list to one before": lambda add, items, table, model, optimizer: items.append(
        table["list"].pop(0)
    ),
    "a key for another": lambda add, items, table, model, optimizer: table.update(z=table.pop("list")),
    "one of many": lambda add, items, table, model, optimizer: table["many"].__setitem__(70, -1.0),
    "the type of one of many": lambda add, items, table, model, optimizer: table["many"].__setitem__(70, 70),
    "many for equal ones but one": lambda add, items, table, model, optimizer: table["many"].__setitem__(
        slice(None), [float(str(each)) for each in range(99)] + [0.0]
    ),
    "an attribute": lambda add, items, table, model, optimizer: setattr(model, "training", False),
    "an option": lambda add, items, table, model, optimizer: optimizer.param_groups[0].update(lr=0.2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_noticed_and_undone(change):
    function, *parts = world()
    before = Snapshot(Reach([function]))
    guards = Guards(before, set(), [])
    assert [*before.changed()] == []
    assert guards.hold()
    change(*parts)
    assert [*before.changed()]
    assert not guards.hold()
    before.restore()
    assert [*before.changed()] == []
    assert guards.hold()


def test_globals_are_compared(monkeypatch):
    function, *_ = world()
    before = Snapshot(Reach([function]))
    monkeypatch.setitem(globals(), "LEVEL", 2)
    assert [place for _, place in before.changed()] == ["LEVEL"]
    assert not Guards(before, set(), []).hold()


def test_tensors_and_generators_are_put_back(rng):
    tensor = Tensor([1.0], requires_grad=True)
    before = Snapshot(Reach([lambda: (tensor, rng)]))
    raw, drawn, ours = tensor.raw, rng.normal(), random.generator().random()
    tensor.raw, tensor.grad = np.zeros(1), Tensor([2.0])
    before.restore()
    assert tensor.raw is raw
    assert tensor.grad is None
    assert (rng.normal(), random.generator().random()) == (drawn, ours)


def test_what_is_no_container_is_put_back_too():
    variable, buffer, ordered = ContextVar("variable", default=0), bytearray(b"ab"), OrderedDict(a=1, b=2)
    variable.set(1)
    before = Snapshot(Reach([lambda: (variable, buffer, ordered)]))
    guards = Guards(before, set(), [])
    changes: list[Callable[[], Any]] = [
        lambda: variable.set(2),
        lambda: buffer.__setitem__(0, 3),
        lambda: ordered.move_to_end("a"),
    ]
    for change in changes:
        assert guards.hold()
        change()
        assert [*before.changed()]
        assert not guards.hold()
        before.restore()
    assert (variable.get(), buffer, [*ordered]) == (1, b"ab", ["a", "b"])
    ordered["c"] = 3  # its order is its own still
    assert [*ordered.items()] == [("a", 1), ("b", 2), ("c", 3)]


def test_what_a_plan_changes_itself_is_not_compared():
    function, _, _, table, _, optimizer = world()
    before = Snapshot(Reach([function]))
    guards = Guards(before, {id(table)}, [(optimizer.param_groups[0], "lr")])
    table["a"] = 7.0
    optimizer.param_groups[0]["lr"] = 0.5
    assert guards.hold()
    optimizer.param_groups[0]["momentum"] = 0.5
    assert not guards.hold()


def test_a_gradient_that_is_there_is_another_case():
    tensor = Tensor([1.0], requires_grad=True)
    guards = Guards(Snapshot(Reach([lambda: tensor])), set(), [])
    assert guards.hold()
    tensor.grad = Tensor([1.0])
    assert not guards.hold()


def test_equal_numbers_are_no_change_in_many_either():
    function, _, _, table, *_ = world()
    guards = Guards(Snapshot(Reach([function])), set(), [])
    for _ in range(2):
        table["many"][:] = [float(str(each)) for each in range(100)]
        assert guards.hold()
    table["many"][3] = 5.0
    assert not guards.hold()


@pytest.mark.parametrize(
    "pair", [(1.5, 1.5), ("ab", "".join(["a", "b"])), ((1, 2.0), (1, 2.0)), (np.nan, float("nan"))]
)
def test_equal_numbers_and_texts_are_the_same(pair):
    assert same(*pair)


@pytest.mark.parametrize(
    "pair", [(1, 1.0), (1, True), ([1], [1]), ((1, [2]), (1, [2])), (1.0, 2.0), (0.0, -0.0), ((1,), (1, 2))]
)
def test_others_are_not(pair):
    assert not same(*pair)


@pytest.mark.parametrize(
    "generator",
    [
        python_random.Random(1),
        np.random.RandomState(1),
        *(np.random.Generator(kind(1)) for kind in (np.random.PCG64, np.random.MT19937, np.random.SFC64)),
        np.random.Philox(1),
    ],
    ids=lambda generator: type(getattr(generator, "bit_generator", generator)).__name__,
)
def test_the_state_of_a_generator_is_told_and_put_back(generator):
    draw = getattr(generator, "random", None) or generator.random_raw
    before = state_of(generator)
    first, after = draw(), state_of(generator)
    assert same_state(before, before)
    assert not same_state(before, after)
    assert not same_state(after, None)
    set_state(generator, before)
    assert same_state(state_of(generator), before)
    assert draw() == first
