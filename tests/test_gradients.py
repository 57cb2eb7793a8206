"""Where a gradient begins, how it is fitted to an input, and whose memory it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, grad, no_grad


def leaf(array: Any) -> Tensor:
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def assert_equal(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(getattr(found, "raw", found), expected, rtol=1e-12, atol=1e-14)


def test_backward_without_a_gradient_is_for_one_element():
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=r"shape \(2,\) has .* elements; pass the gradient of each"):
        (x * 2.0).backward()
    (x[:1] * 2.0).backward()
    assert_equal(x.grad, [2.0, 0.0])


@pytest.mark.parametrize("given", [np.ones(3), np.ones((2, 1)), 1.0])
def test_a_gradient_of_another_shape_is_refused(given):
    with pytest.raises(ValueError, match=r"the gradient has the shape of the tensor, \(2,\), got"):
        (leaf([1.0, 2.0]) * 2.0).backward(given)


def test_what_was_not_recorded_has_no_way_back():
    with pytest.raises(ValueError, match="was not recorded"):
        (Tensor([1.0]) * 2.0).backward()
    x = leaf([1.0])
    with no_grad():
        y = x * 2.0
    with pytest.raises(ValueError, match=r"requires_grad=True, or it was made under no_grad\(\)"):
        y.backward()
    with pytest.raises(ValueError, match="was not recorded"):
        grad(x.detach() * 2.0, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_backward_pass_begins_with_a_gradient_of_the_output_s_dtype(dtype):
    x = Tensor(np.ones(3, dtype), requires_grad=True)
    for given in (None, np.ones((), "float32"), np.ones((), "float64"), 1):
        y = x.sum()
        seen: list[Any] = []
        y.register_hook(lambda gradient, seen=seen: seen.append(gradient.dtype))
        y.backward(given)
        assert seen == [dtype]


def test_the_gradient_has_the_dtype_and_shape_of_its_leaf():
    x, y = Tensor(np.ones((3, 1), np.float32), requires_grad=True), leaf(np.ones((2, 1, 4)))
    (x * y).sum().backward()
    assert (x.grad.shape, x.grad.dtype) == ((3, 1), np.float32)
    assert (y.grad.shape, y.grad.dtype) == ((2, 1, 4), np.float64)
    assert_equal(x.grad, np.full((3, 1), 8.0))
    assert_equal(y.grad, np.full((2, 1, 4), 3.0))


def test_a_gradient_is_summed_for_an_op_that_broadcasts_and_for_no_other():
    class Stretching(Op):
        broadcasts = True

        def forward(self, x: Any) -> Any:
            return x.sum()

        def backward(self, grad: Tensor) -> Tensor:
            return grad.broadcast_to(4, 3, 2)

    class Plain(Stretching):
        broadcasts = False

    x = leaf(np.ones((3, 2)))
    with pytest.raises(RuntimeError, match=r"^Plain: .*shape \(4, 3, 2\) for an input of shape \(3, 2\)"):
        Plain()(x).backward()
    assert x.grad is None
    Stretching()(x).backward()
    assert_equal(x.grad, np.full((3, 2), 4.0))


@pytest.mark.parametrize("stretched", [False, True])
@pytest.mark.parametrize(("given", "returned"), [((2, 3), (3, 2)), ((2, 1), (2,)), ((1,), ())])
def test_a_gradient_that_does_not_fit_is_refused_by_name(stretched, given, returned):
    class Twisted(Op):
        broadcasts = stretched

        def forward(self, x: Any) -> Any:
            return x.sum()

        def backward(self, grad: Tensor) -> Tensor:
            return grad.broadcast_to(returned)

    x = leaf(np.ones(given))
    with pytest.raises(RuntimeError, match=rf"^Twisted: .*{re.escape(str(returned))}.*{re.escape(str(given))}"):
        Twisted()(x).backward()
    assert x.grad is None


def test_a_gradient_that_is_no_tensor_is_refused_by_name():
    class Plain(Op):
        def forward(self, x: Any) -> Any:
            return x * 2

        def backward(self, grad: Any) -> Any:
            return grad.numpy() * 2

    with pytest.raises(TypeError, match=r"Plain.*ndarray"):
        Plain()(leaf([1.0])).backward()


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y,
        lambda x, y: (x + y).reshape(4),
        lambda x, y: (x + y).T,
        lambda x, y: (x + y).sum(),
        lambda x, y: x.broadcast_to(3, 2, 2) + y,
    ],
    ids=["add", "reshape", "transpose", "sum", "broadcast"],
)
def test_leaf_gradients_are_arrays_of_their_own(function):
    x, y = leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))
    z = function(x, y)
    seed = Tensor(np.ones(z.shape))
    z.backward(seed)
    for array in (x.grad.data, y.grad.data):
        array[:] = np.arange(4.0).reshape(2, 2)
        assert array.flags.c_contiguous
    assert not np.shares_memory(x.grad.data, y.grad.data)
    assert_equal(y.grad, np.arange(4.0).reshape(2, 2))
    assert_equal(seed, np.ones(z.shape))


def test_the_gradient_that_was_given_is_not_kept():
    x, seed = leaf([1.0, 2.0]), Tensor(np.array([3.0, 4.0]))
    x.backward(seed)
    seed.data[:] = 0
    assert_equal(x.grad, [3.0, 4.0])


def test_numbers_in_a_list_begin_in_the_dtype_of_the_tensor():
    x = leaf([1.0])
    (x * 1.0).backward([0.1])
    assert x.grad.raw[0] == 0.1  # float32 has none
