"""Programs drawn at random: ops, views and changes in place, called eagerly and captured; all is the same, bit for bit.

A program works on matrices of 3×3: what it is given, parameters, and what it has made so far.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, capture, nn, no_grad, ops, optim

SIDE = 3


def add_in_place(x, y):
    x += y
    return x


def assign(x, y):
    x[1:] = y[:-1] * 0.5
    return x


VALUES = {
    "tanh": lambda x, y: ops.tanh(x),
    "relu": lambda x, y: ops.relu(x),
    "softmax": lambda x, y: ops.softmax(x, axis=1),
    "half": lambda x, y: x * 0.5,
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * ops.tanh(y),
    "matmul": lambda x, y: ops.tanh(x) @ y,
    "where": lambda x, y: ops.where(ops.greater(x, y), x, y * 0.5),
    "row": lambda x, y: x + y.sum(axis=0, keepdims=True) * 0.25,
    "column": lambda x, y: y[:, :1] * x,
    "joined": lambda x, y: ops.concat([x[:1], y[1:]], axis=0),
    "normalized": lambda x, y: ops.layer_norm(x, (SIDE,)),
}
VIEWS = {
    "transposed": lambda x, y: x.T,
    "upside down": lambda x, y: x[::-1],
    "mirrored": lambda x, y: x[:, ::-1],
    "reshaped": lambda x, y: x.reshape(1, SIDE * SIDE).reshape(SIDE, SIDE),
    "stretched": lambda x, y: x[:1].broadcast_to(SIDE, SIDE),
    "rolled": lambda x, y: ops.concat([x, y], axis=1)[:, 1 : SIDE + 1],
}
IN_PLACE = {"add in place": add_in_place, "assign": assign}
WITH_GRADIENT = VALUES | VIEWS
ALL = WITH_GRADIENT | IN_PLACE

numbers = st.integers(0, 9)


def programs(names):
    return st.lists(st.tuples(st.sampled_from(sorted(names)), numbers, numbers), min_size=1, max_size=8)


def in_place(model, rng):
    with no_grad():
        model.one += 0.5


def element(model, rng):
    with no_grad():
        model.other[1, 2] = rng.normal()


def replaced(model, rng):
    model.one.data = rng.normal(size=(SIDE, SIDE)).astype(np.float32)


def through_data(model, rng):
    model.other.data[0] *= 0.5


def loaded(model, rng):
    model.load_state_dict({name: value * np.float32(0.5) for name, value in model.state_dict().items()})


def nothing(model, rng):
    pass


BETWEEN = {each.__name__: each for each in (nothing, in_place, element, replaced, through_data, loaded)}
changes = st.lists(st.sampled_from(sorted(BETWEEN)), min_size=6, max_size=6)


class Parameters(nn.Module):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(5)
        self.one, self.other = (nn.Parameter(rng.normal(size=(SIDE, SIDE)).astype(np.float32)) for _ in range(2))


def run(program, registers):
    """Work off a program, and return the last results."""
    for name, first, second in program:
        x, y = (registers[-1 - number % len(registers)] for number in (first, second))
        registers.append(ALL[name](x, y))
    return registers[-2:]


def bits(value):
    array = getattr(value, "raw", value)
    return None if array is None else (array.shape, str(array.dtype), array.tobytes())


def calls(function, model, between):
    """What several calls give: their results, what they were given as it is afterwards, parameters and gradients."""
    rng = np.random.default_rng(11)
    for name in between:
        x = Tensor(rng.normal(size=(SIDE, SIDE)).astype(np.float32))
        try:
            found = [bits(each) for each in function(x)]
        except (TypeError, ValueError, RuntimeError) as error:  # as of changing a stretched view
            found = [type(error).__name__, str(error)]
        yield [*found, bits(x), *map(bits, model.parameters()), *(bits(each.grad) for each in model.parameters())]
        BETWEEN[name](model, np.random.default_rng(len(name)))


def compared(make, between):
    """Call a function of a model, eagerly and captured, and return why the last call was eager."""
    eager, twin = Parameters(), Parameters()
    fast = capture(make(twin))
    pairs = zip(calls(make(eager), eager, between), calls(fast, twin, between), strict=True)
    for number, (expected, found) in enumerate(pairs):
        assert found == expected, f"call {number + 1}: {fast.why}"
    return fast.why


def inference(program):
    """What makes a function of a model without gradients."""

    def make(model):
        @no_grad()
        def function(x):
            return run(program, [model.other, model.one, x])

        return function

    return make


def training(program, make_optimizer):
    """What makes a step of training of a model."""

    def make(model):
        optimizer = make_optimizer(model.parameters())

        def step(x):
            optimizer.zero_grad()
            first, last = run(program, [model.other, model.one, x])
            loss = (last * x).sum()
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
            return loss.detach(), first.detach() * 1

        return step

    return make


OPTIMIZERS = {"sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.5), "adam": lambda p: optim.Adam(p, lr=0.1)}


@given(programs(ALL), changes)
def test_inference(program, between):
    compared(inference(program), between)


@given(programs(WITH_GRADIENT), st.sampled_from(sorted(OPTIMIZERS)), changes)
def test_training(program, optimizer, between):
    compared(training(program, OPTIMIZERS[optimizer]), between)


@pytest.mark.parametrize("name", ALL)
def test_each_is_replayed(name):
    """Not only eager: a program of each instruction on a result of its own has a plan."""
    program = [("half", 0, 0), (name, 0, 1), ("tanh", 0, 0)]
    assert compared(inference(program), [*BETWEEN]) == ""
    if name in WITH_GRADIENT:
        assert compared(training(program, OPTIMIZERS["adam"]), [*BETWEEN]) == ""
