"""Activations as modules: each is the op of that name, with its arguments as attributes.

Those that PyTorch can do in place take its `inplace`, and refuse True: a tensor on the tape is not written in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar
from typing import Any, Literal

from tinygrad_norm import definitions, ops
from tinygrad_norm.checks import check_choice
from tinygrad_norm.nn.linear import Identity
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.activation import ActivationSpec, fusible


class ReLU(OpModule, op=ops.relu):
    """max(x, 0).

    Example:
        >>> nn.ReLU()(Tensor([-1.0, 2.0]))
        Tensor([0., 2.])
    """

    inplace: InitVar[bool] = False


class LeakyReLU(OpModule, op=ops.leaky_relu):
    """x where positive, negative_slope * x elsewhere.

    Example:
        >>> nn.LeakyReLU(0.5)(Tensor([-1.0, 2.0]))
        Tensor([-0.5,  2. ])
    """

    negative_slope: float = 0.01
    inplace: InitVar[bool] = False


class ELU(OpModule, op=ops.elu):
    """x where positive, alpha * (exp(x) - 1) elsewhere.

    Example:
        >>> nn.ELU(alpha=2.0)(Tensor([0.0, 2.0]))
        Tensor([0., 2.])
    """

    alpha: float = 1.0
    inplace: InitVar[bool] = False


class GELU(OpModule, op=ops.gelu):
    """x * Phi(x), with the normal distribution function Phi exact, or approximated with a tanh.

    Example:
        >>> print(nn.GELU()(Tensor([-1.0, 0.0, 1.0])).numpy().round(3))
        [-0.159  0.     0.841]
    """

    approximate: Literal["none", "tanh"] = "none"

    def __post_init__(self) -> None:
        check_choice("GELU: approximate", self.approximate, ("none", "tanh"))


class SiLU(OpModule, op=ops.silu):
    """x * sigmoid(x).

    Example:
        >>> print(nn.SiLU()(Tensor([-1.0, 0.0, 1.0])).numpy().round(3))
        [-0.269  0.     0.731]
    """

    inplace: InitVar[bool] = False


class Softplus(OpModule, op=ops.softplus):
    """log(1 + exp(beta * x)) / beta; exact for any x, so that the threshold changes nothing.

    Example:
        >>> print(nn.Softplus()(Tensor([-1.0, 0.0, 100.0])).numpy().round(3))
        [  0.313   0.693 100.   ]
    """

    beta: float = 1.0
    threshold: float = 20.0


class Hardswish(OpModule, op=ops.hardswish):
    """x * clip(x + 3, 0, 6) / 6.

    Example:
        >>> nn.Hardswish()(Tensor([-4.0, 0.0, 4.0]))
        Tensor([0., 0., 4.])
    """

    inplace: InitVar[bool] = False


class Mish(OpModule, op=ops.mish):
    """x * tanh(softplus(x)).

    Example:
        >>> print(nn.Mish()(Tensor([-1.0, 0.0, 1.0])).numpy().round(3))
        [-0.303  0.     0.865]
    """

    inplace: InitVar[bool] = False


class Sigmoid(OpModule, op=ops.sigmoid):
    """1 / (1 + exp(-x)).

    Example:
        >>> nn.Sigmoid()(Tensor([-1000.0, 0.0, 1000.0]))
        Tensor([0. , 0.5, 1. ])
    """


class Tanh(OpModule, op=ops.tanh):
    """The hyperbolic tangent.

    Example:
        >>> print(nn.Tanh()(Tensor([0.0, 1.0])).numpy().round(4))
        [0.     0.7616]
    """


class AlongAxis(OpModule):
    """An activation along an axis, which PyTorch calls `dim`; either name will do."""

    axis: int = -1
    _: KW_ONLY
    dim: InitVar[int | None] = None

    def __post_init__(self, dim: int | None) -> None:
        if dim is not None and self.axis not in (-1, dim):
            raise TypeError(f"{type(self).__name__}: dim is another name for axis, got dim={dim} and axis={self.axis}")
        self.axis = self.axis if dim is None else dim


class Softmax(AlongAxis, op=ops.softmax):
    """exp(x) / sum(exp(x)) along an axis.

    Example:
        >>> nn.Softmax()(Tensor([[0.0, 0.0], [1000.0, 0.0]]))
        Tensor([[0.5, 0.5],
                [1. , 0. ]])
    """


class LogSoftmax(AlongAxis, op=ops.log_softmax):
    """The logarithm of softmax along an axis.

    Example:
        >>> print(nn.LogSoftmax()(Tensor([0.0, 0.0])).numpy().round(3))
        [-0.693 -0.693]
    """


ACTIVATION_LAYERS: dict[str, Callable[..., Module]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "silu": SiLU,
    "gelu": GELU,
    "gelu_tanh": lambda: GELU("tanh"),
    "hardswish": Hardswish,
    "mish": Mish,
    "softplus": Softplus,
}
"""What makes the module of each activation that a norm can fuse, from its parameter where it has one."""
_NAMES = {make: name for name, make in ACTIVATION_LAYERS.items()}


def activation_layer(activation: ActivationSpec) -> Module:
    """Return an activation that a norm could fuse as a module of its own; an Identity for None."""
    found = fusible(activation)
    if found is None:
        return Identity()
    name, parameter = found
    layer = ACTIVATION_LAYERS[name]
    return layer() if definitions.ACTIVATIONS[name].parameter is None else layer(parameter)


def as_fusible(module: Any) -> ActivationSpec:
    """Return an activation's module as what `activation=` of a layer or norm takes; None for any other module."""
    match name := _NAMES.get(type(module)):
        case "leaky_relu":
            return name, module.negative_slope
        case "elu":
            return name, module.alpha
        case "gelu":
            return name if module.approximate == "none" else "gelu_tanh"
        case "softplus":
            return name if module.beta == 1 else None
    return name
