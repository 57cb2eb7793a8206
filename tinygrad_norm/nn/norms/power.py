"""PowerNorm, whose published backward pass is not the derivative of its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm import modes, ops
from tinygrad_norm.checks import FRACTION, check_integer, check_number
from tinygrad_norm.dtypes import Array, DTypeOrNone, Shape
from tinygrad_norm.launch import late, launch, read
from tinygrad_norm.nn.normalization import RunningNorm
from tinygrad_norm.nn.norms.base import ChannelsAnywhere
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.normalization import move
from tinygrad_norm.tape import FusedOp
from tinygrad_norm.tensor import Tensor


def power_norm(x: Any, square: Any, weight: Any, bias: Any, *, eps: Any = 1e-5) -> Any:
    """weight · x / √(square + eps) + bias, with a running mean square that is given."""
    return weight * x / x.__array_namespace__().sqrt(square + eps) + bias


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
        own = ops.mean(ops.square(ops.astype(x, np.float64, copy=False)), axis=axes, keepdims=True)
        self.square = own.raw
        read("whether PowerNorm's warm-up is over")
        size = ops.sqrt((own if params["batches"] < params["warmup"] else running.reshape(seen)) + eps)
        y = ops.divide(x, ops.astype(size, x.dtype))
        y = y if weight is None else y * ops.reshape(weight, seen)
        return y if bias is None else y + ops.reshape(bias, seen)

    def forward(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        *,
        seen: Shape,
        axes: Shape,
        running: Array,
        batches: Array,
        warmup: int,
        eps: float,
        nu: Tensor,
        nu_momentum: float,
    ) -> Array:
        y: Array
        self.square, size, y = launch(_normalized, x, weight, bias, seen, axes, running, batches, warmup, eps)
        self.save(size, launch(nu.raw.reshape(seen).copy))
        return y

    def gradient(
        self, grad: Array, x: Array, weight: Array | None, bias: Array | None, size: Array, nu: Array
    ) -> tuple[Array | None, ...]:
        buffer: Tensor = self.params["nu"]
        axes, momentum = self.params["axes"], self.params["nu_momentum"]
        *grads, moved = launch(_published, grad, x, weight, bias, size, nu, buffer.raw, axes, momentum)
        if momentum:
            buffer.raw = moved
        return tuple(grads)

    def backward(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        if modes.is_recording():
            raise RuntimeError(
                f"{self.name}: the published backward pass is no derivative and has none, so create_graph is False, "
                "got True; under composed() the derivative of the forward pass is taken, at any order"
            )
        return super().backward(grad)


def _normalized(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    seen: Shape,
    axes: Shape,
    running: Array,
    batches: Array,
    warmup: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    """x's own mean square, ψ and y."""
    square = np.mean(np.square(x, dtype=np.float64), axis=axes, keepdims=True)
    size = np.sqrt((square if batches < warmup else running.reshape(square.shape)) + eps)
    y: Array = x / size.astype(x.dtype)
    y = y if weight is None else y * weight.reshape(seen)
    return square, size, y if bias is None else y + bias.reshape(seen)


