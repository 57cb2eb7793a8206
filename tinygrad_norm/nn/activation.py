"""Activations as modules: each is the op of that name, with its arguments as attributes."""

from __future__ import annotations

from typing import Literal

from tinygrad_norm import ops
from tinygrad_norm.nn.op_module import OpModule


class ReLU(OpModule, op=ops.relu):
    """max(x, 0)."""


class LeakyReLU(OpModule, op=ops.leaky_relu):
    """x where positive, negative_slope * x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__(negative_slope=negative_slope)


class ELU(OpModule, op=ops.elu):
    """x where positive, alpha * (exp(x) - 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha=alpha)


class GELU(OpModule, op=ops.gelu):
    """x * Phi(x), with the normal distribution function Phi exact, or approximated with a tanh."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__(approximate=approximate)


class SiLU(OpModule, op=ops.silu):
    """x * sigmoid(x)."""


class Softplus(OpModule, op=ops.softplus):
    """log(1 + exp(beta * x)) / beta; exact for any x, so that the threshold changes nothing."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class Hardswish(OpModule, op=ops.hardswish):
    """x * clip(x + 3, 0, 6) / 6."""


class Mish(OpModule, op=ops.mish):
    """x * tanh(softplus(x))."""


class Sigmoid(OpModule, op=ops.sigmoid):
    """1 / (1 + exp(-x))."""


class Tanh(OpModule, op=ops.tanh):
    """The hyperbolic tangent."""


class Softmax(OpModule, op=ops.softmax):
    """exp(x) / sum(exp(x)) along an axis."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__(axis=axis)


class LogSoftmax(OpModule, op=ops.log_softmax):
    """The logarithm of softmax along an axis."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__(axis=axis)
