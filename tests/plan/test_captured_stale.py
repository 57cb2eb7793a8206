"""What a replay could have otherwise than an eager call, and nobody would see: each is compared, or refused."""

from __future__ import annotations

import copy
import ctypes
import functools
import importlib
import itertools
import operator
import os
import random as python_random
import sys
import threading
import weakref
from array import array
from collections import OrderedDict
from contextvars import ContextVar
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest

from tests.plan.replays import bits
from tinygrad_norm import Tensor, capture, nn, no_grad, optim, random

# Options of an optimizer that Python reads itself


def training(body):
    """A training step that makes something of its loss by body(loss, optimizer, schedule, model), and these."""
    random.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule = optim.StepLR(optimizer, 2, per_batch=True)

    def step(x):
        optimizer.zero_grad()
        loss, more = body((model(x) ** 2).sum(), optimizer, schedule, model)
        loss.backward()
        optimizer.step()
        return loss.detach(), more

    return step, optimizer, schedule, model


def times(rate):
    """What multiplies the loss by a number that it reads of a group."""
    return lambda loss, optimizer, schedule, model: (loss * rate(optimizer.param_groups[0]), None)


READS: dict[str, Any] = {
    "an item": times(lambda group: group["lr"]),
    "get": times(lambda group: group.get("lr")),
    "items": times(lambda group: dict(group.items())["lr"]),
    "values": times(lambda group: next(each for each in group.values() if type(each) is float)),
    "a dict": times(lambda group: dict(group)["lr"]),
    "another dict": times(lambda group: {**group}["lr"]),
    "a copy": times(lambda group: copy.copy(group)["lr"]),
    "a union": times(lambda group: (group | {})["lr"]),
    "a comparison": times(lambda group: 1.0 + (group == {**group, "lr": 0.1})),
    "its items": times(lambda group: sum(value for key, value in group.items() if key == "lr")),
    "a format": times(lambda group: float("{lr}".format_map(group))),
    "a branch": times(lambda group: 2.0 if group["lr"] > 0.2 else 1.0),
    "what a schedule tells": lambda loss, optimizer, schedule, model: (loss, tuple(schedule.get_last_lr())),
}


@pytest.mark.parametrize("name", READS)
def test_an_option_that_python_reads_is_compared(name, rng):
    (step, *one), (plain, *other) = training(READS[name]), training(READS[name])
    fast = capture(plain)
    for number in range(8):
        if number in (4, 6):
            for optimizer, _, _ in (one, other):
                optimizer.param_groups[0]["lr"] = 0.1 * number
        x = Tensor(rng.normal(size=(2, 3)).astype(np.float32))
        assert [*map(bits, fast(x))] == [*map(bits, step(x))]
        assert [bits(each) for each in other[2].parameters()] == [bits(each) for each in one[2].parameters()]
    assert (len(fast.plans), fast.why) == (3, "")


def test_an_option_that_launches_alone_look_up_is_not(rng):
    step, optimizer, schedule, _ = training(
        lambda loss, optimizer, schedule, model: (loss, schedule.step() or schedule.per_batch)
    )
    fast = capture(step)
    for number in range(8):
        optimizer.param_groups[0]["weight_decay"] = 0.1 * number
        fast(Tensor(rng.normal(size=(2, 3)).astype(np.float32)))
    assert (len(fast.plans), fast.why, schedule.last_epoch) == (1, "", 8)


CHANGING: dict[str, Any] = {
    "'lr'": lambda loss, optimizer, schedule, model: (loss, (schedule.step(), *schedule.get_last_lr())),
    "'last_epoch'": lambda loss, optimizer, schedule, model: (loss, (schedule.step(), schedule.last_epoch)),
    "'step'": lambda loss, optimizer, schedule, model: (loss, optimizer.state.get(model.bias, {"step": 0})["step"]),
    "'exp_avg'": lambda loss, optimizer, schedule, model: (
        loss * (optimizer.state[model.bias]["exp_avg"].sum() > 0) if optimizer.state else loss,
        None,
    ),
}


@pytest.mark.parametrize("name", CHANGING)
def test_what_a_step_looks_up_and_changes_itself_is_refused(name, rng):
    (step, *_), (plain, *_) = training(CHANGING[name]), training(CHANGING[name])
    fast = capture(plain)
    for _ in range(6):
        x = Tensor(rng.normal(size=(2, 3)).astype(np.float32))
        assert [*map(bits, fast(x))] == [*map(bits, step(x))]
    assert f"it looks up {name}, which it also changes (test_captured_stale.py:" in fast.why


