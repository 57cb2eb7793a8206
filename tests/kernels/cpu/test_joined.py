"""Launches that are joined have the bits of each by itself."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.kernels.cpu import optimizer
from tinygrad_norm.kernels.cpu.joined import _Numbers
from tinygrad_norm.launch import Late

SGD = {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1, "nesterov": False}
ADAM = {"step": 2, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": False}
RMSPROP = {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9}
KERNELS = {
    "sgd": (optimizer._sgd, optimizer._sgd_rates, SGD, ["g p"]),
    "momentum": (optimizer._sgd, optimizer._sgd_rates, SGD | {"nesterov": True}, ["g p b", "g p b", "g p"]),
    "adam": (optimizer._adam, optimizer._adam_rates, ADAM, ["g p m v", "g p m v x", "g p m v"]),
    "rmsprop": (optimizer._rmsprop, optimizer._rmsprop_rates, RMSPROP, ["g p v", "g p v a", "g p v 0 b", "g p v a b"]),
}
COUNT = {optimizer._sgd: 3, optimizer._adam: 5, optimizer._rmsprop: 5}
SIZES = 1, 7, 0, 64, 131


def arrays_of(names, count, size, dtype, rng):
    """As many arrays as a kernel takes, or None."""
    found = [None if name == "0" else rng.uniform(0.5, 0.7, size).astype(dtype) for name in names.split()]
    return [*found, *[None] * (count - len(found))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_joined_launches_have_the_bits_of_single_ones(name, dtype, rng):
    kernel, rates, options, kinds = KERNELS[name]
    sets = [arrays_of(kinds[n % len(kinds)], COUNT[kernel], size, dtype, rng) for n, size in enumerate(SIZES)]
    alike = [[None if each is None else each.copy() for each in arrays] for arrays in sets]
    groups = [dict(options), {**options, "lr": 0.03}]
    states = [{"step": number} for number in (2, 2, 5, 2, 9)]
    numbers = []
    for n, state in enumerate(states):
        given = [state if key == "step" else groups[n % 2] for key in options]
        numbers.append(Late(rates, *[Late(dict.get, each, key) for each, key in zip(given, options, strict=True)]))
    run, arguments = kernel.joined([(0, *arrays, each) for arrays, each in zip(alike, numbers, strict=True)])
    for number in range(4):
        for arrays, late in zip(sets, numbers, strict=True):
            kernel(arrays[0].size, *arrays, late())
        run(*arguments)
        for arrays, others in zip(sets, alike, strict=True):
            for one, other in zip(arrays, others, strict=True):
                assert (one is None) if other is None else one.tobytes() == other.tobytes()
        groups[0]["lr"] *= 0.5
        for state in states:
            state["step"] += 1
        if number == 1:  # then one row is computed for all
            groups[1].update(groups[0])
            for state in states:
                state["step"] = 20


def shifted(value, shift):
    return value, shift


@pytest.mark.parametrize("values", [(0.0, -0.0), (1.0, 2.0), (3.0, 3.0), (0, 0)])
def test_rows_are_alike_only_if_all_numbers_are(values):
    mappings = [{"x": value} for value in values]
    numbers = _Numbers([Late(shifted, Late(dict.get, each, "x"), 4.0) for each in mappings])
    for _ in range(2):
        expected = np.array([[each["x"], 4.0] for each in mappings])
        assert numbers().tobytes() == expected.tobytes()
        mappings[0]["x"] += 1
