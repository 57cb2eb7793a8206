"""Calls that differ in what they are given have plans of their own."""

from __future__ import annotations

from tests.plan.replays import assert_same
from tinygrad_norm import Tensor, capture


def test_arguments_that_share_memory_have_a_plan_of_their_own(rng):
    fast = capture(lambda x, y: x * 2 + y)
    memory = rng.normal(size=8)
    x, y = Tensor.wrap(memory[:5]), Tensor.wrap(rng.normal(size=5))
    for pair in [(x, x), (x, x), (x, y), (y, x), (x, Tensor.wrap(memory[3:])), (x, Tensor.wrap(memory[2:7]))]:
        assert_same([fast(*pair).raw], [pair[0].raw * 2 + pair[1].raw])


def test_strides_are_part_of_the_signature(rng):
    fast = capture(lambda x: x + 1)
    x = rng.normal(size=(4, 6))
    for array in (x, x.T, x[::2], x[:, ::-1], x, x.T, x[::2], x[:, ::-1]):
        assert_same([fast(Tensor.wrap(array)).raw], [array + 1])
    assert fast.why == ""


def test_the_form_of_arguments_is_part_of_the_signature(rng):
    @capture
    def function(given):
        return given["a"] * 2 + given["b"]

    a, b = Tensor(rng.normal(size=2)), Tensor(rng.normal(size=2))
    for given in ({"a": a, "b": b}, {"a": a, "b": b}, {"b": b, "a": a}, {"a": a, "b": b}, {"b": b, "a": a}):
        assert_same([function(given).raw], [a.raw * 2 + b.raw])


def test_an_object_is_known_by_itself_not_by_where_it_was(rng):
    class Scale:
        def __init__(self, factor):
            self.factor = factor

    fast, x = capture(lambda x, scale: x * scale.factor), Tensor(rng.normal(size=3))
    for number in range(40):  # each is where the one before was, as far as Python can
        assert_same([fast(x, Scale(float(number))).raw], [x.raw * number])