class TestSomebodyElsesOptimizer:
    """A step that reaches an optimizer, and leaves its step to another call."""

    @staticmethod
    def step(read):
        random.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = optim.Adam(model.parameters(), lr=0.1)

        def step(x, updates):
            loss = (model(x) ** 2).sum() * read(optimizer, model)
            loss.backward()
            if updates:
                optimizer.step()
                optimizer.zero_grad()
            return loss.detach()

        return step, optimizer, model

    def check(self, read, rng, calls=16):
        """Call it captured and not; three of four calls make no step."""
        (step, *_, plain), (other, *_, model) = self.step(read), self.step(read)
        fast, reasons = capture(other), []
        for number in range(calls):
            x, updates = Tensor(rng.normal(size=(2, 3)).astype(np.float32)), number % 4 == 3
            assert bits(fast(x, updates)) == bits(step(x, updates))
            assert [*map(bits, model.parameters())] == [*map(bits, plain.parameters())]
            reasons.append(fast.why)
        return reasons

    def test_of_what_it_remembers_nothing_is_compared_that_nobody_reads(self, rng):
        reasons = self.check(lambda optimizer, model: 1.0, rng)
        assert reasons[8:] == [""] * 8

    @pytest.mark.parametrize(
        "read",
        [
            lambda optimizer, model: 1.0 + sum(each["step"] for each in optimizer.state.values()),
            lambda optimizer, model: 1.0 + sum(float(each["exp_avg"].ravel()[0]) for each in optimizer.state.values()),
            lambda optimizer, model: 1.0 + len(str([*optimizer.state.values()])),
        ],
    )
    def test_what_is_read_is(self, read, rng):
        self.check(read, rng)

    def test_an_array_that_is_also_reached_in_another_way_is(self, rng):
        def training():
            more: list[Any] = []
            step, optimizer, model = self.step(lambda optimizer, model: 1.0 + sum(float(each[0]) for each in more))
            step(Tensor([[1.0, 2.0, 3.0]]), True)
            more.append(optimizer.state[model.bias]["exp_avg"])
            return step

        step, fast = training(), capture(training())
        for number in range(14):
            x, updates = Tensor(rng.normal(size=(2, 3)).astype(np.float32)), number % 4 == 3
            assert bits(fast(x, updates)) == bits(step(x, updates))


# What a function reaches beside closures and attributes


mine = ModuleType("mine")
sys.modules["mine"] = mine
vars(mine).update(SCALE=1.0, double=lambda x: x * 2.0, inner=ModuleType("mine.inner"))
vars(mine.inner).update(SHIFT=1.0)


class Settings:
    scale = 1.0

    @staticmethod
    def double(x):
        return x * 2.0


def imports(x):
    import mine as imported  # type: ignore[import-not-found]

    return x * imported.SCALE


def imports_from(x):
    from mine import SCALE

    return x * SCALE


