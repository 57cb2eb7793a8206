"""PowerNorm, whose published backward pass is not the derivative of its forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm.checks import FRACTION, check_integer, check_number
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.nn.module import float_dtype
from tinygrad_norm.nn.norms.base import ChannelsAnywhere
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.power_norm import PowerNormOp
from tinygrad_norm.tensor import Tensor


def power_norm(x: Any, square: Any, weight: Any, bias: Any, *, eps: Any = 1e-5) -> Any:
    """weight · x / √(square + eps) + bias, with a running mean square that is given."""
    return weight * x / x.__array_namespace__().sqrt(square + eps) + bias


class PowerNorm(ChannelsAnywhere):
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
        momentum: the weight of the new value in the running mean square, 1 - α in the paper.
        affine: whether there are weight and bias, shape (C,).
        nu_momentum: m, the weight of the new value in ν.
        warmup: how many batches.
        channels_last: whether the channels stand on the last axis, as the features of tokens do.

    ν moves once in each backward pass, also where one call is gone back through twice.

    State: `running_square` and `nu`, shape (C,), and `num_batches_tracked`. `frozen` = True has inference in training
    too; with `update_running_statistics` = False they stay as they are.

    Source: Shen et al., PowerNorm: rethinking batch normalization in transformers, 2020, algorithm 2.
    """

    definition: ClassVar[Callable[..., Any]] = staticmethod(power_norm)
    keeps_variance: ClassVar[bool] = False
    computed_by = "reads x 3 times forward, twice backward"
    num_features: int
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True
    nu_momentum: float = 0.1
    warmup: int = 10_000

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        for name in ("momentum", "nu_momentum"):
            check_number(f"PowerNorm: {name}", getattr(self, name), FRACTION)
        check_integer("PowerNorm: warmup", self.warmup, 0)
        self.frozen = False
        self.update_running_statistics: bool | None = None
        found = float_dtype(dtype)
        self.register_buffer("running_square", Tensor(np.ones(self.shape, found)))
        self.register_buffer("nu", Tensor(np.zeros(self.shape, found)))
        self.register_buffer("num_batches_tracked", Tensor(0))

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize by the published rule in training, by the running mean square in inference."""
        seen, (weight, bias) = self.seen(x), self.affine_parameters()
        if not self.training or self.frozen or 0 in x.shape:
            running = self.running_square.raw.astype(x.dtype)
            return self.derived(x, running, weight, bias, seen=seen, eps=self.eps)
        kinds = dict(zip(("input", "weight", "bias"), shape_dtypes_of(x, self.weight, self.bias), strict=True))
        check_dtypes(label("PowerNorm"), **kinds)
        update = self.update_running_statistics is not False
        in_warmup = self.num_batches_tracked.item() < self.warmup
        op = PowerNormOp()
        y: Tensor = op(
            x,
            self.weight,
            self.bias,
            seen=seen,
            axes=tuple(axis for axis in range(len(x.shape)) if axis != self.channel_axis(x)),
            running=None if in_warmup else self.running_square.raw,
            eps=self.eps,
            nu=self.nu,
            nu_momentum=self.nu_momentum if update else 0.0,
        )
        if update:
            square, momentum = self.running_square, self.momentum
            moved = (1 - momentum) * square.raw + momentum * op.square.reshape(square.shape)
            square.raw = moved.astype(square.dtype)
            self.num_batches_tracked.raw = np.asarray(self.num_batches_tracked.raw + 1)
        activated: Tensor = activate(y, fusible(self.activation))
        return activated

    def reset_running_stats(self) -> None:
        """Reset the running statistics: mean square 1, ν 0, no batches."""
        for buffer, start in ((self.running_square, 1), (self.nu, 0), (self.num_batches_tracked, 0)):
            buffer.replace(np.full_like(buffer.raw, start))

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0, and reset the running statistics."""
        super().reset_parameters()
        self.reset_running_stats()
