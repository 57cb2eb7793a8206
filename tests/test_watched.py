"""Ops of the user's while a plan is recorded: what they hold or decide is no other's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.plan.replays import bits
from tinygrad_norm import Op, Tensor, capture, kernels
from tinygrad_norm.launch import launch


class Masks(Op):
    """Multiplies by what it holds."""

    def __init__(self, mask):
        self.mask = mask

    def forward(self, x):
        return x * np.asarray(getattr(self.mask, "raw", self.mask))

    def backward(self, grad):
        return grad * Tensor(getattr(self.mask, "raw", self.mask))


class Inside(Masks):
    """Holds it in a list."""

    def __init__(self, mask):
        self.mask = [mask]

    def forward(self, x):
        return x * self.mask[0]


class Chooses(Op):
    """Decides by values which kernel it launches."""

    def forward(self, x):
        return kernels.of(x).relu(x) if x.sum() > 0 else launch(np.negative, x)


class Returns(Op):
    """Decides by values what it returns."""

    def forward(self, x, y):
        return x if x.sum() > 0 else y


class Reverses(Op):
    """Returns what it is given."""

    def forward(self, x):
        return x

    def backward(self, grad):
        return -grad


def closes_over(mask):
    class Closes(Op):
        def forward(self, x):
            return x * mask

    return Closes()


OPS: dict[str, Any] = {
    "an argument it holds": (lambda x, mask: Masks(mask)(x), ""),
    "a tensor it holds": (lambda x, mask: Masks(Tensor(mask) * 2.0)(x), ""),
    "an argument in a list": (lambda x, mask: Inside(mask)(x), "that it is not given and that is none of its attr"),
    "an argument of outside": (lambda x, mask: closes_over(mask)(x), "that it is not given and that is none of"),
    "launches it chooses": (lambda x, mask: Chooses()(x), ""),
    "a result it chooses": (lambda x, mask: Returns()(x, mask), "may decide by values"),
    "a result it is given": (lambda x, mask: Reverses()(x * 2.0) + 1.0, ""),
}


@pytest.mark.parametrize("name", OPS)
def test_what_an_op_of_the_users_holds_or_decides_is_no_others(name, rng):
    function, reason = OPS[name]
    fast = capture(function)
    for sign in (1, 1, -1, -1, 1, -1):
        x, mask = Tensor(sign * rng.uniform(0, 1, 3)), rng.normal(size=3)
        assert bits(fast(x, mask)) == bits(function(x, mask))
    assert reason in fast.why
    assert bool(fast.plans) is not bool(reason)


def test_gradients_of_an_op_of_the_users_are_those_of_eager_calls(rng):
    def function(x, mask):
        y = Reverses()(Masks(mask)(x)).sum()
        y.backward()
        return y.detach()

    fast = capture(function)
    for _ in range(5):
        array, mask = rng.normal(size=(2, 3))
        one, other = Tensor(array, requires_grad=True), Tensor(array, requires_grad=True)
        assert bits(fast(one, mask)) == bits(function(other, mask))
        assert bits(one.grad) == bits(other.grad)
