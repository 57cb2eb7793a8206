"""The walk back: what `grad` and `backward` return, of which order, and what they leave alone."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import FusedOp, Hook, Op, Tensor, composed, grad, hooks, no_grad, ops


class Product(FusedOp):
    """x y, with a gradient written by hand."""

    def composed(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def forward(self, x: Any, y: Any) -> Any:
        return x * y

    def gradient(self, grad: Any, x: Any, y: Any) -> Any:
        return grad * y, grad * x


class Failing(Op):
    """x, with a way back that fails."""

    def forward(self, x: Any) -> Any:
        return x + 0

    def backward(self, grad: Tensor) -> Tensor:
        raise OverflowError("on purpose")


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


# First order


def test_a_diamond_takes_each_entry_back_once_with_its_whole_gradient():
    x, walked = leaf([0.5, 2.0]), Walked()
    top = x.exp()
    left, right = top.sin(), top * 3.0
    with hooks(walked):
        (left * right).sum().backward()
    e = np.exp(x.numpy())
    assert_equal(x.grad, 3 * e * (e * np.cos(e) + np.sin(e)))
    assert walked.names == ["Sum", "Multiply", "Multiply", "Sin", "Exp"]


def test_an_input_used_many_times_gets_the_sum():
    x = leaf([1.5, -2.0])
    y = x * x * x + x / 2.0 - x + ops.concat([x, x]).reshape(2, 2).sum(axis=0)
    y.sum().backward()
    assert_equal(x.grad, 3 * x.numpy() ** 2 + 1.5)


def test_gradients_add_up_in_leaves_over_backwards():
    x = leaf([1.0, 2.0])
    (x * 3.0).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert_equal(x.grad, 3 + 2 * x.numpy())
    assert_equal(first, [3.0, 3.0])  # whoever held it holds what it was


def test_only_leaves_that_ask_get_a_gradient():
    x, constant = leaf([1.0]), Tensor([2.0])
    middle = x * constant
    (middle * middle).backward()
    assert_equal(x.grad, [8.0])
    assert middle.grad is None
    assert constant.grad is None


def test_a_comparison_stops_the_gradient():
    x = leaf([1.0, -1.0])
    assert not (x > 0).requires_grad
    (x * (x > 0)).sum().backward()
    assert_equal(x.grad, [1.0, 0.0])


# Refusals


def test_a_second_backward_is_refused_by_name_and_changes_nothing():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"^Sum: an earlier backward already .*; pass retain_graph=True"):
        y.backward()
    assert_equal(x.grad, [2.0, 4.0])


def test_a_second_backward_through_a_shared_part_is_refused():
    x = leaf([1.0, 2.0])
    shared = x.exp()
    shared.sum().backward()
    with pytest.raises(RuntimeError, match=r"^Exp: an earlier backward"):
        (shared * 2.0).sum().backward()


def test_retain_graph_allows_another_backward():
    x = leaf([1.0, 2.0])
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert_equal(x.grad, [4.0, 8.0])
    with pytest.raises(RuntimeError, match="earlier backward"):
        y.backward()


def test_an_op_that_fails_half_way_leaves_every_gradient_as_it_was():
    x, y = leaf([1.0]), leaf([2.0])
    (x * y).backward()
    before = x.grad, y.grad
    with pytest.raises(OverflowError, match="on purpose"):
        (y * 5.0 + Failing()(x * y)).backward()
    assert (x.grad, y.grad) == before
    assert_equal(x.grad, [2.0])
    assert_equal(y.grad, [1.0])


class Whole(Op):
    """x, twice."""

    def forward(self, x: Any) -> Any:
        return x * 2

    def backward(self, grad: Tensor) -> Tensor:
        return grad * 2.0


def test_an_op_without_a_part_is_refused_by_name():
    class NoForward(Op):
        def backward(self, grad: Tensor) -> Tensor:
            return grad

    class NoBackward(Op):
        def forward(self, x: Any) -> Any:
            return x * 2

    class NoComposition(FusedOp):
        def forward(self, x: Any) -> Any:
            return x * 2

        def gradient(self, grad: Any, x: Any) -> Any:
            return (grad * 2,)

    class NoGradient(FusedOp):
        def composed(self, x: Tensor) -> Tensor:
            return x * 2.0

        def forward(self, x: Any) -> Any:
            return x * 2

    x = leaf([1.0])
    for given in (x, x.detach()):
        with pytest.raises(TypeError, match=r"^NoForward defines no forward\(self, \*arrays, \*\*params\)"):
            NoForward()(given)
    assert NoBackward()(x.detach()).tolist() == [2.0]
    with pytest.raises(TypeError, match=r"^NoBackward defines no backward\(self, grad\)"):
        NoBackward()(x).backward()
    with (
        composed(),
        pytest.raises(
            TypeError, match=r"^NoComposition defines no composed\(self, ...\), nor does it name a definition"
        ),
    ):
        NoComposition()(x)
    with pytest.raises(TypeError, match=r"^NoComposition defines no composed"):
        grad(NoComposition()(x), x, create_graph=True)
    assert_equal(grad(NoComposition()(x), x)[0], [2.0])
    with pytest.raises(TypeError, match=r"^NoGradient defines no gradient\(self, ...\), nor does it name a definition"):
        NoGradient()(x).backward()
    assert x.grad is None


def test_a_backward_that_returns_nothing_is_refused_by_name():
    class Silent(Whole):
        def backward(self, grad: Tensor) -> Any:
            _ = grad * 2.0  # and the return is forgotten

    class Constant(Whole):
        def backward(self, grad: Tensor) -> Any:
            return (None,)

    x = leaf([1.0])
    with pytest.raises(
        RuntimeError, match=r"^Silent: backward returns a gradient for each input, got None; .*differentiable = False"
    ):
        Silent()(x).backward()
    with pytest.raises(ValueError, match="do not depend on input 0"):
        grad(Constant()(x), x)


def test_a_wrong_number_of_gradients_is_refused_by_name():
    class Short(Op):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

        def backward(self, grad: Tensor) -> Tensor:
            return grad

    with pytest.raises(RuntimeError, match="Short: backward returned 1 gradients for 2 inputs"):
        Short()(leaf([1.0]), leaf([2.0])).backward()


# grad()


def test_grad_touches_no_grad_attribute():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    dx, dy = grad((x * y).sum(), [x, y])
    assert_equal(dx, y.numpy())
    assert_equal(dy, x.numpy())
    assert x.grad is None
    assert y.grad is None


def test_grad_goes_to_results_as_well_as_leaves():
    x = leaf([0.3, 0.4])
    middle = x.sin()
    y = middle * middle
    dx, dmiddle, dy = grad(y, [x, middle, y], np.array([1.0, 2.0]))
    s, c = np.sin(x.numpy()), np.cos(x.numpy())
    assert_equal(dy, [1.0, 2.0])
    assert_equal(dmiddle, 2 * s * [1.0, 2.0])
    assert_equal(dx, 2 * s * c * [1.0, 2.0])


def test_grad_adds_the_gradients_of_several_outputs():
    x = leaf([1.0, 2.0])
    weights = np.array([1.0, 10.0])
    (dx,) = grad([x * x, x.sum(), x * 4.0], x, [weights, None, Tensor([0.0, 1.0])])
    assert_equal(dx, 2 * x.numpy() * weights + 1 + [0.0, 4.0])


def test_grad_refuses_what_the_outputs_do_not_depend_on():
    x, y = leaf([1.0]), leaf([2.0])
    z = x * 2.0
    with pytest.raises(ValueError, match=r"do not depend on input 1 .*allow_unused=True"):
        grad(z, [x, y], retain_graph=True)
    dx, dy = grad(z, [x, y], allow_unused=True)
    assert_equal(dx, [2.0])
    assert dy is None


def test_grad_refuses_an_input_without_gradient_and_a_wrong_number_of_gradients():
    x = leaf([1.0])
    with pytest.raises(ValueError, match=r"input 0 \(shape \(1,\)\) does not require a gradient"):
        grad(x * 2.0, Tensor([1.0]))
    with pytest.raises(ValueError, match="2 outputs need as many grad_outputs, 1 were given"):
        grad([x * 2.0, x * 3.0], x, [1.0])


def test_a_value_that_was_doubled_sixty_times_goes_back_at_once():
    """There are 2**60 ways through the graph, and 60 entries."""
    x, walked = leaf([1.0]), Walked()
    z = x
    for _ in range(60):
        z = z + z
    with hooks(walked):
        assert_equal(grad(z, x, retain_graph=True)[0], [2.0**60])
        (dz,) = grad(z, x, create_graph=True)
        z.backward()
    assert walked.names == ["Add"] * 180
    assert_equal(x.grad, [2.0**60])
    assert not dz.requires_grad


@pytest.mark.parametrize("multiply", [ops.multiply, lambda x, y: Product()(x, y)], ids=["primitive", "fused"])
def test_an_input_made_from_another(multiply):
    x = leaf([1.5, -2.0])
    h = x * x
    y = multiply(x, h)
    dx, dh = grad(y.sum(), [x, h], create_graph=True)
    assert_equal(dx, 3 * x.numpy() ** 2)  # all ways to x, also through h
    assert_equal(dh, x.numpy())
    (second,) = grad(dx.sum(), x, create_graph=True)
    assert_equal(second, 6 * x.numpy())
    assert_equal(grad(second.sum(), x)[0], [6.0, 6.0])


# Higher orders

X = np.array([0.7, 1.3, 2.1])
CLOSED_FORMS = {
    "power": (lambda x: x**4, [4 * X**3, 12 * X**2, 24 * X, np.full(3, 24.0)]),
    "products": (lambda x: x * x * x, [3 * X**2, 6 * X, np.full(3, 6.0)]),
    "sin": (lambda x: x.sin(), [np.cos(X), -np.sin(X), -np.cos(X), np.sin(X)]),
    "exp": (lambda x: x.exp(), [np.exp(X)] * 4),
    "log": (lambda x: x.log(), [1 / X, -1 / X**2, 2 / X**3, -6 / X**4]),
    "reciprocal": (lambda x: 1.0 / x, [-1 / X**2, 2 / X**3, -6 / X**4]),
    "fused": (lambda x: Product()(x, x.exp()), [(X + n) * np.exp(X) for n in (1, 2, 3)]),
    "fused with itself": (lambda x: Product()(x, x), [2 * X, np.full(3, 2.0)]),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_derivatives_of_any_order_have_their_closed_form(name):
    function, expected = CLOSED_FORMS[name]
    x = leaf(X)
    y = function(x)
    for order, derivative in enumerate(expected, 1):
        (y,) = grad(y.sum(), x, create_graph=order < len(expected))
        np.testing.assert_allclose(y.numpy(), derivative, rtol=1e-12)
    assert not y.requires_grad


def test_backward_with_create_graph_leaves_gradients_that_can_be_differentiated():
    x = leaf([2.0, 3.0])
    (x**3).sum().backward(create_graph=True)
    (x * x).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    first.sum().backward()
    assert_equal(x.grad, 6 * x.numpy() + 2)


def test_the_gradient_depends_on_the_gradient_it_began_with():
    x, weights = leaf([2.0, 3.0]), leaf([1.0, -1.0])
    (dx,) = grad(x * x, x, weights, create_graph=True)
    assert_equal(grad(dx.sum(), weights)[0], 2 * x.numpy())
    (x + 1.0).backward(weights, create_graph=True)
    assert_equal(grad(x.grad.sum(), weights)[0], [1.0, 1.0])


def test_nothing_is_recorded_on_the_way_back_unless_asked():
    class HalfSquare(Op):
        def forward(self, x: Any) -> Any:
            self.save(x)
            return x * x / 2

        def backward(self, grad: Tensor) -> Any:
            return self.saved[0]

    x = leaf([2.0])
    for y in (x * x * x, HalfSquare()(x)):
        assert not grad(y, x, retain_graph=True)[0].requires_grad
        with no_grad():
            assert grad(y, x, create_graph=True)[0].requires_grad


# What is dropped on the way


def test_each_gradient_is_dropped_once_it_is_handed_on():
    class Alive(Hook):
        def before_backward(self, op: Op, grad: Tensor) -> None:
            seen.append(weakref.ref(grad.raw))
            counts.append(sum(ref() is not None for ref in seen))

    seen: list[weakref.ref[Any]] = []
    counts: list[int] = []
    y = leaf(np.ones(5))
    for _ in range(30):
        y = y.exp().tanh()
    with hooks(Alive()):
        y.backward(np.ones(5))
    assert len(counts) == 60
    assert max(counts) <= 3  # that of this op, and of those before it what the walk is handing on


# What a call takes, and what its errors say


class Doubled(FusedOp):
    definition = staticmethod(lambda x: (x * 2, x * 3))


def test_the_first_of_what_a_definition_returns_is_the_output():
    with composed():
        assert Doubled()(Tensor([1.0, 2.0])).raw.tolist() == [2, 4]


@pytest.mark.parametrize("given", [1.0, [1.0, -2.0]])
def test_numbers_and_lists_are_composed_as_they_are_fused(given):
    fused = ops.gelu(given)
    with composed():
        np.testing.assert_allclose(ops.gelu(given).raw, fused.raw, rtol=1e-6)
