"""PowerNorm's op, whose published backward pass is not the derivative of its forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import kernels, modes
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.reduction import mean
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class PowerNormOp(FusedOp):
    """x̂ = x / ψ and y = weight · x̂ + bias, with the published gradient; ψ² is a mean square and eps.

    With g = dy · weight, the gradient of x is (g - ν x̂) / ψ, where the derivative would have mean(g x̂) instead of ν
    while ψ² is the batch's, and 0 once it is the running one. On the way back ν moves:
    ν ← ν (1 - m mean(x̂²)) + m mean(g x̂), which is where its gradient brings x̂ and g to be uncorrelated.

    After a call, `square` holds the batch's mean square, kept as length 1.
    """

    differs_by_design = "the gradient goes through a running ν, as published: Shen et al., PowerNorm, 2020"
    square: Array

    def composed(self, x: Any, weight: Any, bias: Any, **params: Any) -> Tensor:
        """The forward pass, whose derivative is another."""
        axes, seen, running, eps = (params[key] for key in ("axes", "seen", "running", "eps"))
        own = mean(e.square(e.astype(x, np.float64, copy=False)), axis=axes, keepdims=True)
        self.square = own.raw
        size = e.sqrt((own if running is None else running.reshape(seen)) + eps)
        y = e.divide(x, e.astype(size, x.dtype))
        y = y if weight is None else y * reshape(weight, seen)
        return y if bias is None else y + reshape(bias, seen)

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        seen: Shape,
        axes: Shape,
        running: Array | None,
        eps: float,
        nu: Tensor,
        nu_momentum: float,
    ) -> Array:
        use, along = kernels.of(x), _along(x.shape, axes)
        _, self.square = use.rms_normalize(x, None, axes, eps, None)
        divided_by = self.square if running is None else running.reshape(along).astype(np.float64)
        self.save(self.square, divided_by, nu.raw.reshape(along).copy())
        affine = [None if each is None else each.reshape(along) for each in (weight, bias)]
        y: Array = use.normalize_inference(x, np.zeros(along), divided_by, *affine, eps, None)
        return y

    def gradient(
        self,
        grad: Array,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        square: Array,
        divided_by: Array,
        nu: Array,
    ) -> tuple[Array | None, ...]:
        """The derivative with a given ψ, less the share of ν; and ν moves."""
        use, along, eps = kernels.of(x), square.shape, self.params["eps"]
        scale = np.ones(along, x.dtype) if weight is None else weight.reshape(along)
        start = None if bias is None else bias.reshape(along)
        given = np.zeros(along), divided_by
        dx, _, _, products, dbias = use.normalize_inference_gradient(grad, x, *given, scale, start, eps, None)
        size_squared = divided_by + eps
        share = (-nu / np.sqrt(size_squared)).astype(x.dtype)  # of x̂, as that of x might leave the range of float32
        dx = use.add(dx, use.normalize_inference(x, *given, share, None, eps, None))
        if momentum := self.params["nu_momentum"]:
            buffer: Tensor = self.params["nu"]
            together, spread = scale * products * (products.size / x.size), square / size_squared
            moved = buffer.raw.reshape(along) * (1 - momentum * spread) + momentum * together
            buffer.raw = moved.reshape(buffer.shape).astype(buffer.dtype)
        dweight = None if weight is None else products.reshape(weight.shape)
        return dx, dweight, None if dbias is None or bias is None else dbias.reshape(bias.shape)

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
