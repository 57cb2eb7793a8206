"""PowerNorm's op, whose published backward pass is not the derivative of its forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels, modes
from tinygrad_norm.definitions.activation import Activation
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import compute, constant, launch, read
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.activation import activate
from tinygrad_norm.ops.reduction import mean
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class PowerNormOp(FusedOp):
    """x̂ = x / ψ and y = weight · x̂ + bias, activated, with the published gradient; ψ² is a mean square and eps.

    With g = weight · dy, dy that of what is activated, the gradient of x is (g - ν x̂) / ψ, where the derivative would
    have mean(g x̂) instead of ν while ψ² is the batch's, and 0 once it is the running one. On the way back ν moves:
    ν ← ν (1 - m mean(x̂²)) + m mean(g x̂), which is where its gradient brings x̂ and g to be uncorrelated.

    After a call, `square` holds the batch's mean square, kept as length 1.
    """

    differs_by_design = "the gradient goes through a running ν, as published: Shen et al., PowerNorm, 2020"
    square: Array

    def composed(self, x: Any, weight: Any, bias: Any, **params: Any) -> Tensor:
        """The forward pass, whose derivative is another."""
        axes, running = params["axes"], params["running"]
        along, own = (
            _along(x.shape, axes),
            mean(e.square(e.astype(x, np.float64, copy=False)), axis=axes, keepdims=True),
        )
        self.square = own.raw
        read("whether PowerNorm's warm-up is over")
        size = e.sqrt((own if params["batches"] < params["warmup"] else running.reshape(along)) + params["eps"])
        y = e.divide(x, e.astype(size, x.dtype))
        y = y if weight is None else y * reshape(weight, along)
        return activate(y if bias is None else y + reshape(bias, along), params["activation"])

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        axes: Shape,
        running: Array,
        batches: Array,
        warmup: int,
        eps: float,
        activation: Activation,
        nu: Tensor,
        nu_momentum: float,
    ) -> Array:
        use, along = kernels.of(x), _along(x.shape, axes)
        _, self.square = compute(use.rms_normalize, x, None, axes, eps, None)
        size_squared = launch(_size_squared, self.square, running, batches, warmup, eps)
        self.save(self.square, size_squared, launch(nu.raw.reshape(along).copy))
        weight, bias = (None if each is None else each.reshape(along) for each in (weight, bias))
        y: Array = compute(use.normalize_inference, x, _zeros(along), size_squared, weight, bias, 0.0, activation)
        return y

    def gradient(
        self,
        dy: Array,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        square: Array,
        size_squared: Array,
        nu: Array,
    ) -> tuple[Array | None, ...]:
        """The derivative with a given ψ, less the share of ν; and ν moves."""
        use, along, momentum = kernels.of(x), square.shape, self.params["nu_momentum"]
        scale = constant(np.ones(along, x.dtype)) if weight is None else weight.reshape(along)
        start = None if bias is None else bias.reshape(along)
        given, activation = (x, _zeros(along), size_squared), self.params["activation"]
        dx, _, _, products, dbias = compute(use.normalize_inference_gradient, dy, *given, scale, start, 0.0, activation)
        share = launch(_share, nu, size_squared, x.dtype)
        dx = compute(use.add, dx, compute(use.normalize_inference, *given, share, None, 0.0, None))
        if momentum:
            buffer: Tensor = self.params["nu"]
            count = x.size // products.size
            buffer.raw = launch(_moved, buffer.raw, momentum, square, size_squared, products, scale, count)
        dweight = None if weight is None else products.reshape(weight.shape)
        return dx, dweight, None if bias is None else dbias.reshape(bias.shape)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        if modes.is_recording():
            raise RuntimeError(
                f"{self.name}: the published backward pass is no derivative and has none, so create_graph is False, "
                "got True; under composed() the derivative of the forward pass is taken, at any order"
            )
        return super().backward(grad)


def _along(shape: Shape, axes: Shape) -> Shape:
    """The shape in which what each channel has broadcasts."""
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def _zeros(along: Shape) -> Array:
    """What is subtracted from x before it is divided: nothing."""
    return constant(np.zeros(along))


def _size_squared(square: Array, running: Array, batches: Array, warmup: int, eps: float) -> Array:
    """ψ²: of the batch's mean square in the warm-up, then of the running one."""
    found: Array = (square if batches < warmup else running.reshape(square.shape).astype(np.float64)) + eps
    return found


def _share(nu: Array, size_squared: Array, dtype: Any) -> Array:
    """What the gradient has of x̂: -ν / ψ. Of x it would be -ν / ψ², which may leave the range of float32."""
    share: Array = (-nu / np.sqrt(size_squared)).astype(dtype)
    return share


def _moved(
    buffer: Array, momentum: float, square: Array, size_squared: Array, products: Array, scale: Array, count: int
) -> Array:
    """ν after the way back, from mean(x̂²), which is the mean square over ψ², and the sums of dy x̂."""
    spread, together = (each.reshape(-1) for each in (square / size_squared, scale * (products / count)))
    moved: Array = buffer * (1 - momentum * spread) + momentum * together
    return moved.astype(buffer.dtype)
