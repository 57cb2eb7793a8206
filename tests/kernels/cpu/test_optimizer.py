"""What is particular to the compiled steps."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm.kernels.cpu import compiler, optimizer

STEPS = [
    (
        optimizer.sgd_update,
        optimizer._sgd,
        1,
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1, "nesterov": True},
    ),
    (
        optimizer.adam_update,
        optimizer._adam,
        3,
        {"step": 2, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": False},
    ),
    (
        optimizer.rmsprop_update,
        optimizer._rmsprop,
        3,
        {"lr": 0.1, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.9},
    ),
]


@pytest.mark.parametrize(("update", "kernel", "buffers", "options"), STEPS)
def test_many_threads_give_the_bits_of_one(monkeypatch, rng, update, kernel, buffers, options):
    arrays = [rng.uniform(0.5, 0.7, size=1003).astype(np.float32) for _ in range(2 + buffers)]
    before, alike = arrays[0].copy(), [array.copy() for array in arrays]
    monkeypatch.setattr(compiler, "LARGE", 1004)
    update(*arrays, **options)
    monkeypatch.setattr(compiler, "LARGE", 1003)
    monkeypatch.setattr(kernel, "serial", None)
    update(*alike, **options)
    assert (arrays[0] != before).all()
    for found, expected in zip(alike, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)
