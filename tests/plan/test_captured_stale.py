"""What a replay could have otherwise than an eager call, and nobody would see: each is compared, or refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, capture, kernels, nn, optim, random
from tinygrad_norm.launch import launch


def bits(value):
    array = getattr(value, "raw", value)
    return (array.shape, str(array.dtype), array.tobytes()) if isinstance(array, np.ndarray) else array


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


# Ops of the user's


class Masks(Op):
    """Multiplies by what it holds."""

    def __init__(self, mask):
        self.mask = mask

    def forward(self, x):
        return x * np.asarray(getattr(self.mask, "raw", self.mask))

    def backward(self, grad):
        return grad * Tensor(getattr(self.mask, "raw", self.mask))


class Inside(Masks):
    """Holds it in a list."""

    def __init__(self, mask):
        self.mask = [mask]

    def forward(self, x):
        return x * self.mask[0]


class Chooses(Op):
    """Decides by values which kernel it launches."""

    def forward(self, x):
        return kernels.of(x).relu(x) if x.sum() > 0 else launch(np.negative, x)


class Returns(Op):
    """Decides by values what it returns."""

    def forward(self, x, y):
        return x if x.sum() > 0 else y


class Reverses(Op):
    """Returns what it is given."""

    def forward(self, x):
        return x

    def backward(self, grad):
        return -grad


def closes_over(mask):
    class Closes(Op):
        def forward(self, x):
            return x * mask

    return Closes()


OPS: dict[str, Any] = {
    "an argument it holds": (lambda x, mask: Masks(mask)(x), ""),
    "a tensor it holds": (lambda x, mask: Masks(Tensor(mask) * 2.0)(x), ""),
    "an argument in a list": (lambda x, mask: Inside(mask)(x), "that it is not given and that is none of its attr"),
    "an argument of outside": (lambda x, mask: closes_over(mask)(x), "that it is not given and that is none of"),
    "launches it chooses": (lambda x, mask: Chooses()(x), ""),
    "a result it chooses": (lambda x, mask: Returns()(x, mask), "may decide by values"),
    "a result it is given": (lambda x, mask: Reverses()(x * 2.0) + 1.0, ""),
}


@pytest.mark.parametrize("name", OPS)
def test_what_an_op_of_the_users_holds_or_decides_is_no_others(name, rng):
    function, reason = OPS[name]
    fast = capture(function)
    for sign in (1, 1, -1, -1, 1, -1):
        x, mask = Tensor(sign * rng.uniform(0, 1, 3)), rng.normal(size=3)
        assert bits(fast(x, mask)) == bits(function(x, mask))
    assert reason in fast.why
    assert bool(fast.plans) is not bool(reason)


def test_gradients_of_an_op_of_the_users_are_those_of_eager_calls(rng):
    def function(x, mask):
        y = Reverses()(Masks(mask)(x)).sum()
        y.backward()
        return y.detach()

    fast = capture(function)
    for _ in range(5):
        array, mask = rng.normal(size=(2, 3))
        one, other = Tensor(array, requires_grad=True), Tensor(array, requires_grad=True)
        assert bits(fast(one, mask)) == bits(function(other, mask))
        assert bits(one.grad) == bits(other.grad)
