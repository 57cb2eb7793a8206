"""What the tape holds, and for how long: long chains, many steps, no cycles."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import (
    AnomalyError,
    Hook,
    Tensor,
    composed,
    detect_anomaly,
    grad,
    hooks,
    integrity,
    nn,
    ops,
    optim,
)

LENGTH = 100_000


def leaf(*shape: int) -> Tensor:
    return Tensor(np.full(shape, 0.5), requires_grad=True)


# Long chains


def chain(x: Tensor) -> Tensor:
    for _ in range(LENGTH):
        x = -x
    return x


def test_a_chain_of_100_000_ops():
    x = leaf(2)
    y = chain(x)
    y.backward(np.array([3.0, 4.0]))
    np.testing.assert_array_equal(x.grad.numpy(), [3.0, 4.0])
    entry = weakref.ref(y.creator)
    del y
    assert entry() is None


def test_a_recorded_way_back_of_100_000_ops():
    x, weights = leaf(2), leaf(2)
    y = chain(x)
    (dx,) = grad(y, x, weights, create_graph=True)
    np.testing.assert_array_equal(dx.numpy(), weights.numpy())
    (dweights,) = grad(dx, weights, np.array([3.0, 4.0]))
    np.testing.assert_array_equal(dweights.numpy(), [3.0, 4.0])
    entries = weakref.ref(y.creator), weakref.ref(dx.creator)
    del y, dx
    assert [entry() for entry in entries] == [None, None]


def test_a_chain_of_100_000_ops_that_nobody_takes_back():
    y = leaf(2)
    for _ in range(LENGTH):
        y = y.tanh()
    entry = weakref.ref(y.creator)
    del y
    assert entry() is None


# Cycles: whatever a step does, reference counts alone free it


def batch() -> tuple[Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    return Tensor(rng.normal(size=(8, 5)).astype(np.float32)), rng.integers(3, size=8)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1D(7, activation="relu"), nn.Dropout(0.1), nn.Linear(7, 3))


def train(model: nn.Sequential, optimizer: optim.SGD) -> None:
    x, labels = batch()
    optimizer.zero_grad()
    ops.cross_entropy(model(x), labels).backward()
    optimizer.step()


def plain_step() -> None:
    model = network()
    train(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def composed_step() -> None:
    with composed():
        plain_step()


def third_derivative() -> None:
    x = leaf(4)
    y = ops.layer_norm(x * x, 4).exp()
    for _ in range(3):
        (y,) = grad(y.sum(), x, create_graph=True)


def anomaly_in_backward() -> None:
    x = Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(invalid="ignore"), detect_anomaly():
        y = (x.sqrt() * 0.0).sum()
        try:
            y.backward()
        except AnomalyError:
            return
    raise AssertionError("no anomaly was found")


def tensor_hooks() -> None:
    x = leaf(4)
    middle = x.exp().retain_grad()
    middle.register_hook(lambda gradient: gradient * 2.0)
    x.register_hook(lambda gradient: None)
    with hooks(Hook()):
        (middle * middle).sum().backward()
    assert middle.grad is not None


def in_place_change() -> None:
    x = leaf(4)
    y = (x * x).sum()
    x.data[0] = 3
    try:
        y.backward()
    except RuntimeError:
        return
    raise AssertionError("the change was not noticed")


@pytest.fixture
def kept_garbage() -> Iterator[list[Any]]:
    """What the cycle collector finds, kept in a list."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize(
    "step",
    [plain_step, composed_step, third_derivative, anomaly_in_backward, tensor_hooks, in_place_change],
    ids=lambda step: step.__name__,
)
def test_the_cycle_collector_finds_nothing_of_ours(step, kept_garbage):
    step()
    gc.collect()
    ours = [
        type(item).__name__
        for item in kept_garbage
        if issubclass(type(item), np.ndarray) or type(item).__module__.startswith("tinygrad_norm")
    ]
    assert ours == []


def test_a_gradient_with_a_graph_is_a_cycle_until_it_is_dropped():
    x = leaf(3)
    (x**3).sum().backward(create_graph=True)  # x holds its gradient, which holds its graph, which ends in x
    entry = weakref.ref(x.grad.creator)
    assert entry() is not None
    x.grad = None
    assert entry() is None


def test_a_thousand_steps_take_no_more_memory_than_fifty():
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def used_after(steps: int) -> tuple[int, int]:
        for _ in range(steps):
            train(model, optimizer)
        gc.collect()  # empties Python's free lists too, which would be counted
        return sys.getallocatedblocks(), len(integrity._watched)

    before, watched = used_after(50)
    after, still_watched = used_after(1000)
    assert after - before < 500  # one object left behind at each step would be a thousand
    assert still_watched == watched
