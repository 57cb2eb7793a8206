"""A replay runs the launches on the plan's memory."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, launch, models, no_grad, ops, optim
from tinygrad_norm.plan import plan as plans
from tinygrad_norm.plan.trees import leaves
from tinygrad_norm.tape import Op

LARGE = plans._SMALL  # so many float64 are eight times as many bytes


def plan_of(function, *arguments):
    """The plan of a function that was called once."""
    fast = capture(function)
    with no_grad():
        fast(*arguments)
    assert fast.plan is not None, fast.why
    return fast.plan


@pytest.mark.parametrize("size", [5, LARGE])
def test_small_and_large_arrays_go_in_and_out(size, rng):
    plan = plan_of(lambda x: ops.exp(x) * 2, Tensor(rng.normal(size=size)))
    kept = []
    for _ in range(3):
        x = rng.normal(size=size)
        kept.append((plan([Tensor.wrap(x)]).raw, np.exp(x) * 2))
    for found, expected in kept:
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert bool(plan.fresh) == (size == LARGE)


def test_another_form_is_refused_before_anything_runs(rng):
    weight = Tensor(rng.normal(size=(3, 4)))
    plan = plan_of(lambda x: x * weight, Tensor(rng.normal(size=(3, 4))))
    weight.replace(rng.normal(size=(4, 3)).T)
    with pytest.raises(plans.ChangedError):
        plan([Tensor(rng.normal(size=(3, 4)))])


def test_memory_of_what_is_no_longer_needed_is_used_again(rng):
    x = Tensor(rng.normal(size=1000))

    def chain(x):
        for _ in range(10):
            x = ops.exp(x) * 0.1
        return x.sum()

    assert plan_of(chain, x).memory() < 4 * 8000


def peak(function, *arguments):
    """The most bytes that a call holds beyond those there were before it."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        function(*arguments)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", ["lenet5", "resnet18", "efficientnet_b0"])
def test_its_memory_is_at_most_that_of_an_eager_step(name, train, rng):
    model = models.create_model(name, **({} if name == "lenet5" else {"width": 0.25})).train(train)
    optimizer = optim.AdamW(model.parameters())

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    function = step if train else no_grad()(model.__call__)
    x = Tensor(rng.normal(size=(16, 3, 32, 32)).astype(np.float32))
    vars(launch._kept).clear()
    function(x)
    eager = peak(function, x) + sum(each.nbytes for each in vars(launch._kept).values())
    fast = capture(function)
    for _ in range(2):
        fast(x)
    assert fast.why == ""
    assert fast.plan.memory() - fast.plan.memory_of_parameters() <= eager
    assert fast.plan.memory_of_parameters() <= 4 * sum(each.nbytes for each in model.parameters())


def test_orders_of_memory_are_kept(rng):
    x = rng.normal(size=(4, 5, 6)).transpose(2, 0, 1)
    plan = plan_of(lambda x: ops.exp(x), Tensor.wrap(x))
    for size in (1, 40):
        given = np.repeat(x, 1, axis=0) if size == 1 else x
        eager = ops.exp(Tensor.wrap(x)).raw
        assert plan([Tensor.wrap(x)]).raw.strides == eager.strides
        assert given.shape == x.shape
    large = rng.normal(size=(30, 40, 50)).transpose(2, 0, 1)
    plan = plan_of(lambda x: ops.exp(x), Tensor.wrap(large))
    assert plan([Tensor.wrap(large)]).raw.strides == ops.exp(Tensor.wrap(large)).raw.strides


def test_what_it_gave_away_it_does_not_keep(rng):
    import sys

    plan = plan_of(lambda x: ops.exp(x), Tensor(rng.normal(size=LARGE)))
    found = plan([Tensor(rng.normal(size=LARGE))]).raw
    assert sys.getrefcount(found) == 2


def add_up(number, *trees):
    """The number, and all numbers and arrays in nested tuples and dicts."""
    total = number
    for each in leaves(trees):
        total = total + each
    return total


@pytest.mark.parametrize("size", [5, LARGE])
def test_late_numbers_are_computed_from_arrays_as_they_are_then(size, rng):
    options = {"a": 1.0, "b": 2.0}

    def function(x):
        largest = launch.launch(np.max, x.raw)
        tree = ({"b": launch.item(options, "b")}, [launch.late(float, largest)])
        return launch.launch(add_up, launch.item(options, "a"), x.raw, tree)

    plan = plan_of(function, Tensor(rng.normal(size=size)))
    for _ in range(3):
        x = rng.normal(size=size)
        expected = add_up(options["a"], x, options["b"], x.max())
        np.testing.assert_array_equal(plan([Tensor.wrap(x)]), expected)
        options["a"] += 1
        options["b"] -= 3


class Positive(Op):
    """The elements above 0, as many as there are."""

    def forward(self, x):
        return x[x > 0]


def test_a_shape_that_depends_on_values_is_never_stretched():
    plan = plan_of(lambda x: Positive()(x) + 0, Tensor([1.0, 2.0, -3.0]))
    assert plan([Tensor([-1.0, 2.0, 3.0])]).tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"returned an array of shape \(1,\), where it was recorded with \(2,\)"):
        plan([Tensor([-1.0, 2.0, -3.0])])
