"""Activations. Each is a formula of `definitions/activation.py`; those that a norm can fuse are its table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_norm import definitions, kernels
from tinygrad_norm.checks import FINITE, check_choice, check_number
from tinygrad_norm.definitions import activation as formulas
from tinygrad_norm.definitions.activation import ACTIVATIONS, Activation
from tinygrad_norm.definitions.activation import activate as activate
from tinygrad_norm.dtypes import Array
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops import reduction
from tinygrad_norm.tape import FusedOp, Op

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

ActivationSpec = str | tuple[str, float] | None
"""An activation as a caller says it: its name, its name and parameter, or none."""


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

    definition = staticmethod(definitions.add_relu)
    broadcasts = True
    saves_inputs = False

    def forward(self, x: Any, y: Any) -> Any:
        z = kernels.of(x).add_relu(x, y)
        self.save(z)
        return z

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor]:
        (z,) = self.saved
        both = ReluGradient()(grad, z)
        return both, both


class Softplus(Op):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return kernels.of(x).softplus(e.real(x))

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return grad * e.sigmoid(x)


class ActivationOp(FusedOp):
    """An activation in one kernel, its value as well as its gradient; the parameter, if any, is the only one."""

    definition: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, definition: Callable[..., Any] | None = None) -> None:
        cls.definition = staticmethod(definition or cls.definition)

    def forward(self, x: Array, **parameters: float) -> Array:
        return kernels.of(x).activate(e.real(x), self._activation())

    def gradient(self, grad: Array, x: Array) -> tuple[Array]:
        return (kernels.of(x).activation_gradient(grad, x, self._activation()),)

    def _activation(self) -> tuple[str, float]:
        return type(self).definition.__name__, next(iter(self.params.values()), 0.0)


class LeakyRelu(ActivationOp, definition=formulas.leaky_relu): ...


class Elu(ActivationOp, definition=formulas.elu): ...


class Gelu(ActivationOp, definition=formulas.gelu): ...


class GeluTanh(ActivationOp, definition=formulas.gelu_tanh): ...


class Silu(ActivationOp, definition=formulas.silu): ...


class Hardswish(ActivationOp, definition=formulas.hardswish): ...


class Mish(ActivationOp, definition=formulas.mish): ...


def relu(x: Any) -> Tensor:
    """Return x where it is positive, else 0.

    Example:
        >>> ops.relu([-1.0, 2.0])
        Tensor([0., 2.])
    """
    return Relu()(x)


def add_relu(x: Any, y: Any) -> Tensor:
    """Return relu(x + y), where a residual branch comes home. The name is that of PyTorch's `FloatFunctional`.

    Example:
        >>> ops.add_relu([1.0, -3.0], [1.0, 1.0])
        Tensor([2., 0.])
    """
    return AddRelu()(x, y)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """Return x where it is positive, else `negative_slope` times x.

    Example:
        >>> ops.leaky_relu([-1.0, 2.0], 0.5)
        Tensor([-0.5,  2. ])
    """
    return LeakyRelu()(x, slope=float(negative_slope))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """Return x where it is positive, else alpha (exp(x) - 1).

    Example:
        >>> ops.elu([0.0, 2.0])
        Tensor([0., 2.])
    """
    return Elu()(x, alpha=float(alpha))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """Return x times the normal distribution function at x; with approximate="tanh" its approximation by tanh.

    Example:
        >>> print(ops.gelu([-1.0, 0.0, 1.0]).numpy().round(3))
        [-0.159  0.     0.841]
    """
    check_choice("gelu: approximate", approximate, ("none", "tanh"))
    return Gelu()(x) if approximate == "none" else GeluTanh()(x)


def silu(x: Any) -> Tensor:
    """Return x times sigmoid(x), also called swish.

    Example:
        >>> print(ops.silu([-1.0, 0.0, 1.0]).numpy().round(3))
        [-0.269  0.     0.731]
    """
    return Silu()(x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(beta x)) / beta, exact everywhere, so that `threshold`, which PyTorch has, changes nothing.

    Example:
        >>> print(ops.softplus([-1.0, 0.0, 100.0]).numpy().round(3))
        [  0.313   0.693 100.   ]
    """
    return Softplus()(x) if beta == 1 else Softplus()(e.multiply(x, beta)) / beta


def hardswish(x: Any) -> Tensor:
    """Return x clip(x + 3, 0, 6) / 6.

    Example:
        >>> ops.hardswish([-4.0, 0.0, 4.0])
        Tensor([0., 0., 4.])
    """
    return Hardswish()(x)


def mish(x: Any) -> Tensor:
    """Return x tanh(softplus(x)).

    Example:
        >>> print(ops.mish([-1.0, 0.0, 1.0]).numpy().round(3))
        [-0.303  0.     0.865]
    """
    return Mish()(x)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """Return exp(x) over its sum along `axis`, without overflow.

    Example:
        >>> ops.softmax([[0.0, 0.0], [1000.0, 0.0]])
        Tensor([[0.5, 0.5],
                [1. , 0. ]])
    """
    return reduction.Softmax()(x, axis=reduction.shape_and_axis("softmax", x, axis)[1])


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """Return the logarithm of softmax(x) along `axis`, without overflow.

    Example:
        >>> print(ops.log_softmax([0.0, 0.0]).numpy().round(3))
        [-0.693 -0.693]
    """
    return reduction.LogSoftmax()(x, axis=reduction.shape_and_axis("log_softmax", x, axis)[1])


def fusible(activation: ActivationSpec) -> Activation:
    """Return name and parameter of an activation that a norm can fuse; `("leaky_relu", 0.1)` gives the parameter.

    Raises:
        ValueError: the name is not known, or takes no parameter.
        TypeError: it is no name, nor a name and a number.
    """
    if activation is None:
        return None
    if isinstance(activation, tuple) and len(activation) != 2:
        raise TypeError(f"activation is a name, or (name, parameter), got {activation!r}")
    name, parameter = activation if isinstance(activation, tuple) else (activation, None)
    check_choice("activation", name, ACTIVATIONS)
    default = ACTIVATIONS[name].parameter
    if parameter is not None and default is None:
        raise ValueError(f"activation: {name!r} takes no parameter, got {parameter!r}")
    if parameter is None:
        return name, float(default or 0.0)
    return name, check_number(f"activation: the parameter of {name!r}", parameter, FINITE)
