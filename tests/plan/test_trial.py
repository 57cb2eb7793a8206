"""A trial finds whatever a replay does otherwise, and leaves what an eager call leaves."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, optim
from tinygrad_norm.plan.trial import compare


class World:
    def __init__(self):
        self.tensor, self.array, self.count = Tensor([1.0, 2.0]), np.ones(2), 0
        self.rng = np.random.default_rng(0)

    def skip(self):
        self.count = 5

    def eager(self):
        self.tensor.raw += 1
        self.tensor.grad = Tensor([3.0])
        self.array *= 2
        self.count += 1
        self.rng.normal()
        return self.tensor.raw.copy()


FAULTS = {
    "what it returns": lambda world: world.eager() + 1e-6,
    "of shape (2,)": lambda world: (world.eager(), world.tensor.raw.__iadd__(1e-6))[0],
    "the gradient": lambda world: (world.eager(), world.tensor.grad.raw.fill(0))[0],
    "the array 'array'": lambda world: (world.eager(), world.array.__imul__(-1))[0],
    "'count'": lambda world: (world.eager(), world.skip())[0],
    "a generator": lambda world: (world.eager(), world.rng.normal())[0],
    "raised ZeroDivisionError": lambda world: 1 / 0,
}


def test_the_same_is_the_same_and_runs_once():
    world = World()
    result, difference = compare([world.eager], world.eager, world.eager)
    assert difference == ""
    np.testing.assert_array_equal(result, [2.0, 3.0])
    assert (world.count, world.array.tolist(), world.tensor.grad.tolist()) == (1, [2.0, 2.0], [3.0])


@pytest.mark.parametrize("what", FAULTS)
def test_what_is_otherwise_is_named(what):
    world = World()
    result, difference = compare([world.eager], lambda: FAULTS[what](world), world.eager)
    assert what in difference
    np.testing.assert_array_equal(result, [2.0, 3.0])
    assert (world.count, world.array.tolist()) == (1, [2.0, 2.0])


def test_negative_zero_and_other_nans_are_other_bits():
    zero, nan = np.array([0.0]), np.array([np.nan])
    assert compare([len], lambda: zero, lambda: -zero)[1] == "what it returns"
    assert compare([len], lambda: nan, lambda: nan.copy())[1] == ""


def test_parameters_and_what_is_remembered_of_them_go_by_their_paths():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1D(2))
    optimizer, x = optim.Adam(net.parameters()), Tensor(np.ones((3, 2), np.float32))

    def step():
        net(x).sum().backward()
        optimizer.step()

    step()
    weight = net.get_submodule("0").weight
    places = {
        "0.weight": lambda: weight.raw,
        "the gradient of 0.weight": lambda: weight.grad.raw,
        "1.running_mean": lambda: net.get_submodule("1").running_mean.raw,
        "the array 'exp_avg' of 0.weight": lambda: optimizer.state[weight]["exp_avg"],
    }
    for name, place in places.items():

        def fault(place=place):
            step()
            place()[...] += 1.0

        assert compare([step], fault, step)[1] == name
