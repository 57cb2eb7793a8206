"""The identities that the way back uses, and that it is right where they do not hold."""

from __future__ import annotations

import contextlib
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed
from tinygrad_norm.derivation.expression import walk
from tinygrad_norm.derived import derive
from tinygrad_norm.testing import gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")

norms = run_path(str(Path(__file__).parent / "norms.py"))


def test_what_goes_through_the_variance_to_the_mean_is_nothing():
    norm = derive(norms["layer_norm"])
    found = {norm.traced.names[back.value]: of for back, of in norm.way.adjoints.items()}
    assert not any(node.op == "adjoint" for node in walk(found["mean"]))


def test_a_centre_that_is_no_mean_keeps_its_path(rng):
    def off_centre(x: Any, *, axes: Any, eps: Any = 0.1) -> Any:
        xp = x.__array_namespace__()
        middle = xp.mean(0.5 * x, axis=axes, keepdims=True)
        spread = xp.mean(xp.square(x - middle), axis=axes, keepdims=True)
        return (x - middle) / xp.sqrt(spread + eps)

    norm = derive(off_centre)
    found = {norm.traced.names[back.value]: of for back, of in norm.way.adjoints.items()}
    assert any(node.op == "adjoint" for node in walk(found["middle"]))
    gradcheck(lambda x: norm(x, axes=1), [Tensor(rng.normal(size=(3, 4)), requires_grad=True)], order=2)


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2)])
def test_a_sum_of_what_does_not_vary_counts_its_values(axes, rng):
    def by_sums(x: Any, *, axes: Any, eps: Any = 0.1) -> Any:
        xp = x.__array_namespace__()
        total = xp.sum(x, axis=axes, keepdims=True)
        spread = xp.sum(xp.square(x) + total, axis=axes, keepdims=True)
        return x / (xp.square(spread) + eps)

    norm = derive(by_sums)
    gradcheck(lambda x: norm(x, axes=axes), [Tensor(rng.normal(size=(3, 2, 2)), requires_grad=True)], order=2)


@pytest.mark.parametrize("statistic", ["max", "min"])
def test_equal_extremes_share_what_comes_back(statistic):
    def by_extreme(x: Any, *, axes: Any) -> Any:
        xp = x.__array_namespace__()
        extreme = getattr(xp, statistic)(x, axis=axes, keepdims=True)
        return x - extreme

    x = Tensor([[2.0, 2.0, 1.0, 1.0]], requires_grad=True)
    y = derive(by_extreme)(x, axes=1)
    y.backward(np.array([[1.0, 0, 0, 3]]))
    chosen = x.raw == getattr(np, statistic)(x.raw)
    np.testing.assert_array_equal(x.grad.raw, np.array([[1.0, 0, 0, 3]]) - np.where(chosen, 2, 0))


@pytest.mark.parametrize("name", ["linf_norm", "l1_norm"])
def test_kinks_have_the_gradient_that_ops_give_them(name):
    x = np.array([[0.0, -2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    dy = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    norm, more = derive(norms[name]), [np.ones(4)] if name == "l1_norm" else []
    found = []
    for form in (contextlib.nullcontext(), composed()):
        leaf = Tensor(x, requires_grad=True)
        with form:
            y = norm(leaf, *more, axes=1)
        y.backward(dy)
        found.append(leaf.grad.raw)
    np.testing.assert_allclose(*found, rtol=1e-12)
