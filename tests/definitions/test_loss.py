"""What says that cross-entropy is right: its formula in 40 digits, and finite differences."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.testing import gradcheck

IGNORE = 9
CASES = {
    "plain": ([[0.3, -1.2, 2.0], [5.0, 5.0, -7.0]], [2, 0], None, 0.0),
    "smoothed, weighted, one ignored": ([[0.3, -1.2], [np.inf, np.nan], [4.0, 0.5]], [1, IGNORE, 0], [2.0, 0.5], 0.2),
    "large": ([[1e4, 1e4 + 1, 1e4 - 2], [3e30, -3e30, 1e30], [-1e30, -2e30, -3e30]], [0, 1, 0], None, 0.0),
    "impossible classes": ([[-np.inf, 1.0, 2.0]], [1], None, 0.0),
    "classes of weight 0": ([[1.0, 2.0, -np.inf]], [1], [1.0, 3.0, 0.0], 0.3),
}
cases = pytest.mark.parametrize(("logits", "target", "weight", "smoothing"), CASES.values(), ids=CASES)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def exact(logits, target, weight, smoothing):
    """The losses of rows, and the gradient of their sum."""
    losses, gradient = np.zeros(len(target)), np.zeros(logits.shape)
    with mpmath.workdps(40):
        for n, (row, chosen) in enumerate(zip(logits.tolist(), target, strict=True)):
            if chosen == IGNORE:
                continue
            q = [
                mpmath.mpf(smoothing) / len(row) + (1 - mpmath.mpf(smoothing)) * (k == chosen) for k in range(len(row))
            ]
            q = [mpmath.mpf(w) * each for w, each in zip(weight or [1] * len(row), q, strict=True)]
            top = max(map(mpmath.mpf, row))
            powers = [mpmath.exp(mpmath.mpf(z) - top) for z in row]
            lse = top + mpmath.log(mpmath.fsum(powers))
            losses[n] = mpmath.fsum([each * (lse - mpmath.mpf(z)) for each, z in zip(q, row, strict=True) if each])
            gradient[n] = [p / mpmath.fsum(powers) * mpmath.fsum(q) - each for p, each in zip(powers, q, strict=True)]
    return losses, gradient


@cases
@dtypes
@np.errstate(all="ignore")
def test_arrays_and_tensors(logits, target, weight, smoothing, dtype):
    x, labels = np.array(logits, dtype), np.array(target)
    weights = None if weight is None else np.array(weight, dtype)
    losses, gradient = exact(x, target, weight, smoothing)
    close = {"rtol": 20 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    found, lse = definitions.cross_entropy(x, labels, weights, smoothing, IGNORE)
    assert (found.dtype, lse.dtype) == (dtype, np.float64)
    np.testing.assert_allclose(found, losses, **close)
    ones = np.ones(len(target), dtype)
    closed = definitions.cross_entropy_gradient(ones, x, labels, weights, lse, smoothing, IGNORE)
    assert closed.dtype == dtype
    np.testing.assert_allclose(closed, gradient, **close)
    leaf = Tensor(x, requires_grad=True)
    given = None if weights is None else Tensor(weights)
    y, _ = definitions.cross_entropy(leaf, labels, given, smoothing, IGNORE)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), losses, **close)
    np.testing.assert_allclose(grad(y, leaf, ones)[0].numpy(), gradient, **close)


def test_derivatives_of_the_definition(rng):
    target, weight = np.array([1, 3, 0, IGNORE]), Tensor(rng.uniform(1, 2, 4))
    logits = Tensor(rng.normal(size=(4, 4)), requires_grad=True)
    gradcheck(lambda x: definitions.cross_entropy(x, target, weight, 0.2, IGNORE)[0], [logits], order=3)


def test_float64_is_not_cast():
    logits = Tensor([[0.5, 1.0]], dtype=np.float64, requires_grad=True)
    creators, names = [definitions.cross_entropy(logits, np.array([1]), None, 0.0, IGNORE)[0].creator], set()
    while creators:
        entry = creators.pop()
        names.add(type(entry).__name__)
        creators += getattr(entry, "edges", ())
    assert "Log" in names
    assert "AsType" not in names


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_standard_is_enough(weighted, smoothing, rng):
    logits, target = rng.normal(size=(5, 4)), np.array([1, 3, 0, 2, 1])
    weight = rng.uniform(1, 2, 4) if weighted else None
    _, lse = definitions.cross_entropy(logits, target, weight, smoothing, 3)
    agree(definitions.cross_entropy, logits, target, weight, smoothing, 3)
    agree(definitions.cross_entropy_gradient, rng.normal(size=5), logits, target, weight, lse, smoothing, 3)