BESIDE: dict[str, Any] = {
    "a module": (lambda x: x * mine.SCALE, mine, "SCALE", 2.0),
    "a module in one": (lambda x: x * mine.inner.SHIFT, mine.inner, "SHIFT", 2.0),
    "a function of one": (lambda x: mine.double(x), mine, "double", lambda x: x * 3.0),
    "a module by its name": (lambda x: x * getattr(mine, "SCALE"), mine, "SCALE", 2.0),  # noqa: B009
    "a module that it imports": (imports, mine, "SCALE", 2.0),
    "what it imports": (imports_from, mine, "SCALE", 2.0),
    "a class": (lambda x: x * Settings.scale, Settings, "scale", 2.0),
    "a function of a class": (lambda x: Settings.double(x), Settings, "double", staticmethod(lambda x: x * 3.0)),
    "a name of Python's": (lambda x: x * abs(-1.0), sys.modules[__name__], "abs", lambda x: 3.0),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_reached_is_compared(name, monkeypatch):
    function, holder, attribute, value = BESIDE[name]
    fast, x = capture(function), Tensor([1.0, 2.0])
    for number in range(7):
        if number == 5:
            monkeypatch.setattr(holder, attribute, value, raising=False)
        before = bits(function(x))
        assert bits(fast(x)) == before
    assert (len(fast.plans), fast.why) == (2, "")


class Above:
    scale = 1.0


class Below(Above):
    pass


NAME = "SCALE"
BY_NAME: dict[str, Any] = {
    "a module's attribute": lambda x: x * getattr(mine, NAME),
    "an imported module": lambda x: x * importlib.import_module("mine").SCALE,
    "a loaded module": lambda x: x * sys.modules["mine"].SCALE,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_asked_for_by_its_name_is_compared(name, monkeypatch):
    fast, x = capture(BY_NAME[name]), Tensor([1.0])
    for number in range(7):
        if number == 5:
            monkeypatch.setattr(mine, "SCALE", 2.0)
        assert fast(x).item() == (1.0 if number < 5 else 2.0)
    assert (len(fast.plans), fast.why) == (2, "")


def test_an_attribute_that_comes_to_stand_before_one_of_another_class_is_seen(monkeypatch):
    below = Below()

    def stores(x):
        setattr(Below, "other", 1.0)  # noqa: B010
        return x * 2.0

    fast, other, x = capture(lambda x: x * below.scale), capture(stores), Tensor([1.0])
    for number in range(7):
        if number == 5:
            monkeypatch.setattr(Below, "scale", 2.0, raising=False)
        assert fast(x).item() == (1.0 if number < 5 else 2.0)
    assert (len(fast.plans), fast.why) == (2, "")
    for _ in range(3):
        other(x)
        monkeypatch.delattr(Below, "other")
    assert other.plans == []
    assert "it changes" in other.why


class Meta(type):
    scale = 1.0

    @property
    def read(cls):
        return cls.scale


class Of(metaclass=Meta):
    pass


class Odd:
    """Looks everything up in a dict, and raises what no look-up raises."""

    def __init__(self):
        self.items = {"scale": 1.0}

    def __getattr__(self, name):
        return self.__dict__["items"][name]


class Hidden:
    __slots__ = ("__scale", "_unset")

    def __init__(self):
        self.set(1.0)

    def set(self, scale):
        self.__scale = scale

    def get(self):
        return self.__scale


class Length:
    def __len__(self):
        return 1


class Named(dict[str, float]):
    scale = 1.0


def scaled(x, factor=1.0, *, more=1.0):
    return x * factor * more


def held():
    """What functions may hold a number in: how it is read, and how it is changed to 2.0."""
    variable, local = ContextVar("variable", default=1.0), threading.local()
    local.scale = 1.0
    numbers, table, odd, hidden, named = [1.0], {"a": 1.0}, Odd(), Hidden(), Named()
    ordered, buffer, typed = OrderedDict(a=1.0, b=2.0), bytearray(b"\x01"), array("d", [1.0])
    memory = np.ones(1)
    view, proxy, values, reference = memoryview(memory), MappingProxyType(table), table.values(), weakref.ref(odd)

    keyed, number = {Above(): 1}, ctypes.c_double(1.0)

    @functools.lru_cache
    def cached() -> float:
        return numbers[0]

    def plain(x):
        return x * attributed.scale

    attributed: Any = plain
    attributed.scale = 1.0

    def twice(x, factor=1.0, *, more=1.0):
        return x * 2.0

    return {
        "a context variable": (lambda x: x * variable.get(), lambda: variable.set(2.0)),
        "what is a thread's own": (lambda x: x * local.scale, lambda: setattr(local, "scale", 2.0)),
        "a cache": (
            lambda x: x * cached(),
            lambda: [each() for each in (cached.cache_clear, lambda: numbers.__setitem__(0, 2.0))],
        ),
        "the environment": (lambda x: x * len(os.environ["SCALE"]), lambda: os.environ.update(SCALE="11")),
        "a class of a class": (lambda x: x * Of.read, lambda: setattr(Meta, "scale", 2.0)),
        "an odd look-up": (lambda x: x * odd.scale, lambda: odd.items.update(scale=2.0)),
        "a hidden slot": (lambda x: x * hidden.get(), lambda: hidden.set(2.0)),
        "an attribute of a function": (attributed, lambda: setattr(attributed, "scale", 2.0)),
        "a default": (lambda x: scaled(x), lambda: setattr(scaled, "__defaults__", (2.0,))),
        "a default of a keyword": (lambda x: scaled(x), lambda: setattr(scaled, "__kwdefaults__", {"more": 2.0})),
        "code": (lambda x: scaled(x), lambda: setattr(scaled, "__code__", twice.__code__)),
        "a length": (lambda x: x * len(Length()), lambda: setattr(Length, "__len__", lambda self: 2)),
        "a proxy": (lambda x: x * proxy["a"], lambda: table.update(a=2.0)),
        "a view of a dict": (lambda x: x * sum(values), lambda: table.update(a=2.0)),
        "a weak reference": (lambda x: x * reference().scale, lambda: odd.items.update(scale=2.0)),
        "an order": (lambda x: x * next(iter(ordered.values())), lambda: ordered.move_to_end("a")),
        "bytes": (lambda x: x * buffer[0], lambda: buffer.__setitem__(0, 2)),
        "an array of Python's": (lambda x: x * typed[0], lambda: typed.__setitem__(0, 2.0)),
        "memory": (lambda x: x * view[0], lambda: memory.__setitem__(0, 2.0)),
        "an item's getter": (functools.partial(_getting, operator.itemgetter("a"), table), lambda: table.update(a=2.0)),
        "a key of a dict": (lambda x: x * next(iter(keyed)).scale, lambda: setattr(next(iter(keyed)), "scale", 2.0)),
        "a number of C's": (lambda x: x * number.value, lambda: setattr(number, "value", 2.0)),
        "a dict with attributes": (lambda x: x * named.scale, lambda: setattr(named, "scale", 2.0)),
    }


def _getting(get, table, x):
    return x * get(table)


@pytest.mark.parametrize("name", held())
def test_a_number_is_compared_wherever_it_is_held(name, monkeypatch):
    monkeypatch.setenv("SCALE", "1")
    for holder, attribute in ((Meta, "scale"), (Length, "__len__")):
        monkeypatch.setattr(holder, attribute, vars(holder)[attribute])
    for attribute in ("__defaults__", "__kwdefaults__", "__code__"):
        monkeypatch.setattr(scaled, attribute, getattr(scaled, attribute))
    function, change = held()[name]
    fast = capture(function)
    for number in range(7):
        if number == 5:
            change()
        assert fast(Tensor([3.0])).item() == (3.0 if number < 5 else 6.0)
    assert (len(fast.plans), fast.why) == (2, "")


@pytest.mark.parametrize(
    "draw",
    [
        python_random.random,
        np.random.rand,
        python_random.Random(0).random,
        np.random.RandomState(0).rand,
        np.random.Generator(np.random.MT19937(0)).random,
        np.random.default_rng(0).random,
        np.random.PCG64(0).random_raw,
    ],
)
def test_numbers_that_python_draws_are_seen_though_nothing_comes_of_them(draw):
    fast = capture(lambda x: x * 2.0 if draw() < 2 else x)
    for _ in range(5):
        fast(Tensor([1.0]))
    assert "it draws random numbers outside of an op" in fast.why


def test_an_iterator_that_goes_on_is_refused():
    numbers, lines, system = itertools.cycle([1.0, 1.0, 2.0]), (1.0 for _ in range(9)), python_random.SystemRandom()
    for each, draw in ((numbers, numbers.__next__), (lines, lines.__next__), (system, system.random)):
        fast = capture(lambda x, draw=draw: x * draw())
        for _ in range(4):
            fast(Tensor([1.0]))
        assert f"it reaches a {type(each).__name__}, and nobody sees how far that is" in fast.why


def test_a_store_to_a_global_that_is_not_there_is_seen():
    names: dict[str, Any] = {}
    exec("def function(x):\n    global made\n    made = 1\n    return x + 1", names)
    fast = capture(names["function"])
    for _ in range(4):
        names.pop("made", None)
        fast(Tensor([1.0]))
        assert names["made"] == 1
    assert "it changes 'made'" in fast.why


def test_a_step_that_freezes_a_layer_or_hooks_a_gradient_itself_is_refused(rng):
    def freezes(model, x):
        model.bias.requires_grad_(False)

    def hooks(model, x):
        model.weight.register_hook(lambda grad: grad * 2.0)

    def hooks_its_argument(model, x):
        x.register_hook(lambda grad: grad * 2.0)

    for does in (freezes, hooks, hooks_its_argument):
        model = nn.Linear(3, 2)

        @capture
        def step(x, model=model, does=does):
            does(model, x)
            model.zero_grad()
            model(x).sum().backward()

        for _ in range(4):
            model.requires_grad_(True)
            step(Tensor(rng.normal(size=(2, 3)).astype(np.float32), requires_grad=True))
        assert "it changes" in step.why


# What is given


def test_hooks_of_an_argument_are_called():
    def function(x):
        (x * 2.0).sum().backward()

    fast = capture(function)
    for number in range(7):
        x = Tensor([3.0], requires_grad=True)
        if number >= 4:
            x.register_hook(lambda grad: grad * 10.0)
        fast(x)
        assert x.grad.item() == (2.0 if number < 4 else 20.0)
    assert fast.why == "hooks of an argument see its gradient"
    fast(Tensor([3.0], requires_grad=True))
    assert fast.why == ""


def test_whether_an_argument_has_a_gradient_counts_though_it_wants_none():
    fast = capture(lambda x: x * (2.0 if x.grad is None else 3.0))
    for number in range(7):
        x = Tensor([1.0])
        x.grad = None if number < 4 else Tensor([1.0])
        assert fast(x).item() == (2.0 if number < 4 else 3.0)
    assert len(fast.plans) == 2


@no_grad()
def test_a_parameter_and_a_tensor_are_two_kinds():
    fast = capture(lambda x: x * (2.0 if isinstance(x, nn.Parameter) else 1.0))
    for number in range(7):
        x = (Tensor if number < 4 else nn.Parameter)(np.ones(1), requires_grad=True)
        assert fast(x).item() == (1.0 if number < 4 else 2.0)
    assert len(fast.plans) == 2


def test_an_argument_that_is_also_reached_is_not_taken_for_it():
    held = np.array([1.0, 2.0])
    fast = capture(lambda x: Tensor.wrap(x) - Tensor.wrap(held))
    for x in (held, held, np.array([5.0, 5.0])):
        assert fast(x).tolist() == (x - held).tolist()
        assert ("also reaches by itself" in fast.why) is (x is held)


def test_arrays_of_other_kinds_are_refused(tmp_path):
    mapped = np.memmap(tmp_path / "mapped", np.float64, "w+", shape=(7, 1))
    mapped[:] = np.arange(7)[:, None]

    def function(x):
        return Tensor(np.asarray(x)) * (2.0 if x.max() > 4 else 1.0)

    fast = capture(function)
    for number in range(7):
        assert fast(mapped[number]).tolist() == function(mapped[number]).tolist()
    assert "it is given a memmap, of which nobody sees what is read" in fast.why
    double = capture(lambda x: Tensor(x) * 2.0)
    double(np.ones(1))
    with pytest.raises(TypeError, match=r"mask"):
        double(np.ma.masked_array([1.0], [True]))


# What comes out


def test_views_of_each_other_share_memory(rng):
    weight = Tensor(np.ones(3), requires_grad=True)

    def function(x):
        weight.grad = None
        y = x * 2.0
        (weight * x[0]).sum().backward()
        return y, y.reshape(-1), y[1:].raw, weight.grad

    fast = capture(function)
    for size in (2, 2, 2, 2, 2, 200_000, 200_000, 200_000):
        y, flat, rows, grad = fast(Tensor(rng.normal(size=(size, 3))))
        y.raw[1, 0] = 7.0
        assert flat.raw[3] == rows[0, 0] == 7.0
        assert np.shares_memory(grad.raw, weight.grad.raw)
    assert fast.why == ""


def test_one_tensor_that_is_returned_twice_is_one(rng):
    held = Tensor(rng.normal(size=3))

    def function(x):
        y = x + held
        array = y.raw
        return y, {"y": y, "x": x, "held": held, "array": array}, array

    fast, alone = capture(function), capture(lambda x: x)
    for _ in range(5):
        x = Tensor(rng.normal(size=3))
        assert alone(x) is x
        y, others, array = fast(x)
        assert others["y"] is y
        assert others["x"] is x
        assert others["held"] is held
        assert others["array"] is array
        assert np.shares_memory(array, y.raw)
    assert fast.why == ""


def test_an_argument_that_gets_another_array_is_refused():
    def function(x):
        x.data = np.zeros(2)
        return x * 2.0

    fast = capture(function)
    for _ in range(4):
        x = Tensor([1.0, 2.0])
        assert fast(x).tolist() == [0.0, 0.0]
        assert x.tolist() == [0.0, 0.0]
    assert fast.why
