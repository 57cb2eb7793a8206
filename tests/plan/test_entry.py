"""What a plan cannot leave as an eager call does is refused."""

from __future__ import annotations

import numpy as np

from tests.plan.replays import assert_same, eager_reason
from tinygrad_norm import Tensor, capture, nn


def function_without_ops(x):
    return np.ones(3)


def test_a_tensor_that_wants_a_gradient_is_not_detached(rng):
    model = nn.Linear(3, 2)
    fast = capture(model)
    for _ in range(4):
        model.zero_grad()
        fast(Tensor(rng.normal(size=(2, 3)).astype(np.float32))).sum().backward()
        assert model.weight.grad is not None
    assert "wants a gradient" in fast.why


def test_a_gradient_with_a_tape_is_not_detached():
    w = Tensor(np.ones(2), requires_grad=True)

    def function(x):
        w.grad = None
        (w * w * x).sum().backward(create_graph=True)

    assert "tape" in eager_reason(function, Tensor([1.0, 2.0]))


def test_tensors_that_share_memory_or_have_a_tape_are_refused(rng):
    w = Tensor(np.ones(2))
    view = w.detach()
    assert "share their memory" in eager_reason(lambda x: x * view + w, Tensor([1.0, 2.0]))
    a = Tensor(np.ones(2), requires_grad=True)
    fast = capture(lambda x: (x * 2.0).sum().backward())
    for times in range(1, 6):
        fast(a + 1.0)
        assert_same([a.grad.raw], [np.full(2, 2.0 * times)])
    assert "tape behind it" in fast.why


def test_what_is_returned_is_refused_unless_it_is_looked_into(rng):
    class Output:
        def __init__(self, y):
            self.y = y

    assert "returns a Output" in eager_reason(lambda x: Output(x + 1), Tensor([1.0]))
    first = function_without_ops.__code__.co_firstlineno
    reason = eager_reason(function_without_ops, Tensor([1.0]))
    assert "it returns or leaves an array of shape (3,) that no launch made" in reason
    assert f"(test_entry.py:{first})" in reason


def test_an_argument_that_is_reached_as_well_is_refused(rng):
    weight = Tensor(rng.normal(size=3))
    fast = capture(lambda x: x * weight)
    for _ in range(4):
        assert_same([fast(weight).raw], [weight.raw**2])
    assert "also reaches" in fast.why
    x = Tensor(rng.normal(size=3))
    for _ in range(3):
        assert_same([fast(x).raw], [x.raw * weight.raw])
