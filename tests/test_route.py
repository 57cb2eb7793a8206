"""A backward pass to some tensors alone: what it visits, and what it leaves alone."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Hook, Op, Tensor, grad, hooks, ops
from tinygrad_norm.route import Route, ops_behind


class Walked(Hook):
    """Writes down the ops that are taken back, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_backward(self, op: Op, grad: Tensor) -> None:
        self.names.append(op.name)


def leaf(array: Any) -> Tensor:
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def assert_equal(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(getattr(found, "raw", found), expected, rtol=1e-12, atol=1e-14)


def test_grad_of_an_intermediate_leaves_what_is_before_it():
    x = leaf([0.5, 2.0])
    h = (x * x).exp()
    y = (h * h).sum()
    assert_equal(grad(y, h)[0], 2 * h.numpy())
    assert_equal(grad(h.sum(), x)[0], 2 * x.numpy() * h.numpy())
    with pytest.raises(RuntimeError, match=r"^Exp: an earlier backward"):
        grad(h.sum(), x)


def test_grad_of_an_intermediate_leaves_what_is_beside_it():
    x, z = leaf([0.5, 2.0]), leaf([3.0, 4.0])
    h, beside = x.exp(), z.exp()
    assert_equal(grad((h + beside).sum(), h)[0], [1.0, 1.0])
    assert_equal(grad(beside.sum(), z)[0], np.exp(z.numpy()))


def test_grad_computes_nothing_for_other_inputs():
    class Spy(Op):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

        def backward(self, grad: Tensor) -> Any:
            seen.append(self.needs_input_grad)
            return grad, grad

    seen: list[tuple[bool, ...]] = []
    x, y, walked = leaf([1.0]), leaf([2.0]), Walked()
    z = Spy()(x, y.exp())
    with hooks(walked):
        grad(z, x, retain_graph=True)
        assert z.creator.needs_input_grad == (True, True)
        z.backward()
    assert seen == [(True, False), (True, True)]
    assert walked.names == ["Spy", "Spy", "Exp"]


def test_a_backward_pass_to_one_input_passes_over_what_was_not_given():
    x, weight = Tensor([[1.0, 2.0, 4.0]], requires_grad=True), Tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = ops.layer_norm(x, 3, weight)
    dy = np.array([[1.0, 0, 2]], np.float32)
    (alone,) = grad(y, x, dy, retain_graph=True)
    np.testing.assert_array_equal(alone.raw, grad(y, [x, weight], dy)[0].raw)


def test_walks_for_other_inputs_of_one_op_do_not_wait_for_each_other_or_mix():
    """One thread is inside the op, on the way back to `a` alone, as another goes back to both."""
    inside, go = threading.Event(), threading.Event()

    class Waiting(Op):
        def forward(self, a, b):
            self.save(a, b)
            return a * b

        def backward(self, grad):
            a, b = self.saved
            if self.needs_input_grad == (True, False):
                inside.set()
                assert go.wait(10)
            return grad * b if self.needs_input_grad[0] else None, grad * a if self.needs_input_grad[1] else None

    a, b = (Tensor(np.full(3, value), requires_grad=True) for value in (2.0, 5.0))
    y = Waiting()(a, b).sum()
    found = []
    thread = threading.Thread(target=lambda: found.append(grad(y, a, retain_graph=True)[0].tolist()))
    thread.start()
    assert inside.wait(10)
    y.backward(retain_graph=True)
    go.set()
    thread.join()
    assert found == [[5.0] * 3]
    assert (a.grad.tolist(), b.grad.tolist()) == ([5.0] * 3, [2.0] * 3)


def test_what_an_op_saved_of_its_output_is_differentiated_for_one_input_too(rng):
    class Root(Op):
        def forward(self, x, scale):
            root = np.sqrt(x)
            self.save(root, scale)
            return root

        def backward(self, grad):
            root, _ = self.saved
            return grad / (2 * root), None

    x, unused = Tensor(np.array([4.0, 9.0]), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    (first,) = grad(Root()(x, unused).sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    np.testing.assert_allclose(second.numpy(), -0.25 * x.raw**-1.5)


def test_every_op_behind_a_root_is_found_once():
    x = leaf([1.0])
    shared = x * 2.0
    left, right = shared.exp(), shared.sin()
    root = left + right
    found = ops_behind([root.creator, x])
    assert len(found) == 4
    assert set(found) == {tensor.creator for tensor in (shared, left, right, root)}


def test_a_narrowed_op_is_a_twin_that_goes_one_way():
    x, y = leaf([2.0]), leaf([5.0])
    op = (x * y).creator
    both, one, none = Route([x, y], [op]), Route([y], [op]), Route([leaf([1.0])], [op])
    assert both.narrowed(op) is op
    assert none.narrowed(op) is None
    twin = one.narrowed(op)
    assert (twin.needs_input_grad, twin.edges) == ((False, True), (None, y))
    assert (op.needs_input_grad, op.edges) == ((True, True), (x, y))
