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
    monkeypatch.setattr(compiler, "LARGE", 10**9)
    update(*arrays, **options)
    monkeypatch.setattr(compiler, "LARGE", 0)
    monkeypatch.setattr(kernel, "serial", None)
    update(*alike, **options)
    assert (arrays[0] != before).all()
    for found, expected in zip(alike, arrays, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("many", [0, 10**9], ids=["all threads", "one thread"])
@pytest.mark.parametrize(("update", "kernel", "buffers", "options"), STEPS)
def test_many_parameters_together_get_the_bits_of_each_alone(
    monkeypatch, rng, update, kernel, buffers, options, many, dtype
):
    monkeypatch.setattr(compiler, "LARGE", many)
    rows = [
        [rng.uniform(0.5, 0.7, size=shape).astype(dtype) for _ in range(2 + buffers)]
        for shape in [(7, 5), (0,), (), (1003,), (3, 1, 2), (40, 41)]
    ]
    rows[0][1] = np.asfortranarray(rows[0][1])
    rows[5][0] = np.asfortranarray(rows[5][0])
    alone = [[array.copy(order="K") for array in row] for row in rows]
    for row in alone:
        update(*row, **options)
    update.each(rows, **options)
    for row, expected in zip(rows, alone, strict=True):
        for found, wanted in zip(row, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("wrong", [np.zeros(4, np.float32), np.zeros(3)], ids=["size", "dtype"])
@pytest.mark.parametrize("place", range(5))
def test_arrays_of_another_size_are_refused_before_anything_is_written(place, wrong):
    arrays = [np.ones(3, np.float32) for _ in range(5)]
    arrays[place] = wrong
    first = [np.ones(3, np.float32) for _ in range(5)]
    with pytest.raises(ValueError, match="one size and one dtype"):
        optimizer.adam_update.each([first, arrays], **STEPS[1][3])
    assert all((array == 1).all() for array in first)
