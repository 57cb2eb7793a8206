"""Calls of kernels that are written from definitions: of any layout, and what is out of their range."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import channels_last, norms
from tinygrad_norm import Tensor, grad, kernels, ops
from tinygrad_norm.derived import derive
from tinygrad_norm.kernels.cpu import compiler, derived
from tinygrad_norm.kernels.cpu.generated import normalize
from tinygrad_norm.kernels.cpu.layout import layout
from tinygrad_norm.testing import gradcheck

NO_ACTIVATION = (1.0, -np.inf)
CASES = {
    "inner": ((7, 5), (1,), (1, 5)),
    "inner, of several rows": ((4, 3, 70), (0, 2), (1, 3, 1)),
    "outer": ((7, 5), (0,), (1, 5)),
    "outer, of several groups": ((4, 9, 5), (1,), (1, 1, 5)),
    "outer, of columns that share": ((4, 9, 2, 3), (1, 3), (1, 1, 2, 3)),
}


def call(x: Any, axes: Any, parameters: Any) -> derived.Call:
    made = derived.call_of(normalize, x, parameters, axes, (0.1,), (1.0, 0.0))
    made.arguments.append(tuple(map(x.dtype.type, NO_ACTIVATION)))
    return made


def nowhere() -> Any:
    raise AssertionError("all groups are in range")


@pytest.mark.parametrize("large", [1, 2**18])
@pytest.mark.parametrize("case", CASES)
def test_only_groups_out_of_range_are_taken_from_elsewhere(case, large, monkeypatch, rng):
    monkeypatch.setattr(compiler, "LARGE", large)
    layout.cache_clear()
    shape, axes, affine = CASES[case]
    x, weight, bias = rng.normal(size=shape), rng.normal(size=affine), rng.normal(size=affine)
    clean = derived.forward(call(x, axes, (weight, bias)), (), 2, derived.Otherwise(nowhere, ()))
    first = (0,) * len(shape)
    x[first] = 1e200
    lost = np.zeros(shape, bool)
    lost[first] = True
    groups = lost.any(axis=axes, keepdims=True)
    lost = np.broadcast_to(groups, shape)
    marks = np.full(shape, 7.0), np.full(groups.shape, 8.0), np.full(groups.shape, 9.0)
    y, mean, var = derived.forward(call(x, axes, (weight, bias)), (), 2, derived.Otherwise(lambda: marks, ()))
    np.testing.assert_array_equal(y, np.where(lost, 7, clean[0]))
    np.testing.assert_array_equal(mean, np.where(groups, 8, clean[1]))
    np.testing.assert_array_equal(var, np.where(groups, 9, clean[2]))

    statistics, dy = (np.where(groups, np.inf, each) for each in clean[1:]), rng.normal(size=shape)
    others = rng.normal(size=affine), rng.normal(size=affine)
    dx, dweight, dbias = derived.gradient(
        call(x, axes, (weight, bias)), dy, [*statistics], (0, 1), derived.Otherwise(lambda: (marks[0], *others), ())
    )
    assert (dx[lost] == 7).all()
    assert not (dx[~lost] == 7).any()
    np.testing.assert_array_equal(dweight, others[0])
    np.testing.assert_array_equal(dbias, others[1])
    layout.cache_clear()


@pytest.mark.parametrize("case", CASES)
def test_sums_are_spread_so_that_they_are_collected_again(case, rng):
    shape, axes, affine = CASES[case]
    x, gradient = rng.normal(size=shape), rng.normal(size=affine)
    form = call(x, axes, (gradient, None)).form
    np.testing.assert_array_equal(form.collect(form.spread(gradient), gradient), gradient)


@pytest.mark.parametrize("case", CASES)
def test_a_statistic_is_seen_and_given_back(case, rng):
    shape, axes, affine = CASES[case]
    form = call(rng.normal(size=shape), axes, (np.ones(affine), None)).form
    mean = rng.normal(size=[1 if i in axes else n for i, n in enumerate(shape)])
    assert form.statistic(mean).shape == form.room
    np.testing.assert_array_equal(form.restore_statistic(form.statistic(mean)), mean)


def weighed_norm(x: Any, mask: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 0.1) -> Any:
    """A norm with a parameter that has a value for each one of x."""
    xp = x.__array_namespace__()
    total = xp.sum(mask, axis=axes, keepdims=True)
    mean = xp.sum(mask * x, axis=axes, keepdims=True) / total
    var = xp.sum(mask * xp.square(x - mean), axis=axes, keepdims=True) / total
    return mask * (weight * (x - mean) / xp.sqrt(var + eps) + bias), mean, var


@pytest.mark.parametrize("scale", [1, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axes", [(0, 2, 3), (2, 3), (1,), (1, 2, 3)])
def test_what_has_a_value_for_each_one_of_x_is_read_as_x_is(axes, dtype, scale, rng):
    norm, shape = derive(weighed_norm), (3, 6, 5, 7)
    mask = np.broadcast_to(rng.uniform(0.1, 1, (3, 1, 5, 7)), shape).astype(dtype)
    affine, dy = rng.normal(size=(2, 6, 1, 1)).astype(dtype), rng.normal(size=shape).astype(dtype)
    for x in (rng.normal(0.5, 1, shape), channels_last(rng.normal(0.5, 1, shape)), rng.normal(size=shape)[:, ::-1]):
        x = (x * np.where(np.indices(shape)[0] == 1, scale, 1)).astype(dtype)  # one image alone
        found = masked_results(norm, x, mask, affine, dy, axes)
        kernels.use("reference")
        expected = masked_results(norm, *(each.astype(float) for each in (x, mask, affine, dy)), axes)
        kernels.use("cpu")
        for one, other in zip(found, expected, strict=True):
            tolerance = 3e-6 if dtype == "float32" else 1e-12
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def masked_results(norm: Any, x: Any, mask: Any, affine: Any, dy: Any, axes: Any) -> list[Any]:
    """y, the statistics, and the gradients of x, weight and bias."""
    leaves = [Tensor(each, requires_grad=True) for each in (x, *affine)]
    y, *statistics = norm(leaves[0], mask, *leaves[1:], axes=axes)
    return [each.raw for each in (y, *statistics, *grad(y, leaves, dy))]


@pytest.mark.parametrize("axes", [(0, 2, 3), (2, 3)])
def test_images_with_a_mask_stay_as_they_lie_in_memory(axes, rng):
    norm, x = derive(weighed_norm), channels_last(rng.normal(size=(3, 6, 5, 7)))
    mask = rng.uniform(0.1, 1, (3, 1, 5, 7))
    results = masked_results(norm, x, mask, np.ones((2, 6, 1, 1)), rng.normal(size=x.shape), axes)
    for each in (results[0], results[3]):
        assert each.transpose(0, 2, 3, 1).flags.c_contiguous
    names, text = ["mask", "weight", "bias"], norm.kernels_text((1, 2), (0,))
    assert "def outer_gradient(dy, x, mask, parameters, options, units" in text
    assert norm.kernels((True, False, True, True), (True, False, False)).data == (names.index("mask"),)


@pytest.mark.parametrize("needs", [True, False])
def test_what_has_a_value_for_each_one_of_x_may_want_a_gradient(needs, rng):
    x = Tensor(rng.normal(size=(3, 6, 5)), requires_grad=True)
    mask = Tensor(rng.uniform(0.1, 1, (3, 6, 5)), requires_grad=needs)
    affine = [Tensor(rng.normal(size=(6, 1)), requires_grad=True) for _ in range(2)]
    leaves = [x, mask, *affine] if needs else [x, *affine]
    gradcheck(
        lambda *given: derive(weighed_norm)(*(given if needs else (given[0], mask, *given[1:])), axes=(0, 2))[0], leaves
    )


def calls_of(function: Any) -> int:
    """How many Python functions a call runs, when it has run before."""
    count = 0

    def count_call(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    for _ in range(2):
        function()
    sys.setprofile(count_call)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_a_call_costs_no_more_python_than_that_of_a_fused_norm(rng):
    x, weight, bias = (Tensor(rng.normal(size=size), requires_grad=True) for size in ((8, 6, 4, 4), (6,), (6,)))
    renorm, batch = derive(norms["batch_renorm"]), derive(norms["batch_norm"])
    columns = [Tensor(rng.normal(size=(6, 1, 1)), requires_grad=True) for _ in range(2)]
    running = np.zeros((6, 1, 1)), np.ones((6, 1, 1))
    dy, axes = Tensor(rng.normal(size=x.shape)), (0, 2, 3)

    def of(norm: Any) -> int:
        return calls_of(lambda: norm().backward(dy))

    fused = of(lambda: ops.batch_norm(x, np.zeros(6), np.ones(6), weight, bias, training=True))
    assert of(lambda: batch(x, *columns, axes=axes)[0]) <= 1.2 * fused
    assert of(lambda: renorm(x, *running, axes=axes, eps=0.1, r_max=1.5, d_max=0.7)[0]) <= 1.5 * fused