def _published(
    grad: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    size: Array,
    nu: Array,
    buffer: Array,
    axes: Shape,
    momentum: float,
) -> tuple[Array | None, ...]:
    """The gradients of x, weight and bias, and ν as it is afterwards; it is `nu` that they are taken with."""
    size, seen = size.astype(x.dtype), nu.shape
    normalized = x / size
    products = np.sum(grad * normalized, axis=axes, keepdims=True, dtype=np.float64)
    scale = 1.0 if weight is None else weight.reshape(seen)
    together = scale * products / (x.size // products.size)
    spread = np.mean(np.square(normalized, dtype=np.float64), axis=axes, keepdims=True)
    dx = (grad * scale - nu.astype(x.dtype) * normalized) / size
    moved = buffer.reshape(seen) * (1 - momentum * spread) + momentum * together
    dweight = None if weight is None else products.reshape(weight.shape).astype(x.dtype)
    dbias = None if bias is None else np.sum(grad, axis=axes, dtype=np.float64).astype(x.dtype)
    return dx, dweight, dbias, moved.reshape(buffer.shape).astype(buffer.dtype)


class PowerNorm(RunningNorm, ChannelsAnywhere):
    """Divide each channel by a running root of its mean square, and train by the published backward pass.

    y = weight · x̂ + bias, x̂ = x / √(ψ² + eps). In the first `warmup` batches ψ² is the batch's mean square, then the
    running one before the batch, as in inference. The gradient of x is (g - ν x̂) / ψ, with g = dy · weight and a ν
    that moves on the way back: ν ← ν (1 - m mean(x̂²)) + m mean(g x̂). That is no derivative, so there are no second
    ones; with fused=False, or under `composed()`, it is the derivative of the forward pass, and ν stays.

    The authors' code also averages ψ² plainly in the warm-up, and divides the gradient by the batch's ψ ever after;
    here both are as in the paper. They put a division by the root mean square of each token before it.

    Args:
        num_features: C.
        eps: added to the mean square.
        momentum: the weight of the new value in the running mean square, 1 - α in the paper; None: its plain average.
        affine: whether there are weight and bias, shape (C,).
        nu_momentum: m, the weight of the new value in ν.
        warmup: how many batches.
        channels_last: whether the channels stand on the last axis, as the features of tokens do.

    ν moves once in each backward pass, also where one call is gone back through twice.

    State: `running_square` and `nu`, shape (C,), and `num_batches_tracked`. Switches as in `BatchNorm`: without updates
    ν stays too.

    Source: Shen et al., PowerNorm: rethinking batch normalization in transformers, 2020, algorithm 2.
    """

    definition: ClassVar[Callable[..., Any]] = staticmethod(power_norm)
    begins_with: ClassVar[Mapping[str, float]] = MappingProxyType({"running_square": 1.0, "nu": 0.0})
    unread = frozenset({"nu"})
    computed_by = "NumPy"
    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True
    nu_momentum: float = 0.1
    warmup: int = 10_000

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        check_number("PowerNorm: nu_momentum", self.nu_momentum, FRACTION)
        check_integer("PowerNorm: warmup", self.warmup, 0)

    def in_warmup(self) -> bool:
        """Return whether training divides by the batch's mean square still."""
        return bool(self.num_batches_tracked.item() < self.warmup)

    def reads_running_statistics(self) -> bool:
        return super().reads_running_statistics() or late(_is_over, self.num_batches_tracked.raw, self.warmup)

    def _infers_affinely(self) -> bool:
        return True

    def inference_moments(self) -> tuple[Array, Array] | None:
        return np.zeros(self.shape), np.sqrt(self.running_square.raw.astype(np.float64) + self.eps)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize by the published rule in training, by the running mean square in inference."""
        seen, square = self.seen(x), self.running_square.raw
        if not own or 0 in x.shape:
            return self.derived(x, launch(square.astype, x.dtype), *self.affine_parameters(), seen=seen, eps=self.eps)
        kinds = dict(zip(("input", "weight", "bias"), shape_dtypes_of(x, self.weight, self.bias), strict=True))
        check_dtypes(label("PowerNorm"), **kinds)
        op, update = PowerNormOp(), running[0] is not None
        y: Tensor = op(
            x,
            self.weight,
            self.bias,
            seen=seen,
            axes=tuple(axis for axis in range(len(x.shape)) if axis != self.channel_axis(x)),
            running=square,
            batches=self.num_batches_tracked.raw,
            warmup=self.warmup,
            eps=self.eps,
            nu=self.nu,
            nu_momentum=self.nu_momentum if update else 0.0,
        )
        if update:
            move([self.running_square], [op.square.reshape(square.shape)], momentum)
        activated: Tensor = activate(y, fusible(self.activation))
        return activated


def _is_over(batches: Array, warmup: int) -> bool:
    return bool(batches >= warmup)
