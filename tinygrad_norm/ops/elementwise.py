"""Elementwise ops: arithmetic, comparison, and functions of one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import dtypes, kernels
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tape import Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Gradients = tuple["Tensor | None", "Tensor | None"]


def real(x: Array) -> Array:
    """x as what functions of real numbers are computed in: integers and bools as float32."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


class Add(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return kernels.of(x).add(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        return grad, grad


class Subtract(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return np.subtract(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        return grad, -grad if self.needs_input_grad[1] else None


class Multiply(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x if self.needs_input_grad[1] else None, y if self.needs_input_grad[0] else None)
        return kernels.of(x).multiply(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        return grad * y if self.needs_input_grad[0] else None, grad * x if self.needs_input_grad[1] else None


class Divide(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x if self.needs_input_grad[1] else None, y)
        return np.true_divide(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved  # not x / y², whose square may leave the range
        return grad / y if self.needs_input_grad[0] else None, -grad * (x / y / y) if self.needs_input_grad[1] else None


class Power(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        if _kind(x) in "iu" and _kind(y) in "iu" and np.any(np.less(y, 0)):
            raise ValueError(
                "pow: integers have no negative power that is an integer; give x as floating-point numbers"
            )
        z = x**y
        self.save(x if isinstance(x, np.ndarray) else np.asarray(x, z.dtype), y)  # so that log(2.0) is as fine as z
        return z

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        dx = _by_base(grad, x, y) if self.needs_input_grad[0] else None
        return dx, _by_exponent(grad, x, y) if self.needs_input_grad[1] else None


def _kind(x: Any) -> str:
    """The kind of dtype of an array or a Python number."""
    return x.dtype.kind if isinstance(x, np.ndarray) else np.min_scalar_type(x).kind


def _by_base(grad: Tensor, x: Tensor, y: Any) -> Tensor:
    """y x^(y-1); where y is 0 it is 0, and not 0 times infinity."""
    if not hasattr(y, "shape"):
        return grad * (y * x ** (y - 1)) if y != 0 else where(False, grad, 0.0)
    zero = equal(y, 0)
    return where(zero, 0.0, grad * (y * pow(x, where(zero, 1.0, y - 1))))


def _by_exponent(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x^y log(x); where x is 0 it is 0, as 0^y is for every y around."""
    zero = logical_and(equal(x, 0), greater_equal(y, 0))
    return grad * (pow(x, y) * log(where(zero, 1.0, x)))


class Maximum(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.maximum(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        return _to_the_larger(grad, x, y)


class Minimum(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.minimum(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        return _to_the_larger(grad, y, x)  # x is the smaller where y is the larger


def _to_the_larger(grad: Tensor, x: Any, y: Any) -> Gradients:
    """The gradient where x > y, and where y > x; half of it where they are equal, all where one is NaN, to be seen."""
    shared = where(equal(x, y), 0.5 * grad, grad)
    return where(less(x, y), 0.0, shared), where(greater(x, y), 0.0, shared)


class LogAddExp(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.logaddexp(*[real(value) if isinstance(value, np.ndarray) else value for value in (x, y)])

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        same = logical_and(equal(x, y), logical_not(isfinite(x)))  # infinities have no difference, and share
        difference = where(same, 0.0, subtract(x, y))
        return grad * sigmoid(difference), grad * sigmoid(-difference)


class Where(Op):
    broadcasts = True

    def forward(self, condition: Array, x: Any, y: Any) -> Array:
        self.save(condition)
        return np.where(condition, x, y)

    def backward(self, grad: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        (condition,) = self.saved
        dx = where(condition, grad, 0.0) if self.needs_input_grad[1] else None
        dy = where(condition, 0.0, grad) if self.needs_input_grad[2] else None
        return None, dx, dy


class Clip(Op):
    broadcasts = True

    def forward(self, x: Array, lowest: Any, highest: Any) -> Array:
        if any(self.needs_input_grad):
            above = False if highest is None else (x if lowest is None else np.maximum(x, lowest)) > highest
            below = False if lowest is None else (x < lowest) & np.logical_not(above)
            self.save(np.logical_not(below | above), below, above)
        return np.clip(x, lowest, highest)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(
            [where(cause, grad, 0.0) if n else None for cause, n in zip(self.saved, self.needs_input_grad, strict=True)]
        )


class AsType(Op):
    broadcasts = True  # the backward pass casts the gradient to the input's dtype
    sets_dtype = True

    def forward(self, x: Array, *, dtype: Any) -> Array:
        return x.astype(dtype)

    def backward(self, grad: Tensor) -> Tensor:
        return grad


class AsInteger(AsType):
    differentiable = False


class StopGradient(Op):
    differentiable = False

    def forward(self, x: Array) -> Array:
        return x


class Negative(Op):
    def forward(self, x: Array) -> Array:
        return np.negative(x)

    def backward(self, grad: Tensor) -> Tensor:
        return -grad


class Exp(Op):
    def forward(self, x: Array) -> Array:
        y = np.exp(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * y


class Expm1(Op):
    def forward(self, x: Array) -> Array:
        y = np.expm1(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * (y + 1)


class Log(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.log(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad / x


class Log1p(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.log1p(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad / (x + 1)


class Sqrt(Op):
    def forward(self, x: Array) -> Array:
        y = np.sqrt(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad / (2 * y)


class Rsqrt(Op):
    def forward(self, x: Array) -> Array:
        y = 1 / np.sqrt(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return -0.5 * grad * y * y * y


class Square(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.square(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return 2 * grad * x


class Abs(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.abs(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * sign(x)


class Sin(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.sin(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * cos(x)


class Cos(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.cos(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return -grad * sin(x)


class Tanh(Op):
    def forward(self, x: Array) -> Array:
        y = np.tanh(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * (1 - y * y)


class Sigmoid(Op):
    def forward(self, x: Array) -> Array:
        y = kernels.of(x).sigmoid(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * y * (1 - y)


class Erf(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).erf(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * (2 / np.pi**0.5) * exp(-x * x)


class Comparison(Op):
    """Compares element by element; no gradient goes through."""

    broadcasts = True
    differentiable = False
    numpy_function: Any

    def forward(self, *arrays: Any) -> Any:
        return type(self).numpy_function(*arrays)


class Equal(Comparison):
    numpy_function = np.equal


class NotEqual(Comparison):
    numpy_function = np.not_equal


class Less(Comparison):
    numpy_function = np.less


class LessEqual(Comparison):
    numpy_function = np.less_equal


class Greater(Comparison):
    numpy_function = np.greater


class GreaterEqual(Comparison):
    numpy_function = np.greater_equal


class LogicalNot(Comparison):
    numpy_function = np.logical_not


class LogicalAnd(Comparison):
    numpy_function = np.logical_and


class LogicalOr(Comparison):
    numpy_function = np.logical_or


class LogicalXor(Comparison):
    numpy_function = np.logical_xor


class IsNan(Comparison):
    numpy_function = np.isnan


class IsFinite(Comparison):
    numpy_function = np.isfinite


class Step(Op):
    """A function that is constant but for its jumps, so that its gradient is 0."""

    numpy_function: Any

    def forward(self, x: Array) -> Any:
        return type(self).numpy_function(x)

    def backward(self, grad: Tensor) -> Tensor:
        return where(False, grad, 0.0)


class Sign(Step):
    numpy_function = np.sign


class Floor(Step):
    numpy_function = np.floor


class Ceil(Step):
    numpy_function = np.ceil


class Round(Step):
    numpy_function = np.round


def add(x: Any, y: Any) -> Tensor:
    """x + y, element by element, broadcast."""
    return Add()(x, y)


def subtract(x: Any, y: Any) -> Tensor:
    """x - y, element by element, broadcast."""
    return Subtract()(x, y)


def multiply(x: Any, y: Any) -> Tensor:
    """x times y, element by element, broadcast."""
    return Multiply()(x, y)


def divide(x: Any, y: Any) -> Tensor:
    """x / y, element by element, broadcast."""
    return Divide()(x, y)


def pow(x: Any, y: Any) -> Tensor:
    """x to the power y, element by element, broadcast."""
    return Power()(x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y; equal ones share the gradient."""
    return Maximum()(x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y; equal ones share the gradient."""
    return Minimum()(x, y)


def logaddexp(x: Any, y: Any) -> Tensor:
    """log(exp(x) + exp(y)), without overflow; the gradient is shared as by softmax, evenly by two equal infinities."""
    return LogAddExp()(x, y)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where `condition` holds, y elsewhere."""
    return Where()(condition, x, y)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """x kept between `min` and `max`: numbers, arrays or tensors; None for no bound.

    The gradient goes to whichever of the three the result is; x keeps it where it equals a bound.
    """
    return Clip()(x, min, max)


def stop_gradient(x: Any) -> Tensor:
    """x, as a constant: no gradient goes through."""
    return StopGradient()(x)


def astype(x: Any, dtype: Any, copy: bool = True) -> Tensor:
    """x with elements of `dtype`; no gradient goes through integers and bool.

    Args:
        x: a tensor, or what becomes one.
        dtype: of the elements.
        copy: whether to copy a tensor that has them already; False returns it.
    """
    wanted = dtypes.supported(dtype)
    if not copy and hasattr(x, "creator") and x.dtype == wanted:
        return x
    return (AsType if wanted.kind == "f" else AsInteger)()(x, dtype=wanted)


def negative(x: Any) -> Tensor:
    """-x."""
    return Negative()(x)


def exp(x: Any) -> Tensor:
    """e to the power x."""
    return Exp()(x)


def expm1(x: Any) -> Tensor:
    """exp(x) - 1, exact near 0."""
    return Expm1()(x)


def log(x: Any) -> Tensor:
    """The natural logarithm of x."""
    return Log()(x)


def log1p(x: Any) -> Tensor:
    """log(1 + x), exact near 0."""
    return Log1p()(x)


def sqrt(x: Any) -> Tensor:
    """The square root of x."""
    return Sqrt()(x)


def rsqrt(x: Any) -> Tensor:
    """1 / sqrt(x)."""
    return Rsqrt()(x)


def square(x: Any) -> Tensor:
    """x times x."""
    return Square()(x)


def abs(x: Any) -> Tensor:
    """The magnitude of x; its gradient at 0 is 0."""
    return Abs()(x)


def sign(x: Any) -> Tensor:
    """-1, 0 or 1; its gradient is 0."""
    return Sign()(x)


def sin(x: Any) -> Tensor:
    """The sine of x, in radians."""
    return Sin()(x)


def cos(x: Any) -> Tensor:
    """The cosine of x, in radians."""
    return Cos()(x)


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent of x."""
    return Tanh()(x)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)), without overflow."""
    return Sigmoid()(x)


def erf(x: Any) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return Erf()(x)


def equal(x: Any, y: Any) -> Tensor:
    """Whether x == y, element by element."""
    return Equal()(x, y)


def not_equal(x: Any, y: Any) -> Tensor:
    """Whether x != y, element by element."""
    return NotEqual()(x, y)


def less(x: Any, y: Any) -> Tensor:
    """Whether x < y, element by element."""
    return Less()(x, y)


def less_equal(x: Any, y: Any) -> Tensor:
    """Whether x <= y, element by element."""
    return LessEqual()(x, y)


def greater(x: Any, y: Any) -> Tensor:
    """Whether x > y, element by element."""
    return Greater()(x, y)


def greater_equal(x: Any, y: Any) -> Tensor:
    """Whether x >= y, element by element."""
    return GreaterEqual()(x, y)


def logical_not(x: Any) -> Tensor:
    """Whether x is false, element by element."""
    return LogicalNot()(x)


def logical_and(x: Any, y: Any) -> Tensor:
    """Whether x and y are both true, element by element."""
    return LogicalAnd()(x, y)


def logical_or(x: Any, y: Any) -> Tensor:
    """Whether x or y is true, element by element."""
    return LogicalOr()(x, y)


def logical_xor(x: Any, y: Any) -> Tensor:
    """Whether just one of x and y is true, element by element."""
    return LogicalXor()(x, y)


def isnan(x: Any) -> Tensor:
    """Whether x is NaN."""
    return IsNan()(x)


def isfinite(x: Any) -> Tensor:
    """Whether x is neither NaN nor infinite."""
    return IsFinite()(x)


def floor(x: Any) -> Tensor:
    """The largest integer not above x; its gradient is 0."""
    return Floor()(x)


def ceil(x: Any) -> Tensor:
    """The smallest integer not below x; its gradient is 0."""
    return Ceil()(x)


def round(x: Any) -> Tensor:
    """The nearest integer, halves to even; its gradient is 0."""
    return Round()(x)
