"""PowerNorm, whose published backward pass is not the derivative of its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm.checks import FRACTION, check_integer, check_number
from tinygrad_norm.dtypes import Array, DTypeOrNone
from tinygrad_norm.launch import late, launch
from tinygrad_norm.nn.normalization import RunningNorm
from tinygrad_norm.nn.norms.base import ChannelsAnywhere
from tinygrad_norm.ops.activation import fusible
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.normalization import move
from tinygrad_norm.ops.power_norm import PowerNormOp
from tinygrad_norm.tensor import Tensor


def power_norm(x: Any, square: Any, weight: Any, bias: Any, *, eps: Any = 1e-5) -> Any:
    """weight · x / √(square + eps) + bias, with a running mean square that is given."""
    return weight * x / x.__array_namespace__().sqrt(square + eps) + bias


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

    State: `running_square` and `nu`, shape (C,), and `num_batches_tracked`. Switches as in `BatchNorm2D`: without
    updates ν stays too.

    Source: Shen et al., PowerNorm: rethinking batch normalization in transformers, 2020, algorithm 2.

    Example:
        >>> norm = nn.PowerNorm(1, warmup=0)
        >>> print(norm(Tensor([[3.0], [4.0]])).numpy().round(3).ravel(), norm.running_square.numpy().round(3))
        [3. 4.] [2.15]
    """

    definition: ClassVar[Callable[..., Any]] = staticmethod(power_norm)
    begins_with: ClassVar[Mapping[str, float]] = MappingProxyType({"running_square": 1.0, "nu": 0.0})
    unread = frozenset({"nu"})
    computed_by = "reads x 3 times forward, twice backward"
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
            axes=(0, *self.positions(x)),
            running=square,
            batches=self.num_batches_tracked.raw,
            warmup=self.warmup,
            eps=self.eps,
            activation=fusible(self.activation),
            nu=self.nu,
            nu_momentum=self.nu_momentum if update else 0.0,
        )
        if update:
            move([self.running_square], [op.square.reshape(square.shape)], momentum)
        return y


def _is_over(batches: Array, warmup: int) -> bool:
    return bool(batches >= warmup)
