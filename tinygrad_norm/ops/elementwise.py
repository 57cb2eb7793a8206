"""Elementwise ops: arithmetic, comparison, and functions of one number."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_norm import definitions, dtypes, kernels
from tinygrad_norm.definitions.special import FAR
from tinygrad_norm.dtypes import Array
from tinygrad_norm.ops.arguments import shape_dtype_of
from tinygrad_norm.tape import FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Gradients = tuple["Tensor | None", "Tensor | None"]


def real(x: Array) -> Array:
    """Return x as what functions of real numbers are computed in: integers and bools as float32."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


class NumPyOp(Op):
    """An op whose forward is one function of NumPy's: `class Floor(NumPyOp, function=np.floor)`."""

    function: Any

    def __init_subclass__(cls, **functions: Any) -> None:
        for name, function in functions.items():
            setattr(cls, name, staticmethod(function))

    def forward(self, *arrays: Any, **params: Any) -> Any:
        return self.function(*arrays, **params)


class Add(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        return kernels.of(x).add(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        return grad, grad


class Subtract(NumPyOp, function=np.subtract):
    broadcasts = True

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


class Scale(FusedOp):
    """A product in which elements share their factors, as each channel its weight; both gradients in one pass."""

    definition = staticmethod(definitions.multiply)

    def gradient(self, grad: Array, *saved: Array) -> tuple[Array | None, ...]:
        return kernels.of(grad).scale_gradient(grad, *saved)


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
        if np.result_type(x, y).kind in "iu" and np.any(np.less(y, 0)):
            raise ValueError("pow: y is at least 0 where x and y are integers; give x as floating-point numbers")
        z = x**y
        self.save(x if isinstance(x, np.ndarray) else np.asarray(x, z.dtype), y)  # so that log(2.0) is as fine as z
        return z

    def backward(self, grad: Tensor) -> Gradients:
        x, y = self.saved
        by_base = _by_base(grad, x, y) if self.needs_input_grad[0] else None
        return by_base, _by_exponent(grad, x, y) if self.needs_input_grad[1] else None


def _by_base(grad: Tensor, x: Tensor, y: Any) -> Tensor:
    """Return y x^(y-1); where y is 0 it is 0, and not 0 times infinity."""
    if not hasattr(y, "shape"):
        return grad * (y * x ** (y - 1)) if y != 0 else where(False, grad, 0.0)
    zero = equal(y, 0)
    return where(zero, 0.0, grad * (y * pow(x, where(zero, 1.0, y - 1))))


def _by_exponent(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return x^y log(x); where x is 0 it is 0, as 0^y is for every y around."""
    zero = logical_and(equal(x, 0), greater_equal(y, 0))
    return grad * (pow(x, y) * log(where(zero, 1.0, x)))


class Maximum(Op):
    broadcasts = True

    def forward(self, x: Any, y: Any) -> Any:
        self.save(x, y)
        return np.maximum(x, y)

    def backward(self, grad: Tensor) -> Gradients:
        """The gradient where x > y, and where y > x; half where they are equal, all where one is NaN, to be seen."""
        x, y = self.saved
        shared = where(equal(x, y), 0.5 * grad, grad)
        return where(less(x, y), 0.0, shared), where(greater(x, y), 0.0, shared)


class Minimum(Maximum):
    def forward(self, x: Any, y: Any) -> Any:
        self.save(y, x)  # x is the smaller where y is the larger
        return np.minimum(x, y)


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
            above = np.False_ if highest is None else (x if lowest is None else np.maximum(x, lowest)) > highest
            below = np.False_ if lowest is None else (x < lowest) & np.logical_not(above)
            self.save(*map(np.asarray, (np.logical_not(below | above), below, above)))
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


class RealFunction(NumPyOp):
    """A function of real numbers, with its gradient as a function of the output's and of what is saved."""

    gradient: ClassVar[Callable[..., Tensor]]

    def backward(self, grad: Tensor) -> Tensor:
        return self.gradient(grad, *self.saved)


class OfInput(RealFunction):
    """A function whose gradient is known by its input x."""

    def forward(self, x: Array) -> Any:
        self.save(x)
        return self.function(x if x.dtype.kind == "f" else x.astype(np.float32))


class OfOutput(RealFunction):
    """A function whose gradient is known by its output y."""

    def forward(self, x: Array) -> Any:
        y = self.function(x if x.dtype.kind == "f" else x.astype(np.float32))
        self.save(y)
        return y


class Log(OfInput, function=np.log, gradient=lambda grad, x: grad / x): ...


class Log1p(OfInput, function=np.log1p, gradient=lambda grad, x: grad / (x + 1)): ...


class Sin(OfInput, function=np.sin, gradient=lambda grad, x: grad * cos(x)): ...


class Cos(OfInput, function=np.cos, gradient=lambda grad, x: -grad * sin(x)): ...


class Exp(OfOutput, function=np.exp, gradient=lambda grad, y: grad * y): ...


class Expm1(OfInput, function=np.expm1, gradient=lambda grad, x: grad * exp(x)): ...


class Sqrt(OfOutput, function=np.sqrt, gradient=lambda grad, y: grad / (2 * y)): ...


class Tanh(OfInput, function=np.tanh, gradient=lambda grad, x: multiply(4, SigmoidGradient()(grad, 2 * x))): ...


class Rsqrt(Op):
    def forward(self, x: Array) -> Array:
        y = 1 / np.sqrt(real(x))
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return -0.5 * grad * y * y * y


class Sigmoid(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).sigmoid(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return SigmoidGradient()(grad, x)


class Gated(Op):
    broadcasts = True

    def forward(self, x: Array, gate: Array) -> Array:
        self.save(x, gate)
        return np.maximum(real(x), -FAR) * gate

    def backward(self, grad: Tensor) -> Gradients:
        x, gate = self.saved
        return grad * gate, grad * clip(x, -FAR, FAR)  # the gate is flat beyond


class SigmoidGradient(Op):
    """dy s(x) s(-x), where s is the sigmoid; of s(x) alone, next to 1, s(-x) would have no digits."""

    def forward(self, dy: Array, x: Array) -> Array:
        self.save(dy, x)
        return kernels.of(x).activation_gradient(dy, x, ("sigmoid", 0.0))

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        dy, x = self.saved
        return SigmoidGradient()(grad, x), SigmoidGradient()(grad * dy, x) * tanh(-0.5 * x)


class Erf(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).erf(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * (2 / np.pi**0.5) * exp(-x * x)


class Ndtr(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).ndtr(real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * (0.5 / np.pi) ** 0.5 * exp(-0.5 * x * x)


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


class Negative(NumPyOp, function=np.negative):
    def backward(self, grad: Tensor) -> Tensor:
        return -grad


class Predicate(NumPyOp):
    """A comparison of elements; no gradient goes through."""

    broadcasts = True
    differentiable = False


class Equal(Predicate, function=np.equal): ...


class NotEqual(Predicate, function=np.not_equal): ...


class Less(Predicate, function=np.less): ...


class LessEqual(Predicate, function=np.less_equal): ...


class Greater(Predicate, function=np.greater): ...


class GreaterEqual(Predicate, function=np.greater_equal): ...


class LogicalNot(Predicate, function=np.logical_not): ...


class LogicalAnd(Predicate, function=np.logical_and): ...


class LogicalOr(Predicate, function=np.logical_or): ...


class LogicalXor(Predicate, function=np.logical_xor): ...


class IsNan(Predicate, function=np.isnan): ...


class IsFinite(Predicate, function=np.isfinite): ...


class Step(NumPyOp):
    """A function that is constant but for its jumps, so that its gradient is 0."""

    def backward(self, grad: Tensor) -> Tensor:
        return where(False, grad, 0.0)


class Sign(Step, function=np.sign): ...


class Floor(Step, function=np.floor): ...


class Ceil(Step, function=np.ceil): ...


class Round(Step, function=np.round): ...


def add(x: Any, y: Any) -> Tensor:
    """Return x + y, element by element, broadcast.

    Example:
        >>> ops.add([[1.0], [2.0]], [10.0, 20.0])
        Tensor([[11., 21.],
                [12., 22.]])
    """
    return Add()(x, y)


def subtract(x: Any, y: Any) -> Tensor:
    """Return x - y, element by element, broadcast.

    Example:
        >>> ops.subtract([5.0, 6.0], [1.0, 2.0])
        Tensor([4., 4.])
    """
    return Subtract()(x, y)


def multiply(x: Any, y: Any) -> Tensor:
    """Return x times y, element by element, broadcast.

    Example:
        >>> ops.multiply([[1.0], [2.0]], [3.0, 4.0])
        Tensor([[3., 4.],
                [6., 8.]])
    """
    return Multiply()(x, y)


def scale(x: Any, factors: Any) -> Tensor:
    """Return the product of x and factors, which are broadcast to the shape of x.

    Args:
        x: for example (N, C, H, W).
        factors: for example (N, C, 1, 1), as in squeeze-and-excitation, or (C, 1, 1).

    Raises:
        ValueError: the factors do not broadcast to the shape of x.

    Example:
        >>> ops.scale(ops.ones((2, 2)), [[3.0], [5.0]])
        Tensor([[3., 3.],
                [5., 5.]])
    """
    shape, fewer = shape_dtype_of(x)[0], shape_dtype_of(factors)[0]
    if len(fewer) > len(shape) or any(n not in (1, m) for n, m in zip(fewer[::-1], shape[::-1], strict=False)):
        raise ValueError(f"scale: factors of shape {fewer} do not broadcast to the shape {shape} of the input")
    return Scale()(x, factors) if fewer else multiply(x, factors)


def divide(x: Any, y: Any) -> Tensor:
    """Return x / y, element by element, broadcast.

    Example:
        >>> ops.divide([1.0, 3.0], 2)
        Tensor([0.5, 1.5])
    """
    return Divide()(x, y)


def pow(x: Any, y: Any) -> Tensor:
    """Return x to the power y, element by element, broadcast.

    Example:
        >>> ops.pow([1.0, 2.0, 3.0], 2)
        Tensor([1., 4., 9.])
    """
    return Power()(x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """Return the larger of x and y; equal ones share the gradient.

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> ops.maximum(x, 2.0).sum().backward()
        >>> x.grad
        Tensor([0. , 0.5])
    """
    return Maximum()(x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """Return the smaller of x and y; equal ones share the gradient.

    Example:
        >>> ops.minimum([1.0, 5.0], 2.0)
        Tensor([1., 2.])
    """
    return Minimum()(x, y)


def logaddexp(x: Any, y: Any) -> Tensor:
    """Return log(exp(x) + exp(y)), without overflow; the gradient is shared as by softmax, and by equal infinities.

    Example:
        >>> print(ops.logaddexp(1000.0, 1000.0).numpy().round(2))
        1000.69
    """
    return LogAddExp()(x, y)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """Return x where `condition` holds, y elsewhere.

    Example:
        >>> ops.where([True, False], [1.0, 2.0], 0.0)
        Tensor([1., 0.])
    """
    return Where()(condition, x, y)


def clip(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """Return x kept between `min` and `max`: numbers, arrays or tensors; None for no bound.

    The gradient goes to whichever of the three the result is; x keeps it where it equals a bound.

    Example:
        >>> ops.clip([-2.0, 0.5, 9.0], 0, 1)
        Tensor([0. , 0.5, 1. ])
    """
    return Clip()(x, min, max)


def stop_gradient(x: Any) -> Tensor:
    """Return x, as a constant: no gradient goes through.

    Example:
        >>> x = Tensor(3.0, requires_grad=True)
        >>> (x * ops.stop_gradient(x)).backward()
        >>> x.grad
        Tensor(3.)
    """
    return StopGradient()(x)


def astype(x: Any, dtype: Any, copy: bool = True) -> Tensor:
    """Return x with elements of `dtype`; no gradient goes through integers and bool.

    Args:
        x: a tensor, or what becomes one.
        dtype: of the elements.
        copy: whether to copy a tensor that has them already; False returns it.

    Example:
        >>> ops.astype([1.7, -1.7], "int32")
        Tensor([ 1, -1], dtype=int32)
    """
    wanted = dtypes.supported(dtype)
    if not copy and hasattr(x, "creator") and x.dtype == wanted:
        return x
    return (AsType if wanted.kind == "f" else AsInteger)()(x, dtype=wanted)


def negative(x: Any) -> Tensor:
    """Return -x.

    Example:
        >>> ops.negative([1.0, -2.0])
        Tensor([-1.,  2.])
    """
    return Negative()(x)


def exp(x: Any) -> Tensor:
    """Return e to the power x.

    Example:
        >>> print(ops.exp([0.0, 1.0]).numpy().round(4))
        [1.     2.7183]
    """
    return Exp()(x)


def expm1(x: Any) -> Tensor:
    """Return exp(x) - 1, exact near 0.

    Example:
        >>> ops.expm1(1e-10)
        Tensor(1.e-10)
    """
    return Expm1()(x)


def log(x: Any) -> Tensor:
    """Return the natural logarithm of x.

    Example:
        >>> print(ops.log([1.0, 10.0]).numpy().round(4))
        [0.     2.3026]
    """
    return Log()(x)


def log1p(x: Any) -> Tensor:
    """Return log(1 + x), exact near 0.

    Example:
        >>> ops.log1p(1e-10)
        Tensor(1.e-10)
    """
    return Log1p()(x)


def sqrt(x: Any) -> Tensor:
    """Return the square root of x.

    Example:
        >>> ops.sqrt([4.0, 9.0])
        Tensor([2., 3.])
    """
    return Sqrt()(x)


def rsqrt(x: Any) -> Tensor:
    """Return 1 / sqrt(x).

    Example:
        >>> ops.rsqrt([1.0, 4.0])
        Tensor([1. , 0.5])
    """
    return Rsqrt()(x)


def square(x: Any) -> Tensor:
    """Return x times x.

    Example:
        >>> ops.square([2.0, -3.0])
        Tensor([4., 9.])
    """
    return Square()(x)


def abs(x: Any) -> Tensor:
    """Return the magnitude of x; its gradient at 0 is 0.

    Example:
        >>> ops.abs([-2.0, 0.0, 3.0])
        Tensor([2., 0., 3.])
    """
    return Abs()(x)


def sign(x: Any) -> Tensor:
    """Return the sign of x, -1, 0 or 1; its gradient is 0.

    Example:
        >>> ops.sign([-2.0, 0.0, 3.0])
        Tensor([-1.,  0.,  1.])
    """
    return Sign()(x)


def sin(x: Any) -> Tensor:
    """Return the sine of x, in radians.

    Example:
        >>> ops.sin([0.0])
        Tensor([0.])
    """
    return Sin()(x)


def cos(x: Any) -> Tensor:
    """Return the cosine of x, in radians.

    Example:
        >>> ops.cos([0.0])
        Tensor([1.])
    """
    return Cos()(x)


def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent of x.

    Example:
        >>> print(ops.tanh([0.0, 1.0]).numpy().round(4))
        [0.     0.7616]
    """
    return Tanh()(x)


def sigmoid(x: Any) -> Tensor:
    """Return 1 / (1 + exp(-x)), without overflow.

    Example:
        >>> ops.sigmoid([-1000.0, 0.0, 1000.0])
        Tensor([0. , 0.5, 1. ])
    """
    return Sigmoid()(x)


def erf(x: Any) -> Tensor:
    """Return the error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Example:
        >>> print(ops.erf([0.0, 1.0]).numpy().round(4))
        [0.     0.8427]
    """
    return Erf()(x)


def gated(x: Any, gate: Any) -> Tensor:
    """Return x times gate, a function of x that is 0 below -1000 and 1 above 1000; at infinity, the limits of that.

    Example:
        >>> x = Tensor([0.0, 1.0, np.inf])
        >>> print(ops.gated(x, ops.sigmoid(x)).numpy().round(3))
        [0.    0.731   inf]
    """
    return Gated()(x, gate)


def ndtr(x: Any) -> Tensor:
    """Return the normal distribution function at x, also called Φ, exact in the tail below 0.

    Example:
        >>> print(ops.ndtr([-2.0, 0.0, 2.0]).numpy().round(4))
        [0.0228 0.5    0.9772]
    """
    return Ndtr()(x)


def equal(x: Any, y: Any) -> Tensor:
    """Return whether x == y, element by element.

    Example:
        >>> ops.equal([1, 2], [1, 3])
        Tensor([ True, False])
    """
    return Equal()(x, y)


def not_equal(x: Any, y: Any) -> Tensor:
    """Return whether x != y, element by element.

    Example:
        >>> ops.not_equal([1, 2], [1, 3])
        Tensor([False,  True])
    """
    return NotEqual()(x, y)


def less(x: Any, y: Any) -> Tensor:
    """Return whether x < y, element by element.

    Example:
        >>> ops.less([1, 2, 3], 2)
        Tensor([ True, False, False])
    """
    return Less()(x, y)


def less_equal(x: Any, y: Any) -> Tensor:
    """Return whether x <= y, element by element.

    Example:
        >>> ops.less_equal([1, 2, 3], 2)
        Tensor([ True,  True, False])
    """
    return LessEqual()(x, y)


def greater(x: Any, y: Any) -> Tensor:
    """Return whether x > y, element by element.

    Example:
        >>> ops.greater([1, 2, 3], 2)
        Tensor([False, False,  True])
    """
    return Greater()(x, y)


def greater_equal(x: Any, y: Any) -> Tensor:
    """Return whether x >= y, element by element.

    Example:
        >>> ops.greater_equal([1, 2, 3], 2)
        Tensor([False,  True,  True])
    """
    return GreaterEqual()(x, y)


def logical_not(x: Any) -> Tensor:
    """Return whether x is false, element by element.

    Example:
        >>> ops.logical_not([True, False])
        Tensor([False,  True])
    """
    return LogicalNot()(x)


def logical_and(x: Any, y: Any) -> Tensor:
    """Return whether x and y are both true, element by element.

    Example:
        >>> ops.logical_and([True, True], [True, False])
        Tensor([ True, False])
    """
    return LogicalAnd()(x, y)


def logical_or(x: Any, y: Any) -> Tensor:
    """Return whether x or y is true, element by element.

    Example:
        >>> ops.logical_or([True, False], [False, False])
        Tensor([ True, False])
    """
    return LogicalOr()(x, y)


def logical_xor(x: Any, y: Any) -> Tensor:
    """Return whether just one of x and y is true, element by element.

    Example:
        >>> ops.logical_xor([True, True], [True, False])
        Tensor([False,  True])
    """
    return LogicalXor()(x, y)


def isnan(x: Any) -> Tensor:
    """Return whether x is NaN.

    Example:
        >>> ops.isnan([1.0, np.inf, np.nan])
        Tensor([False, False,  True])
    """
    return IsNan()(x)


def isfinite(x: Any) -> Tensor:
    """Return whether x is neither NaN nor infinite.

    Example:
        >>> ops.isfinite([1.0, np.inf, np.nan])
        Tensor([ True, False, False])
    """
    return IsFinite()(x)


def floor(x: Any) -> Tensor:
    """Return the largest integer not above x; its gradient is 0.

    Example:
        >>> ops.floor([1.2, -1.2])
        Tensor([ 1., -2.])
    """
    return Floor()(x)


def ceil(x: Any) -> Tensor:
    """Return the smallest integer not below x; its gradient is 0.

    Example:
        >>> ops.ceil([1.2, -1.2])
        Tensor([ 2., -1.])
    """
    return Ceil()(x)


def round(x: Any) -> Tensor:
    """Return the nearest integer, halves to even; its gradient is 0.

    Example:
        >>> ops.round([0.5, 1.5, 2.4])
        Tensor([0., 2., 2.])
    """
    return Round()(x)
