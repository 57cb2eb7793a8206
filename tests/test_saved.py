"""What an op keeps for the way back: what is kept, for how long, and how it comes back."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Hook, Op, Tensor, hooks, no_grad, ops


def leaf(*shape: int) -> Tensor:
    return Tensor(np.full(shape, 0.5), requires_grad=True)


def test_saved_bytes_counts_what_was_saved():
    x, y = leaf(3, 5), Tensor(np.ones((1, 5)))
    assert (x * x).creator.saved_bytes == 15 * 8  # x, once
    assert (x * y).creator.saved_bytes == 5 * 8  # y; nobody wants a gradient of y
    assert (x + x).creator.saved_bytes == 0
    assert x.exp().creator.saved_bytes == 15 * 8
    assert (x * 2.0).creator.saved_bytes == 0


def test_saved_bytes_counts_memory_that_is_shared_once():
    x = leaf(3, 5)
    assert (x * x.reshape(3, 5)).creator.saved_bytes == 15 * 8
    assert (x * x.detach().T.T).creator.saved_bytes == 15 * 8
    assert (x * Tensor(1.0).broadcast_to(3, 5)).creator.saved_bytes == 4


def test_a_freed_entry_holds_nothing():
    x = leaf(3)
    y = x * x
    y.sum().backward()
    assert y.creator.saved_bytes == 0


@pytest.mark.parametrize("recording", [True, False])
def test_no_grad_saves_nothing(recording):
    class Saved(Hook):
        def after_forward(self, op: Op, inputs: Any, output: Tensor) -> None:
            total.append(len(op.saved_arrays))

    total: list[int] = []
    x, weight = leaf(4, 3), leaf(2, 3)
    with hooks(Saved()):
        if recording:
            y = ops.layer_norm(ops.linear(x.exp() * x, weight), 2)
        else:
            with no_grad():
                y = ops.layer_norm(ops.linear(x.exp() * x, weight), 2)
    assert y.requires_grad == recording
    assert all(total) == any(total) == recording


@pytest.mark.parametrize("x", [leaf(3), leaf(3).detach()], ids=["recorded", "not recorded"])
def test_an_intermediate_array_lives_as_long_as_something_saved_it(x):
    middle = x + 1.0
    array = weakref.ref(middle.raw)
    y = middle * middle
    del middle
    assert (array() is not None) == x.requires_grad
    y.sum().detach()
    del y
    assert array() is None


def test_an_entry_does_not_keep_its_output():
    x = leaf(3)
    y = x + 1.0
    entry, output = y.creator, weakref.ref(y)
    assert entry.output is y
    del y
    assert output() is None
    assert entry.output is None


def test_memory_that_saved_views_share_is_counted_once():
    class Both(Op):
        def forward(self, x):
            self.save(x, x[1:])
            return x * 1

    assert Both()(Tensor(np.zeros(10), requires_grad=True)).creator.saved_bytes == 80


def test_what_an_op_saved_is_freed_once_it_went_back():
    class Held(Hook):
        def before_backward(self, op: Op, grad: Tensor) -> None:
            counts.append(sum(ref() is not None for ref in saved))

    saved: list[weakref.ref[Any]] = []
    counts: list[int] = []
    y = leaf(5)
    for _ in range(20):
        saved.append(weakref.ref(y.raw))
        y = y.sqrt()
    with hooks(Held()):
        y.backward(np.ones(5))
    assert counts == [20, *range(20, 1, -1)]  # sqrt saves its output: the last is not in the list, the leaf stays


def test_what_was_saved_comes_back_attached_where_it_came_from():
    class Keeping(Op):
        def forward(self, x: Any, y: Any) -> Any:
            z = x * y
            self.save(x, y, z, 3, np.ones(1))
            return z

    x, y = leaf(2), leaf(2)
    middle = y.exp()
    z = Keeping()(x, middle)
    first, second, output, number, other = z.creator.saved
    assert [tensor.creator for tensor in (first, second, output)] == [x, middle.creator, z.creator]
    assert (number, other.requires_grad) == (3, False)
    with no_grad():
        assert not any(tensor.requires_grad for tensor in z.creator.saved[:3])


def test_what_somebody_else_holds_is_kept_as_a_copy():
    x, factor = leaf(3), np.full(3, 2.0)
    kept = (x * factor).creator.saved_arrays
    assert not any(np.shares_memory(array, factor) for array in kept)
    assert any(np.array_equal(array, factor) for array in kept)
