"""Scaling: a product in which elements share their factors, as each channel its weight; both gradients in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_norm import definitions, kernels
from tinygrad_norm.dtypes import Array
from tinygrad_norm.ops.elementwise import multiply
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class Scale(FusedOp):
    definition = staticmethod(definitions.multiply)

    def gradient(self, grad: Array, *saved: Array) -> tuple[Array | None, ...]:
        return kernels.of(grad).scale_gradient(grad, *saved)


def scale(x: Any, factors: Any) -> Tensor:
    """The product of x and factors, which are broadcast to the shape of x.

    Args:
        x: for example (N, C, H, W).
        factors: for example (N, C, 1, 1), as in squeeze-and-excitation, or (C, 1, 1).

    Raises:
        ValueError: the factors do not broadcast to the shape of x.
    """
    shape, fewer = shape_of(x), shape_of(factors)
    if len(fewer) > len(shape) or any(n not in (1, m) for n, m in zip(fewer[::-1], shape[::-1], strict=False)):
        raise ValueError(f"scale: factors of shape {fewer} do not broadcast to the shape {shape} of the input")
    return Scale()(x, factors) if fewer else multiply(x, factors)
