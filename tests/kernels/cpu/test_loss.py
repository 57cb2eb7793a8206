"""Cross-entropy against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler

IGNORE = -100
TOLERANCE = {"float32": 2e-6, "float64": 1e-12}


def both(function, *arguments):
    return getattr(cpu, function)(*arguments), getattr(definitions, function)(*arguments)


@given(
    rows=st.integers(1, 9),
    classes=st.integers(1, 11),
    dtype=st.sampled_from(sorted(TOLERANCE)),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    step=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(rows, classes, dtype, weighted, smoothing, step, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (rows, step * classes)).astype(dtype)[:, ::step]
    target = np.where(rng.random(rows) < 0.3, IGNORE, rng.integers(classes, size=rows))
    weight = rng.integers(0, 3, classes).astype(dtype) if weighted else None
    arguments = logits, target, weight, smoothing, IGNORE
    (losses, lse), (expected, expected_lse) = both("cross_entropy", *arguments)
    assert (losses.dtype, lse.dtype) == (dtype, np.float64)
    close = {"rtol": 10 * TOLERANCE[dtype], "atol": 10 * TOLERANCE[dtype]}
    counted = target != IGNORE  # nobody reads the others
    np.testing.assert_allclose(lse[:, counted], expected_lse[:, counted], **close)
    np.testing.assert_allclose(losses, expected, **close)
    for dloss in (rng.normal(size=rows).astype(dtype), np.broadcast_to(np.asarray(0.5, dtype), rows)):
        found, gradient = both("cross_entropy_gradient", dloss, *arguments[:3], expected_lse, smoothing, IGNORE)
        assert (found.shape, found.dtype) == (gradient.shape, gradient.dtype)
        np.testing.assert_allclose(found, gradient, **close)


@given(
    rows=st.integers(0, 40),
    dtype=st.sampled_from(["int64", "int32", "uint8"]),
    weighted=st.booleans(),
    faults=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
def test_classes_are_counted_and_the_first_wrong_one_is_found(rows, dtype, weighted, faults, seed):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(rows) < 0.3, 7, rng.integers(5, size=rows))
    labels = np.where(rng.random(rows) < faults, rng.integers(5, 7, size=rows), labels).astype(dtype)
    weight = rng.integers(0, 3, 5).astype(np.float32) if weighted else None
    found, expected = both("checked_classes", labels[::2], 5, weight, 7)
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)


@given(rows=st.integers(1, 99), dtype=st.sampled_from(sorted(TOLERANCE)), seed=st.integers(0, 99))
def test_a_mean_and_its_gradient(rows, dtype, seed):
    rng = np.random.default_rng(seed)
    losses, dmean, total = rng.normal(size=rows).astype(dtype), np.asarray(rng.normal(), dtype), np.asarray(2.5)
    for name, arguments in (("mean_loss", (losses, total)), ("mean_loss_gradient", (dmean, total, rows))):
        found, expected = both(name, *arguments)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("kernels", [cpu, definitions], ids=["cpu", "reference"])
def test_differences_of_large_logits_keep_their_digits(kernels):
    logits, target = np.array([[1e4, 1e4 + 1, 1e4 - 2]], np.float32), np.array([0])
    powers = np.exp(np.array([0.0, 1.0, -2.0]))
    losses, lse = kernels.cross_entropy(logits, target, None, 0.0, IGNORE)
    gradient = kernels.cross_entropy_gradient(np.ones(1, np.float32), logits, target, None, lse, 0.0, IGNORE)
    np.testing.assert_allclose(losses, np.log(powers.sum()), rtol=1e-6)
    np.testing.assert_allclose(gradient[0], powers / powers.sum() - [1, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_any_size(dtype):
    logits = np.array([[1e4, -1e4, 0], [3e30, 3e30, 0], [-1e30, -2e30, -3e30]], dtype)
    losses, (highest, rest) = cpu.cross_entropy(logits, np.array([1, 0, 0]), None, 0.0, IGNORE)
    np.testing.assert_allclose(losses, [2e4, np.log(2), 0], rtol=1e-6)
    np.testing.assert_array_equal(highest, logits.max(axis=1))
    np.testing.assert_allclose(rest, [0, np.log(2), 0], rtol=1e-12)
    gradient = cpu.cross_entropy_gradient(
        losses, logits, np.array([1, 0, 0]), None, np.stack([highest, rest]), 0.0, IGNORE
    )
    np.testing.assert_allclose(gradient, losses[:, None] * [[1, -1, 0], [-0.5, 0.5, 0], [0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_kept(special, target):
    logits, classes = np.array([[special, 1.0, 2.0], [0.0, 1.0, 2.0]]), np.array([target, 0])
    with np.errstate(invalid="ignore", over="ignore"):
        (losses, lse), (expected, expected_lse) = both("cross_entropy", logits, classes, None, 0.0, IGNORE)
        np.testing.assert_allclose(losses, expected)
        np.testing.assert_allclose(lse[1], expected_lse[1])  # of NaN and 1 either may count as the highest
        found, gradient = both("cross_entropy_gradient", np.ones(2), logits, classes, None, lse, 0.0, IGNORE)
        np.testing.assert_allclose(found, gradient)


def test_many_threads_compute_the_same(monkeypatch, rng):
    logits, target = rng.normal(size=(70, 5)).astype(np.float32), rng.integers(5, size=70)
    losses, lse = cpu.cross_entropy(logits, target, None, 0.1, IGNORE)
    gradient = cpu.cross_entropy_gradient(losses, logits, target, None, lse, 0.1, IGNORE)
    monkeypatch.setattr(compiler, "LARGE", 350)
    for found, expected in zip(cpu.cross_entropy(logits, target, None, 0.1, IGNORE), (losses, lse), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    again = cpu.cross_entropy_gradient(losses, logits, target, None, lse, 0.1, IGNORE)
    np.testing.assert_allclose(again, gradient, rtol=1e-6, atol=1e-7)


def test_many_threads_count_and_average_the_same(monkeypatch, rng):
    losses, labels, total = rng.normal(size=500).astype(np.float32), rng.integers(9, size=500), np.asarray(3.0)
    weight = rng.random(9)

    def found():
        return *cpu.checked_classes(labels, 8, weight, 1), cpu.mean_loss(losses, total)

    expected = found()
    monkeypatch.setattr(compiler, "LARGE", 350)
    for one, other in zip(found(), expected, strict=True):
        assert one.tobytes() == other.tobytes()
