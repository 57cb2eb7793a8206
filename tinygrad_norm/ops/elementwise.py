"""Elementwise ops: arithmetic, comparison, and functions of one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels
from tinygrad_norm.tape import Array, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Pair = tuple["Tensor | None", "Tensor | None"]


class Add(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return x + y

    def backward(self, grad: Tensor) -> Pair:
        return grad, grad


class Subtract(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return np.subtract(x, y)

    def backward(self, grad: Tensor) -> Pair:
        return grad, -grad if self.needs[1] else None


class Multiply(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x if self.needs[1] else None, y if self.needs[0] else None)
        return x * y

    def backward(self, grad: Tensor) -> Pair:
        x, y = self.saved
        return grad * y if self.needs[0] else None, grad * x if self.needs[1] else None


class Divide(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x if self.needs[1] else None, y)
        return np.true_divide(x, y)

    def backward(self, grad: Tensor) -> Pair:
        x, y = self.saved
        return grad / y if self.needs[0] else None, -grad * x / (y * y) if self.needs[1] else None


class Power(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return x**y

    def backward(self, grad: Tensor) -> Pair:
        x, y = self.saved
        return self._by_base(grad, x, y) if self.needs[0] else None, (
            self._by_exponent(grad, x, y) if self.needs[1] else None
        )

    def _by_base(self, grad: Tensor, x: Any, y: Any) -> Tensor:
        if not hasattr(y, "shape"):
            return grad * y * x ** (y - 1) if y != 0 else grad * 0.0
        # y x^(y-1) is 0, and not 0 times infinity, where the exponent is 0.
        return where(equal(y, 0), 0.0, grad * y * pow(x, where(equal(y, 0), 1.0, y - 1)))

    def _by_exponent(self, grad: Tensor, x: Any, y: Any) -> Tensor:
        zero = equal(x, 0)  # 0^y stays 0 around any positive y
        return where(zero, 0.0, grad * pow(x, y) * log(where(zero, 1.0, x)))


class Maximum(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.maximum(x, y)

    def backward(self, grad: Tensor) -> Pair:
        return _to_the_chosen(grad, *self.saved)


class Minimum(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.minimum(x, y)

    def backward(self, grad: Tensor) -> Pair:
        return _to_the_chosen(grad, *self.saved[::-1])[::-1]


def _to_the_chosen(grad: Tensor, x: Any, y: Any) -> Pair:
    """The gradient where x > y to x, where x < y to y; in half to each where they are equal."""
    half = where(equal(x, y), 0.5 * grad, 0.0)
    return where(greater(x, y), grad, half), where(less(x, y), grad, half)


class Where(Op):
    broadcasts = True

    def forward(self, condition: Array, x: Any, y: Any) -> Array:
        self.save(condition)
        return np.where(condition, x, y)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (condition,) = self.saved
        return None, (
            where(condition, grad, 0.0) if self.needs[1] else None), where(condition, 0.0, grad) if self.needs[2] else None


class Clip(Op):
    broadcasts = True

    def forward(self, x: Array, lowest: Any, highest: Any) -> Array:
        inside = np.ones(x.shape, np.bool_)
        if any(self.needs):
            inside = (inside if lowest is None else x >= lowest) & (True if highest is None else x <= highest)
        self.save(inside)
        return np.clip(x, lowest, highest)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = self.saved
        return where(inside, grad, 0.0), None, None


class AsType(Op):
    sets_dtype = True

    def forward(self, x: Array, *, dtype: Any) -> Array:
        return x.astype(dtype)

    def backward(self, grad: Tensor) -> Tensor:
        # Back in float64 as long as it may be; the walk fits it to the input.
        return grad

    broadcasts = True


class Negative(Op):
    def forward(self, x: Array) -> Array:
        return np.negative(x)

    def backward(self, grad: Tensor) -> Tensor:
        return -grad


class Exp(Op):
    def forward(self, x: Array) -> Array:
        y = np.exp(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * y


class Expm1(Op):
    def forward(self, x: Array) -> Array:
        y = np.expm1(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * (y + 1)


class Log(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.log(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad / x


class Log1p(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.log1p(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad / (x + 1)


class Sqrt(Op):
    def forward(self, x: Array) -> Array:
        y = np.sqrt(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad / (2 * y)


class Rsqrt(Op):
    def forward(self, x: Array) -> Array:
        y = 1 / np.sqrt(x)
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
        return grad * (2 * x)


class Abs(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.abs(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * sign(x)


class Sign(Op):
    def forward(self, x: Array) -> Array:
        return np.sign(x)

    def backward(self, grad: Tensor) -> Tensor:
        return grad * 0.0


class Sin(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.sin(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * cos(x)


class Cos(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return np.cos(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return -grad * sin(x)


class Tanh(Op):
    def forward(self, x: Array) -> Array:
        y = np.tanh(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * (1 - y * y)


class Sigmoid(Op):
    def forward(self, x: Array) -> Array:
        y = kernels.reference.sigmoid(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return grad * y * (1 - y)


class Erf(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).erf(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * (2 / np.pi**0.5) * exp(-x * x)


class Comparison(Op):
    """Compares element by element; no gradient goes through."""

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


class Floor(Comparison):
    numpy_function = np.floor


class Ceil(Comparison):
    numpy_function = np.ceil


class Round(Comparison):
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


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where `condition` holds, y elsewhere."""
    return Where()(condition, x, y)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """x kept between `min` and `max` (numbers or arrays; None: no bound); at a bound the gradient still goes through."""
    if min is None and max is None:
        raise ValueError("clip: give min, max or both")
    if any(getattr(bound, "requires_grad", False) for bound in (min, max)):
        x = x if min is None else maximum(x, min)
        return x if max is None else minimum(x, max)
    return Clip()(x, min, max)


def astype(x: Any, dtype: Any) -> Tensor:
    """x with elements of `dtype`."""
    return AsType()(x, dtype=_supported(dtype))


def _supported(dtype: Any) -> np.dtype[Any]:
    wanted = np.dtype(dtype)
    if wanted.kind not in "biu" and wanted not in (np.float32, np.float64):
        raise TypeError(f"astype: {wanted} is not supported; float32, float64, integers and bool are")
    return wanted


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
    """The largest integer not above x; no gradient goes through."""
    return Floor()(x)


def ceil(x: Any) -> Tensor:
    """The smallest integer not below x; no gradient goes through."""
    return Ceil()(x)


def round(x: Any) -> Tensor:
    """The nearest integer, halves to even; no gradient goes through."""
    return Round()(x)
