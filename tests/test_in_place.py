"""x += y, x[i] = y: what they change, what they make anew, and what they refuse."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, enable_grad, from_dlpack, grad, nn, no_grad, ops
from tinygrad_norm.nn import Parameter

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "**=": operator.ipow,
    "@=": operator.imatmul,
}
TRUTHS = {"&=": operator.iand, "|=": operator.ior}
X = np.array([[1.5, 2.0, 0.5], [3.0, 0.25, 1.0], [2.0, 4.0, 0.75]])
Y = np.array([[2.0, -1.0, 3.0], [0.5, 2.0, -2.0], [1.0, 1.5, -0.5]])


def leaf(array: Any = X) -> Tensor:
    return Tensor(np.array(array), requires_grad=True)


def equal(found: Tensor, expected: Any) -> None:
    np.testing.assert_allclose(found.raw, expected, rtol=1e-12)


def assign_first(x: Any, y: Any) -> Any:
    x[0] = y
    return x


CHANGES = OPERATORS | {"item": assign_first}

# A leaf that wants a gradient


@pytest.mark.parametrize("name", CHANGES)
def test_a_leaf_is_not_changed_while_ops_are_recorded(name):
    x = leaf()
    y = (x * x).sum()
    for other in (2.0, Tensor(np.full((3, 3), 2.0)), leaf()):
        with pytest.raises(RuntimeError, match=r"in place: this tensor wants a gradient.*`with no_grad\(\):`"):
            CHANGES[name](x, other)
    equal(x, X)
    y.backward()
    equal(x.grad, 2 * X)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("kind", [lambda y: y, Tensor, leaf, lambda y: 2.0], ids=["array", "tensor", "leaf", "number"])
def test_under_no_grad_a_leaf_is_changed_in_place(name, kind):
    x, other = Parameter(X), kind(Y)
    if name == "@=" and isinstance(other, float):
        other = Y.T
    array, expected = x.raw, OPERATORS[name](X.copy(), getattr(other, "raw", other))
    with no_grad():
        changed = OPERATORS[name](x, other)
    assert changed is x
    assert x.raw is array
    assert x.requires_grad
    equal(x, expected)


def test_a_descent_by_hand_moves_the_weights():
    model = nn.Linear(3, 2, dtype=np.float64)
    before = model.state_dict()
    (model(X) ** 2).sum().backward()
    with no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    for name, parameter in model.named_parameters():
        equal(parameter, before[name] - 0.1 * parameter.grad.numpy())


def test_a_parameter_is_updated_through_its_module():
    model = nn.Linear(3, 2, dtype=np.float64)
    weight, before = model.weight, model.weight.numpy().copy()
    with no_grad():
        model.weight *= 0.5
        model.weight[0] += 1.0
    assert model.weight is weight
    equal(weight, before * 0.5 + [[1.0], [0.0]])


def test_an_average_of_weights_follows_them():
    weights = [leaf(X), leaf(Y)]
    averages = [weight.copy() for weight in weights]
    with no_grad():
        for average, weight in zip(averages, weights, strict=True):
            weight += 1.0
            average *= 0.9
            average += 0.1 * weight
    equal(averages[0], X + 0.1)
    equal(averages[1], Y + 0.1)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed_where_the_tape_saved_the_leaf(name):
    x = leaf()
    y = (x * x).sum()
    with no_grad():
        CHANGES[name](x, 1.0 if name != "@=" else Y)
    with pytest.raises(RuntimeError, match=r"^Multiply: .* changed in place"):
        y.backward()
    assert x.grad is None


def test_an_element_of_a_leaf_is_assigned_under_no_grad():
    x = leaf()
    with no_grad():
        x[1, 2] = 7.0
        x[2] = x[0]
        x[0, 0] += 1.0
    equal(x, [[2.5, 2.0, 0.5], [3.0, 0.25, 7.0], [1.5, 2.0, 0.5]])
    equal(grad((x * x).sum(), x)[0], 2 * x.raw)


# A constant


@pytest.mark.parametrize("name", OPERATORS)
def test_a_constant_is_changed_in_place(name):
    x = Tensor(X)
    same, rows, handed = x, x[1:], x.numpy()
    expected = OPERATORS[name](X.copy(), Y)
    for _ in range(2):
        x = OPERATORS[name](x, Y)
        assert x is same
        equal(rows, expected[1:])
        np.testing.assert_allclose(handed, expected)
        expected = OPERATORS[name](expected, Y)


@pytest.mark.parametrize("name", TRUTHS)
def test_truths_are_changed_in_place(name):
    x = first = Tensor([True, True, False, False])
    x = TRUTHS[name](x, Tensor([True, False, True, False]))
    assert x is first
    assert x.tolist() == TRUTHS[name](np.array([True, True, False, False]), [True, False, True, False]).tolist()


def test_a_detached_leaf_is_changed_with_it():
    x = leaf()
    y = (x * x).sum()
    constant = x.detach()
    constant += 1.0
    equal(x, X + 1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_change_of_a_constant_is_noticed_where_the_tape_saved_it():
    x, factor = leaf(), Tensor(Y)
    y = (x * factor).sum()
    factor[0] = 0.0
    with pytest.raises(RuntimeError, match=r"^Multiply: .* changed in place"):
        y.backward()


def test_gradients_are_scaled_and_added_in_place():
    x = leaf()
    (x * x).sum().backward()
    gradient = x.grad
    x.grad *= 0.5
    x.grad += Tensor(np.ones((3, 3)))
    assert x.grad is gradient
    equal(gradient, X + 1)


def test_integers_and_their_widths_are_kept():
    n = first = Tensor([1, 2, 3], dtype="int32")
    n += 1
    n *= Tensor([1, 2, 3])  # int64
    n -= True
    assert n is first
    assert (n.dtype, n.tolist()) == (np.int32, [1, 5, 11])
    x = Tensor([1.0, 2.0])
    x += np.ones(2)  # float64
    x *= Tensor([2, 3])
    assert (x.dtype, x.tolist()) == (np.float32, [4.0, 9.0])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: operator.iadd(x, x[::-1]), [4.0, 4.0, 4.0, 4.0, 4.0]),
        (lambda x: operator.iadd(x[1:], x[:-1]), [0.0, 1.0, 3.0, 5.0, 7.0]),
        (lambda x: x.__setitem__(slice(1, None), x[:-1]), [0.0, 0.0, 1.0, 2.0, 3.0]),
        (lambda x: x.__setitem__(slice(None, -1), x[1:]), [1.0, 2.0, 3.0, 4.0, 4.0]),
        (lambda x: x.__setitem__([4, 3, 2, 1, 0], x), [4.0, 3.0, 2.0, 1.0, 0.0]),
        (lambda x: x.__setitem__([1, 2, 3, 4], x[:-1]), [0.0, 0.0, 1.0, 2.0, 3.0]),
    ],
)
def test_what_overlaps_is_read_before_it_is_written(change, expected):
    x = Tensor(np.arange(5.0))
    change(x)
    assert x.tolist() == expected


def test_an_index_that_is_changed_by_its_own_assignment_is_read_first():
    n = Tensor([2, 0, 1])
    n[n] = Tensor([10, 20, 30])
    assert n.tolist() == [20, 30, 10]


# A recorded result, and what becomes one


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("mode", [enable_grad, no_grad])
def test_a_recorded_result_becomes_a_new_tensor(name, mode):
    x = leaf()
    y = first = x * 1.0
    with mode():
        y = OPERATORS[name](y, Y)
    assert y is not first
    assert y.requires_grad == (mode is enable_grad)
    equal(y, OPERATORS[name](X.copy(), Y))
    equal(first, X)
    equal(grad(first.sum(), x)[0], np.ones((3, 3)))


def test_an_average_of_what_wants_a_gradient_is_refused_and_moves_under_no_grad():
    average, x = Tensor(np.ones((3, 3))), leaf()
    for value in (x, x * 2.0):
        with pytest.raises(RuntimeError, match=r"the other operand wants a gradient.*no_grad.*y.detach\(\)"):
            average += 0.1 * value
    equal(average, np.ones((3, 3)))
    with no_grad():
        for entry in [average]:
            entry *= 0.9
            entry += 0.1 * x
    equal(average, 0.9 + 0.1 * X)


def test_a_sum_of_losses_that_begins_with_a_number_keeps_their_gradients():
    x = leaf()
    total: Any = 0.0
    for _ in range(3):
        total += (x * x).sum()
    total.backward()
    equal(x.grad, 6 * X)


def test_a_buffer_that_meets_a_gradient_moves_under_no_grad():
    norm = nn.BatchNorm1D(3, dtype=np.float64)
    with pytest.raises(RuntimeError, match="the other operand wants a gradient"):
        norm.running_mean += norm.weight
    equal(norm.running_mean, np.zeros(3))
    with no_grad():
        norm.running_mean += norm.weight
    equal(norm.running_mean, np.ones(3))


@pytest.mark.parametrize("mode", [enable_grad, no_grad])
def test_elements_of_a_recorded_result_are_not_assigned(mode):
    y = leaf() * 1.0
    with mode(), pytest.raises(TypeError, match=r"in place: .*use ops.where\(condition, new, old\).*x.copy\(\)"):
        y[0] = 1.0
    equal(y, X)


def test_a_value_that_wants_a_gradient_is_not_assigned():
    x, value = Tensor(X), leaf()
    for given in (value[0], value[0] * 2.0, value[0, 0]):
        with pytest.raises(RuntimeError, match=r"in place: what is assigned wants a gradient.*value.detach\(\)"):
            x[0] = given
    equal(x, X)
    x[0] = value[0].detach() * 2.0
    with no_grad():
        x[1] = value[0] * 3.0
    equal(x, [3 * X[0] / 1.5, 3 * X[0], X[2]])


# What does not fit


READ_ONLY = Tensor.wrap(np.broadcast_to(np.ones(3), (2, 3)))
STRETCHED = Tensor.wrap(np.lib.stride_tricks.as_strided(np.ones(3), (2, 3), (0, 8)))


@pytest.mark.parametrize(
    ("x", "other", "error", "words"),
    [
        (Tensor([1, 2]), 0.5, TypeError, "float32 does not fit a tensor of int64; convert it with astype"),
        (Tensor([1, 2]), Tensor([0.5, 1.5]), TypeError, "float32 does not fit a tensor of int64"),
        (Tensor([1, 2], dtype="uint8"), Tensor([1, 2]), TypeError, "int64 does not fit a tensor of uint8"),
        (Tensor([True, False]), 1, TypeError, "int64 does not fit a tensor of bool"),
        (Tensor([1.0, 2.0]), np.ones((3, 2)), ValueError, r"shape \(3, 2\) does not fit a tensor of shape \(2,\)"),
        (Tensor(1.0), np.ones(1), ValueError, r"shape \(1,\) does not fit a tensor of shape \(\)"),
        (READ_ONLY, 1.0, ValueError, r"cannot be written, as after broadcast_to; change a copy: x.copy\(\)"),
        (STRETCHED, np.array([[1.0], [2.0]]), ValueError, "share one place in memory"),
    ],
)
def test_a_result_that_does_not_fit_is_refused_and_changes_nothing(x, other, error, words):
    factor = leaf(np.ones(x.shape))
    before, y = x.tolist(), (factor * x).sum()
    with pytest.raises(error, match=f"in place: .*{words}"):
        x += other
    assert x.tolist() == before
    y.backward()
    assert factor.grad.tolist() == before


@pytest.mark.parametrize("change", [lambda n: operator.itruediv(n, 2), lambda n: operator.ipow(n, 0.5)])
def test_integers_do_not_become_fractions(change):
    n = Tensor([1, 2])
    with pytest.raises(TypeError, match="float32 does not fit a tensor of int64"):
        change(n)
    assert n.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("x", "key", "value", "error", "words"),
    [
        (Tensor([1, 2]), 0, 1.5, TypeError, "float64 does not fit a tensor of int64"),
        (Tensor([1, 2]), 0, float("nan"), TypeError, "float64 does not fit a tensor of int64"),
        (Tensor([1, 2], dtype="uint8"), 0, 256, ValueError, "256 out of bounds for uint8"),
        (Tensor([1, 2], dtype="uint8"), 0, -1, ValueError, "-1 out of bounds for uint8"),
        (Tensor([True]), 0, 2, TypeError, "int64 does not fit a tensor of bool"),
        (Tensor([1.0, 2.0]), 0, None, TypeError, "None is no element"),
        (Tensor([1.0, 2.0]), 0, "1", TypeError, "is not supported"),
        (Tensor([1.0, 2.0]), 0, 1j, TypeError, "complex128 is not supported"),
        (Tensor([1.0, 2.0]), 0, np.ones(1, np.float16), TypeError, "float16 is not supported"),
        (Tensor([1.0, 2.0]), slice(None), [1.0, 2.0, 3.0], ValueError, r"in place: .*\(3,\) into shape \(2,\)"),
        (Tensor([1.0, 2.0]), [True, False], [1.0, 2.0], ValueError, "in place: .*2 input values to the 1 output"),
        (Tensor([1.0, 2.0]), 2, 1.0, IndexError, "index 2 is out of bounds"),
        (Tensor([1.0, 2.0]), [0, 7], 1.0, IndexError, "index 7 is out of bounds"),
        (Tensor([1.0, 2.0]), 0.5, 1.0, TypeError, "an index is made of integers or booleans"),
        (READ_ONLY, 0, 1.0, ValueError, "in place: .*cannot be written"),
        (STRETCHED, 0, 1.0, ValueError, "in place: .*share one place in memory"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_changes_nothing(x, key, value, error, words):
    factor = leaf(np.ones(x.shape))
    before, y = x.tolist(), (factor * x).sum()
    with pytest.raises(error, match=words):
        x[key] = value
    assert x.tolist() == before
    y.backward()
    assert factor.grad.tolist() == before


def test_a_value_beyond_float32_is_refused():
    x = Tensor([1.0, 2.0])
    for value in (1e300, np.array(1e300)):
        with pytest.raises(ValueError, match=r"in place: the result holds 1e\+300, which is beyond float32"):
            x[0] = value
        assert x.tolist() == [1.0, 2.0]
    x[0] = np.inf
    assert x.tolist() == [np.inf, 2.0]


# Keys and values of each kind


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(1),
        (1, 2),
        slice(None, None, 2),
        ...,
        (..., 1),
        (slice(None), [2, 0]),
        [0, 0, 1],
        ([0, 2], [1, 1]),
        X > 1,
        (None, 0),
        (),
        [],
    ],
)
@pytest.mark.parametrize("value", [7, 7.5, True, np.float32(0.1), 3 * Y[0, 0]])
def test_elements_are_assigned_as_numpys_are(key, value):
    x, expected = Tensor(X), X.copy()
    expected[key] = value
    x[key] = value
    equal(x, expected)


def test_arrays_lists_and_tensors_are_assigned():
    x, expected = Tensor(X), X.copy()
    for place, value in enumerate((Y[0], Tensor(Y[1]), [1.0, 2.0, 3.0])):
        x[place] = value
        expected[place] = getattr(value, "raw", value)
    x[x > 2] = 0.0
    expected[expected > 2] = 0.0
    x[Tensor([0, 1]), Tensor([0])] = Tensor([8, 9])
    expected[[0, 1], 0] = [8, 9]
    x[1:, 1:] -= Y[1:, 1:]
    expected[1:, 1:] -= Y[1:, 1:]
    equal(x, expected)


# In the backward of an op, and in hooks


def test_the_backward_of_an_op_changes_nobodys_gradient():
    class Weighted(Op):
        def forward(self, x: Any, *, weight: float) -> Any:
            self.save(x)
            return x * x * weight

        def backward(self, grad: Tensor) -> Tensor:
            (x,) = self.saved
            grad *= self.params["weight"]
            x *= 2.0
            grad *= x
            return grad

    x, y = leaf(X), leaf(Y)
    left, right = Weighted()(x, weight=3.0), Weighted()(y, weight=5.0)
    seed = Tensor(np.ones((3, 3)))
    (left + right).backward(seed)  # one gradient for both
    equal(x.grad, 6 * X)
    equal(y.grad, 10 * Y)
    equal(seed, np.ones((3, 3)))
    equal(x, X)


def test_elements_are_not_assigned_in_the_backward_of_an_op():
    class First(Op):
        def forward(self, x: Any) -> Any:
            return x[0]

        def backward(self, grad: Tensor) -> Tensor:
            grad[...] = 0.0
            return grad.broadcast_to(3, 3)

    with pytest.raises(TypeError, match="in place: elements are not assigned in the backward of an op"):
        First()(leaf()).sum().backward()


def test_a_hook_may_change_its_gradient_in_place_and_no_other():
    x, y = leaf(X), leaf(Y)
    x.register_hook(lambda gradient: _scale(gradient, 10.0))
    y.register_hook(lambda gradient: _scale(gradient, 100.0))
    seed = Tensor(np.ones((3, 3)))
    (x + y).backward(seed)
    equal(x.grad, np.full((3, 3), 10.0))
    equal(y.grad, np.full((3, 3), 100.0))
    equal(seed, np.ones((3, 3)))


def _scale(gradient: Tensor, factor: float) -> None:
    gradient *= factor
    gradient[0, 0] = factor


def test_what_a_hook_returned_stays_the_hooks():
    x, given = leaf(), Tensor(Y)
    x.register_hook(lambda gradient: given)
    (x * 1.0).sum().backward()
    x.grad *= 2.0
    equal(given, Y)
    equal(x.grad, 2 * Y)


def test_a_hook_may_step_while_the_gradients_come_in():
    x = leaf()

    def step(gradient: Tensor) -> None:
        nonlocal x
        x -= 0.1 * gradient

    first = x
    x.register_hook(step)
    (x * 3.0).sum().backward()
    assert x is first
    equal(x, X - 0.3)


def test_gradients_that_were_asked_for_are_nobody_elses():
    x, y = leaf(X), leaf(Y)
    seed = Tensor(np.ones((3, 3)))
    for out in (x + y, x + y.T, (x + y) * Tensor(np.ones((3, 3)))):
        dx, dy, again = grad(out, [x, y, x], seed)
        dx += 1.0
        dy *= 3.0
        equal(dx, np.full((3, 3), 2.0))
        equal(dy, np.full((3, 3), 3.0))
        equal(again, np.ones((3, 3)))
        equal(seed, np.ones((3, 3)))
    (whole,) = grad(x.sum(), x)
    whole[0, 0] = 5.0  # of a stretched array it would be all of them
    assert whole.raw.sum() == 13


def test_memory_from_elsewhere_is_changed_there():
    source = np.array([1.0, 2.0])
    x = from_dlpack(source)
    x += 1.0
    assert source.tolist() == [2.0, 3.0]


def test_it_changes_a_copy_of_what_it_was_given():
    array = X.copy()
    x = Tensor(array)
    x += 1.0
    np.testing.assert_array_equal(array, X)
    y = ops.reshape(array, (9,))
    y += 1.0
    np.testing.assert_array_equal(array, X)


@pytest.mark.parametrize(
    "write", [lambda x: np.add(x, 1, out=x), lambda x: np.add.at(x, 0, 1), lambda x: np.put(x, 0, 1)]
)
def test_numpy_writes_into_no_tensor(write):
    x = Tensor(X)
    with pytest.raises(TypeError, match="tensor"):
        write(x)
    equal(x, X)


def test_a_python_number_beyond_an_integer_dtype_is_refused_by_every_operator():
    x = Tensor(np.array([200], np.uint8))
    with pytest.raises(ValueError, match=r"in place: .*300"):
        x += 300
    with pytest.raises(ValueError, match=r"in place: .*300"):
        x[0] = 300
    assert x.tolist() == [200]
