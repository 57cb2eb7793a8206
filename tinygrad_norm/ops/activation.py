"""Activations. Each is its formula in primitives; those that a norm can fuse are listed in `fusible`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_norm import kernels
from tinygrad_norm.checks import check_choice
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops import reduction
from tinygrad_norm.tape import Array, FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class Relu(Op):
    def forward(self, x: Array) -> Array:
        y = kernels.of(x).relu(x)
        self.save(y)
        return y

    def backward(self, grad: Tensor) -> Tensor:
        (y,) = self.saved
        return ReluGradient()(grad, y)


class ReluGradient(Op):
    """dy where y, the output of a ReLU, is not 0: linear in dy, so that it is its own gradient."""

    def forward(self, dy: Array, y: Array) -> Array:
        self.save(y)
        return kernels.of(y).relu_gradient(dy, y)

    def backward(self, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = self.saved
        return ReluGradient()(grad, y), None


class AddRelu(FusedOp):
    """relu(x + y), which saves nothing but its output. The gradients of x and y are one array."""

    broadcasts = True
    saves_inputs = False

    def composed(self, x: Tensor, y: Tensor) -> Tensor:
        return relu(x + y)

    def forward(self, x: Any, y: Any) -> Any:
        z = kernels.of(x).add_relu(x, y)
        self.save(z)
        return z

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        (z,) = self.saved
        both = ReluGradient()(grad, z)
        return both, both


class ActivationOp(FusedOp):
    """An activation in one kernel: the value, and dy times the derivative, from kernels/."""

    kernel = ""

    def forward(self, x: Array, *, parameter: float = 0.0) -> Array:
        return kernels.of(x).activate(e.real(x), (self.kernel, parameter))

    def gradient(self, grad: Array, x: Array) -> tuple[Array]:
        return (kernels.of(x).activation_gradient(grad, x, (self.kernel, self.params.get("parameter", 0.0))),)


class LeakyRelu(ActivationOp):
    kernel = "leaky_relu"

    def composed(self, x: Tensor, *, parameter: float) -> Tensor:
        return e.where(x > 0, x, parameter * x)


class Elu(ActivationOp):
    kernel = "elu"

    def composed(self, x: Tensor, *, parameter: float) -> Tensor:
        return e.where(x > 0, x, parameter * e.expm1(e.where(x > 0, 0.0, x)))


class Gelu(ActivationOp):
    kernel = "gelu"

    def composed(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + e.erf(x / math.sqrt(2)))


class GeluTanh(ActivationOp):
    kernel = "gelu_tanh"

    def composed(self, x: Tensor) -> Tensor:
        near = e.clip(x, -25, 25)  # beyond, tanh is 1 and its derivative 0, and x³ may be infinite
        return 0.5 * x * (1 + e.tanh(math.sqrt(2 / math.pi) * (near + 0.044715 * near * near * near)))


class Silu(ActivationOp):
    kernel = "silu"

    def composed(self, x: Tensor) -> Tensor:
        return x * e.sigmoid(x)


class Softplus(ActivationOp):
    kernel = "softplus"

    def composed(self, x: Tensor) -> Tensor:
        # x > 0 and not maximum(x, 0), whose gradient at 0 is shared out
        return e.where(x > 0, x + e.log1p(e.exp(e.where(x > 0, -x, 0.0))), e.log1p(e.exp(e.where(x > 0, 0.0, x))))


class Hardswish(ActivationOp):
    kernel = "hardswish"

    def composed(self, x: Tensor) -> Tensor:
        between = e.where(abs(x) >= 3, 0.0, x)  # or an infinite x would make of the gradient of 0 that it gets NaN
        return e.where(x <= -3, 0.0, e.where(x >= 3, x, between * (between + 3) / 6))


class Mish(ActivationOp):
    kernel = "mish"

    def composed(self, x: Tensor) -> Tensor:
        return x * e.tanh(softplus(x))


def relu(x: Any) -> Tensor:
    """x where it is positive, else 0."""
    return Relu()(x)


def add_relu(x: Any, y: Any) -> Tensor:
    """relu(x + y), where a residual branch comes home. The name is that of PyTorch's `FloatFunctional`."""
    return AddRelu()(x, y)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, else `negative_slope` times x."""
    return LeakyRelu()(x, parameter=float(negative_slope))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where it is positive, else alpha (exp(x) - 1). Source: Clevert et al. 2016."""
    return Elu()(x, parameter=float(alpha))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x times the normal distribution function at x; with approximate="tanh" its approximation by tanh.

    Source: Hendrycks and Gimpel 2016.
    """
    check_choice("gelu: approximate", approximate, ("none", "tanh"))
    return Gelu()(x) if approximate == "none" else GeluTanh()(x)


def silu(x: Any) -> Tensor:
    """x times sigmoid(x), also called swish."""
    return Silu()(x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, exact everywhere, so that `threshold` (kept for PyTorch's sake) changes nothing."""
    return Softplus()(x) if beta == 1 else Softplus()(e.multiply(x, beta)) / beta


def hardswish(x: Any) -> Tensor:
    """x clip(x + 3, 0, 6) / 6. Source: Howard et al. 2019."""
    return Hardswish()(x)


def mish(x: Any) -> Tensor:
    """x tanh(softplus(x)). Source: Misra 2019."""
    return Mish()(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) over its sum along `axis`, without overflow."""
    return reduction.Softmax()(x, axis=reduction.checked_axis("softmax", axis, len(reduction.shape_of(x))))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """The logarithm of softmax(x) along `axis`, without overflow."""
    return reduction.LogSoftmax()(x, axis=reduction.checked_axis("log_softmax", axis, len(reduction.shape_of(x))))


_FUNCTIONS: dict[str, tuple[Callable[..., Tensor], float | None]] = {
    "relu": (relu, None),
    "leaky_relu": (leaky_relu, 0.01),
    "elu": (elu, 1.0),
    "sigmoid": (e.sigmoid, None),
    "tanh": (e.tanh, None),
    "silu": (silu, None),
    "gelu": (gelu, None),
    "gelu_tanh": (lambda x: gelu(x, "tanh"), None),
    "hardswish": (hardswish, None),
    "mish": (mish, None),
    "softplus": (softplus, None),
}


def fusible(activation: str | tuple[str, float] | None) -> tuple[str, float] | None:
    """The name and the parameter of an activation that a norm can fuse; `("leaky_relu", 0.1)` gives the parameter.

    Raises:
        ValueError: the name is not known, or takes no parameter.
    """
    if activation is None:
        return None
    name, parameter = activation if isinstance(activation, tuple) else (activation, None)
    if name not in _FUNCTIONS:
        raise ValueError(f"activation: {name!r} is not known; known are {', '.join(_FUNCTIONS)}, or None")
    default = _FUNCTIONS[name][1]
    if parameter is not None and default is None:
        raise ValueError(f"activation: {name!r} takes no parameter, {parameter!r} was given")
    return name, float(default or 0.0) if parameter is None else float(parameter)


def activate(x: Any, activation: tuple[str, float] | None) -> Any:
    """The activation of x, as `fusible` returns it; x itself for None."""
    if activation is None:
        return x
    function, default = _FUNCTIONS[activation[0]]
    return function(x) if default is None else function(x, activation[1])
