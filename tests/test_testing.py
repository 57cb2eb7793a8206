"""gradcheck and compare_with_composition catch what they are for, and refuse to check nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import FusedOp, Op, Tensor, is_recording, ops, random
from tinygrad_norm.testing import GradientError, compare_with_composition, gradcheck


def leaf(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(3).uniform(0.5, 2, shape), requires_grad=True)


class Cube(Op):
    """x³, whose way back each test breaks in its own way."""

    def forward(self, x: Any) -> Any:
        self.save(x)
        return x**3

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return self.derivative(grad, x)

    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (3.0 * x * x)


class WrongFactor(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (2.999 * x * x)


class Zero(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * 0.0


class Nothing(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Any:
        return (None,)


class MissingTerm(Op):
    """x tanh x, without the derivative of the tanh."""

    def forward(self, x: Any) -> Any:
        self.save(x)
        return x * np.tanh(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved
        return grad * x.tanh()


class OneElement(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (3.0 * x * x) * np.where(np.arange(x.size).reshape(x.shape) == 2, 1.001, 1.0)


class NaNElement(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (3.0 * x * x) * np.where(np.arange(x.size).reshape(x.shape) == 2, np.nan, 1.0)


class DetachedBack(Cube):
    """The first derivative is right; that of it forgets x."""

    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (3.0 * x.detach() * x.detach())


class HalfDetachedBack(Cube):
    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return grad * (3.0 * x * x.detach())


class ForgetsTheCotangent(Cube):
    """Right only where the gradient that comes in is 1."""

    def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
        return 3.0 * x * x + grad * 0.0


# gradcheck


@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_gradients_pass(order):
    assert gradcheck(lambda x: Cube()(x), leaf(2, 3), order=order)
    assert gradcheck(lambda x, y: (x @ y).tanh(), [leaf(2, 3), leaf(3, 1)], order=order, rtol=1e-4)
    assert gradcheck(lambda x, n, y: x * n + y, [leaf(3), 2, np.ones(3)], order=order)  # linear: the next one is 0


@pytest.mark.parametrize(
    ("op", "place"),
    [
        (WrongFactor, r"\(\d, \d\)"),
        (Zero, r".* it is -?0, expected"),
        (Nothing, r".* it is 0, expected"),
        (MissingTerm, ""),
        (OneElement, r"\(0, 2\)"),
        (NaNElement, r"\(0, 2\) it is nan"),
        (ForgetsTheCotangent, ""),
    ],
)
def test_a_wrong_gradient_is_caught_with_its_worst_element(op, place):
    with pytest.raises(GradientError, match=rf"^derivative 1, input 0: at {place}"):
        gradcheck(lambda x: op()(x), leaf(2, 3))


def test_the_input_is_named():
    with pytest.raises(GradientError, match=r"^derivative 1, input 2: "):
        gradcheck(lambda x, n, y: x * n + WrongFactor()(y), [leaf(3), 2.0, leaf(3)])


def test_an_input_that_is_cut_off_is_caught():
    with pytest.raises(GradientError, match=r"^derivative 1, input 1: .*it is 0"):
        gradcheck(lambda x, y: x * y.detach(), [leaf(3), leaf(3)])
    with pytest.raises(GradientError, match="it is 0"):
        gradcheck(lambda x: x.detach() * 2.0, leaf(3))


@pytest.mark.parametrize("op", [DetachedBack, HalfDetachedBack])
def test_a_wrong_second_derivative_alone_is_caught(op):
    assert gradcheck(lambda x: op()(x), leaf(2, 3))
    with pytest.raises(GradientError, match=r"^derivative 2, input 0: "):
        gradcheck(lambda x: op()(x), leaf(2, 3), order=2)


def test_a_wrong_third_derivative_alone_is_caught():
    class Quartic(Op):
        def forward(self, x: Any, *, cube: type[Cube]) -> Any:
            self.save(x)
            return x**4

        def backward(self, grad: Tensor) -> Any:
            (x,) = self.saved
            return grad * 4.0 * self.params["cube"]()(x)

    assert gradcheck(lambda x: Quartic()(x, cube=Cube), leaf(3), order=3)
    assert gradcheck(lambda x: Quartic()(x, cube=DetachedBack), leaf(3), order=2)
    with pytest.raises(GradientError, match=r"^derivative 3, input 0: "):
        gradcheck(lambda x: Quartic()(x, cube=DetachedBack), leaf(3), order=3)


def test_a_fused_gradient_that_its_composition_contradicts_is_caught():
    class Contradicted(FusedOp):
        def composed(self, x: Tensor) -> Tensor:
            return x * x

        def forward(self, x: Any) -> Any:
            return x**3

        def gradient(self, grad: Any, x: Any) -> Any:
            return (grad * 3 * x * x,)

    assert gradcheck(lambda x: Contradicted()(x), leaf(3))
    with pytest.raises(GradientError, match=r"^derivative 1, input 0: "):
        gradcheck(lambda x: Contradicted()(x), leaf(3), order=2)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.batch_norm(x, None, None, training=True).sum(),
        lambda x: ops.layer_norm(x, 5).sum(axis=1),
        lambda x: ops.softmax(x, axis=1).sum(axis=1),
        lambda x: x * 0.0,
        lambda x: x.sign(),
    ],
    ids=["sum of batch norm", "sums of layer norm", "sums of softmax", "zero", "sign"],
)
def test_a_check_that_would_pass_anything_is_refused(function):
    with pytest.raises(GradientError, match=r"input 0: .*does not depend on it .* not a sum of it"):
        gradcheck(function, leaf(7, 5))


def test_one_idle_input_among_others_is_refused():
    with pytest.raises(GradientError, match=r"^input 1: by finite differences the output does not depend on it"):
        gradcheck(lambda x, y: x * 2.0, [leaf(3), leaf(3)])


def test_without_a_gradient_there_is_nothing_to_check():
    with pytest.raises(GradientError, match="no input has requires_grad=True"):
        gradcheck(lambda x: x * 2.0, Tensor(np.ones(3)))
    with pytest.raises(GradientError, match=r"shape \(0, 2\) is empty"):
        gradcheck(lambda x: x * 2.0, leaf(0, 2))


def test_float32_is_refused():
    with pytest.raises(TypeError, match=r"input 0 is float32; .*dtype='float64'"):
        gradcheck(lambda x: x * 2.0, Tensor([1.0], requires_grad=True))
    with pytest.raises(TypeError, match=r"returns a float64 tensor, got Tensor\("):
        gradcheck(lambda x: x.astype("float32"), leaf(2))


@pytest.mark.parametrize("function", [lambda x: x.numpy(), lambda x: (x, x), lambda x: 1.0])
def test_what_is_no_tensor_is_refused(function):
    with pytest.raises(TypeError, match="the function returns a float64 tensor"):
        gradcheck(function, leaf(2))


def test_randomness_is_refused():
    with pytest.raises(GradientError, match="two calls with the same inputs differ; seed"):
        gradcheck(lambda x: ops.dropout(x, 0.5), leaf(20))

    def seeded(x: Tensor) -> Tensor:
        random.manual_seed(1)
        return ops.dropout(x, 0.5)

    assert gradcheck(seeded, leaf(20))


def test_a_change_in_place_is_refused():
    def careless(x: Tensor, factor: Any) -> Any:
        factor *= 2
        return x * factor

    def rude(x: Tensor) -> Tensor:
        x.data[0] += 1
        return x * 1.0

    with pytest.raises(GradientError, match="changed input 1 in place"):
        gradcheck(careless, [leaf(3), np.ones(3)])
    with pytest.raises(GradientError, match="changed input 0 in place"):
        gradcheck(rude, leaf(3))


def test_a_change_in_place_on_the_way_back_is_refused():
    class Greedy(Cube):
        def derivative(self, grad: Tensor, x: Tensor) -> Tensor:
            result = grad * (3.0 * x * x)
            x.raw[0] = 0
            return result

    with pytest.raises(GradientError, match="changed input 0 in place"):
        gradcheck(lambda x: Greedy()(x), leaf(3))


def test_nan_and_infinity_are_refused():
    with np.errstate(all="ignore"):
        for function in (lambda x: (-x).log(), lambda x: x / 0.0):
            with pytest.raises(GradientError, match="the output holds NaN or infinity"):
                gradcheck(function, leaf(3))


@pytest.mark.parametrize("order", [0, -1])
def test_the_order_is_at_least_one(order):
    with pytest.raises(ValueError, match=f"order is an integer of at least 1, got {order}"):
        gradcheck(lambda x: x * 2.0, leaf(3), order=order)


def test_the_inputs_stay_as_they_are():
    x, array = leaf(3), np.ones(3)
    before = x.tolist()
    gradcheck(lambda x, y: x * y, [x, array], order=2)
    assert x.tolist() == before
    assert x.grad is None
    assert is_recording()


# compare_with_composition


class FusedCube(FusedOp):
    def composed(self, x: Tensor) -> Tensor:
        return x * x * x

    def forward(self, x: Any) -> Any:
        return x**3

    def gradient(self, grad: Any, x: Any) -> Any:
        return (grad * 3 * x * x,)


class WrongValue(FusedCube):
    def forward(self, x: Any) -> Any:
        return x**3 + 1e-6


class WrongGradient(FusedCube):
    def gradient(self, grad: Any, x: Any) -> Any:
        return (grad * (3 + 1e-6) * x * x,)


class NoGradient(FusedCube):
    def gradient(self, grad: Any, x: Any) -> Any:
        return (None,)


class WrongSecondGradient(FusedCube):
    """A way back of its own, which is right and cannot be differentiated right."""

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = self.saved
        return (grad * 3.0 * x * x.detach(),)


class UnrecordedSecondGradient(FusedCube):
    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (Tensor(self.gradient(grad.raw, *self.saved_arrays)[0]),)


class WrongDtype(FusedCube):
    def forward(self, x: Any) -> Any:
        return (x**3).astype(np.float32)


class Transposed(FusedCube):
    def forward(self, x: Any) -> Any:
        return (x**3).T


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_fused_op_that_agrees_passes(order):
    assert compare_with_composition(lambda x: FusedCube()(x), [leaf(2, 3)], order=order)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    ("op", "what"),
    [
        (WrongValue, "the output: at "),
        (WrongGradient, "derivative 1 of wanted input 0: at "),
        (NoGradient, "derivative 1 of wanted input 0: at .* it is 0,"),
        (WrongDtype, "the output is float32, composed float64"),
        (Transposed, r"the output: shape \(3, 2\), expected \(2, 3\)"),
    ],
)
def test_a_fused_op_that_differs_is_caught_at_any_order(op, what, order):
    with pytest.raises(GradientError, match=f"^{what}"):
        compare_with_composition(lambda x: op()(x), [leaf(2, 3)], order=order)


@pytest.mark.parametrize("op", [WrongSecondGradient, UnrecordedSecondGradient])
def test_a_second_gradient_that_differs_is_caught(op):
    assert compare_with_composition(lambda x: op()(x), [leaf(2, 3)], order=1)
    with pytest.raises(GradientError, match=r"^derivative 2 of wanted input 0"):
        compare_with_composition(lambda x: op()(x), [leaf(2, 3)])


def test_float32_is_compared_as_well():
    x = Tensor(leaf(2, 3).numpy().astype(np.float32), requires_grad=True)
    assert compare_with_composition(lambda x: FusedCube()(x), [x], rtol=1e-5)
    with pytest.raises(GradientError, match="the output"):
        compare_with_composition(lambda x: WrongValue()(x) + 1e-3 * FusedCube()(x), [x], rtol=1e-9)


class Filled(FusedOp):
    """x, with `expected` for its first element, or, in the kernel, `found`."""

    def composed(self, x: Tensor, *, expected: float, found: float, factor: float) -> Tensor:
        return ops.where(np.arange(3) == 0, expected, x)

    def forward(self, x: Any, *, expected: float, found: float, factor: float) -> Any:
        return np.where(np.arange(3) == 0, found, x * factor)

    def gradient(self, grad: Any, x: Any) -> Any:
        return (np.where(np.arange(3) == 0, 0, grad),)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan])
def test_infinity_and_nan_are_compared_place_by_place(special):
    def filled(found: float, factor: float = 1.0) -> bool:
        op = lambda x: Filled()(x, expected=special, found=found, factor=factor)  # noqa: E731
        return compare_with_composition(op, [leaf(3)])

    assert filled(special)
    for other in {5.0, np.inf, -np.inf, np.nan} - {special}:
        with pytest.raises(GradientError, match=r"the output: at \(0,\) it is"):
            filled(other)
    with pytest.raises(GradientError, match=r"the output: at \((1|2),\) it is"):
        filled(special, factor=1 + 1e-6)


def test_the_cotangent_is_not_the_input_that_was_drawn_from_the_same_seed():
    x = Tensor(np.random.default_rng(0).standard_normal((7, 5)), requires_grad=True)
    errors: dict[str, tuple[float, float]] = {}
    compare_with_composition(lambda x: ops.layer_norm(x, 5), [x], errors=errors)
    _, tolerated = errors["derivative 1 of wanted input 0"]
    assert tolerated > 0.1 * 1e-9  # relative to a gradient that is not 0


def test_errors_are_the_largest_of_each_comparison_up_to_the_first_that_fails():
    errors: dict[str, tuple[float, float]] = {}
    assert gradcheck(lambda x: Cube()(x), leaf(2, 3), order=2, errors=errors)
    assert list(errors) == ["derivative 1, input 0", "derivative 2, cotangent 1", "derivative 2, input 0"]
    assert all(0 <= error <= tolerated for error, tolerated in errors.values())
    errors.clear()
    with pytest.raises(GradientError):
        compare_with_composition(lambda x: WrongGradient()(x), [leaf(2, 3)], errors=errors)
    assert errors["the output"][0] <= errors["the output"][1]
    error, tolerated = errors.pop("derivative 1 of wanted input 0")
    assert error > 100 * tolerated
    assert errors.keys() == {"the output"}


def test_without_a_fused_op_there_is_nothing_to_compare():
    with pytest.raises(GradientError, match="ran no fused op"):
        compare_with_composition(lambda x: x * x, [leaf(3)])


def test_without_a_gradient_only_values_are_compared():
    x = Tensor(np.ones(3))
    for function, given in [(lambda x: FusedCube()(x), x), (lambda x: FusedCube()(x.detach()), leaf(3))]:
        with pytest.raises(GradientError, match="no gradient to compare; order=0 compares values alone"):
            compare_with_composition(function, [given])
        assert compare_with_composition(function, [given], order=0)
