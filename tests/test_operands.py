"""What an op is called with, and what its forward may return."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import FusedOp, Op, Tensor, grad, ops


class Product(FusedOp):
    """x y, with a gradient written by hand."""

    def composed(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def forward(self, x: Any, y: Any) -> Any:
        return x * y

    def gradient(self, grad: Any, x: Any, y: Any) -> Any:
        return grad * y, grad * x


class Whole(Op):
    """x, twice."""

    def forward(self, x: Any) -> Any:
        return x * 2

    def backward(self, grad: Tensor) -> Tensor:
        return grad * 2.0


def leaf(array: Any) -> Tensor:
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def assert_equal(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(getattr(found, "raw", found), expected, rtol=1e-12, atol=1e-14)


def test_numbers_alone_are_an_input():
    assert (ops.exp(0.0).item(), ops.add(1, 2).item(), ops.maximum(2, 3.5).item()) == (1, 3, 3.5)
    assert ops.add(1, 2).dtype == np.int64
    assert ops.add(1, 2.0).dtype == ops.exp(0).dtype == np.float32


def test_an_op_may_have_no_input():
    class Ones(Op):
        def forward(self):
            return np.ones(2, np.float32)

    assert Ones()().raw.tolist() == [1, 1]


@pytest.mark.parametrize("multiply", [ops.multiply, lambda x, y: Product()(x, y)], ids=["primitive", "fused"])
def test_arrays_and_numbers_are_constants_at_any_order(multiply):
    x, factor = leaf([2.0, 3.0]), np.array([5.0, 7.0])
    (dx,) = grad((multiply(x, factor) * x).sum(), x, create_graph=True)
    assert_equal(dx, 2 * factor * x.numpy())
    assert_equal(grad(dx.sum(), x)[0], 2 * factor)


def test_a_caller_s_array_may_change_after_the_call():
    x, factor = Tensor([1.0, 2.0], requires_grad=True), np.array([3, 4], np.float32)
    y = x * factor
    factor[...] = 0
    y.backward(np.ones(2, np.float32))
    assert x.grad.raw.tolist() == [3, 4]


def test_a_tensor_times_its_own_detached_values():
    x = leaf([2.0, 3.0])
    y = x * x.detach()
    (dx,) = grad(y.sum(), x, create_graph=True)
    assert_equal(dx, x.numpy())
    assert not dx.requires_grad
    dx, constant = grad((x * x * x.detach()).sum(), x, create_graph=True)[0], x.numpy()
    assert_equal(dx, 2 * constant**2)
    assert_equal(grad(dx.sum(), x)[0], 2 * constant)


def test_leaves_on_one_array_keep_apart():
    x = leaf([2.0, 3.0])
    twin = x.detach().requires_grad_()
    dx, dtwin = grad((x * x * twin).sum(), [x, twin], create_graph=True)
    assert_equal(dx, 2 * x.numpy() ** 2)
    assert_equal(dtwin, x.numpy() ** 2)
    assert_equal(grad(dtwin.sum(), x)[0], 2 * x.numpy())


@pytest.mark.parametrize("product", [lambda x: x * x.detach(), lambda x: x.detach() * x])
def test_a_constant_that_shares_the_array_of_a_variable_stays_one(product):
    x = Tensor([3.0], requires_grad=True)
    (once,) = grad(product(x), x, create_graph=True)
    assert once.item() == 3
    assert not once.requires_grad


def test_numpys_words_on_shapes_become_those_of_the_op_and_other_words_stay():
    with pytest.raises(ValueError, match=r"^Add: shapes \(2,\) and \(3,\) do not broadcast; each axis is equal"):
        ops.add(np.ones(2), leaf(np.ones(3)))

    class Complaining(Op):
        def forward(self, x: Any, *, words: str) -> Any:
            raise ValueError(words)

    class Stretching(Complaining):
        broadcasts = True

    for op, words in ((Complaining, "cannot broadcast this"), (Stretching, "no such axis")):
        with pytest.raises(ValueError, match=f"^{words}$"):
            op()(leaf([1.0]), words=words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: None, "got None"),
        (lambda x: np.array([None]), "got elements of object"),
        (lambda x: x.astype(np.float16), "got elements of float16"),
        (lambda x: x + 1j, "got elements of complex"),
        (lambda x: "text", "got elements of <U4"),
    ],
)
def test_a_forward_that_returns_no_such_array_is_refused_by_name(answer, words):
    class Odd(Whole):
        def forward(self, x: Any) -> Any:
            return answer(x)

    for given in (leaf([1.0]), Tensor([1.0])):
        with pytest.raises(TypeError, match=f"^Odd: forward returns an array of float32, .*{words}"):
            Odd()(given)


def test_a_view_of_a_caller_s_array_is_returned_as_a_copy():
    given = np.arange(6.0)
    for y in (ops.reshape(given, (2, 3)), ops.reshape(Tensor(given), (2, 3))):
        given[0] = 7.0
        assert y.raw[0, 0] == 0
        given[0] = 0.0


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda: ops.divide(np.arange(3), 2), "float32"),
        (lambda: ops.add(np.arange(3), np.ones(3, np.float32)), "float32"),
        (lambda: ops.add(np.ones(3, np.float32), np.ones(3)), "float64"),
        (lambda: ops.multiply(np.ones(3, np.float32), 2.5), "float32"),
        (lambda: ops.add(np.arange(3), 1), "int64"),
    ],
    ids=["integers divided", "integers and float32", "float32 and float64", "a number", "integers"],
)
def test_float64_only_comes_from_float64(function, dtype):
    assert function().dtype == dtype


@pytest.mark.parametrize("given", [np.ones(2, np.float16), np.float16(1), np.ones(2, complex), "text"])
def test_what_no_tensor_can_hold_is_refused_by_the_op_s_name(given):
    with pytest.raises(TypeError, match=r"^Exp: "):
        ops.exp(given)
