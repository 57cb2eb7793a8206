"""EvoNorm-B0 and -S0: norm and activation in one, found by a search over expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar
from typing import Any

import numpy as np

from tinygrad_norm.checks import check_flag
from tinygrad_norm.definitions import special
from tinygrad_norm.dtypes import Array, DTypeOrNone
from tinygrad_norm.nn.normalization import ChannelNorm
from tinygrad_norm.nn.norms.base import DefinedBatchNorm, FromDefinition, check_groups
from tinygrad_norm.ops.activation import ActivationSpec
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.tensor import Tensor


def evonorm_b0(x: Any, v: Any, weight: Any, bias: Any, *, batch: Any, positions: Any, eps: Any = 1e-3) -> Any:
    """weight · x / max(√(var + eps), v x + √(var of the image + eps)) + bias, and the mean and var of each channel."""
    xp = x.__array_namespace__()
    image_mean = xp.mean(x, axis=positions, keepdims=True)
    image_var = xp.mean(xp.square(x - image_mean), axis=positions, keepdims=True)
    mean = xp.mean(image_mean, axis=batch, keepdims=True)
    var = xp.mean(image_var + xp.square(image_mean - mean), axis=batch, keepdims=True)
    y = weight * x / xp.maximum(xp.sqrt(var + eps), v * x + xp.sqrt(image_var + eps)) + bias
    return y, mean, var


def evonorm_b0_inference(x: Any, var: Any, v: Any, weight: Any, bias: Any, *, positions: Any, eps: Any = 1e-3) -> Any:
    """`evonorm_b0` with a given var."""
    xp = x.__array_namespace__()
    image_mean = xp.mean(x, axis=positions, keepdims=True)
    image_var = xp.mean(xp.square(x - image_mean), axis=positions, keepdims=True)
    return weight * x / xp.maximum(xp.sqrt(var + eps), v * x + xp.sqrt(image_var + eps)) + bias


def evonorm_s0(x: Any, v: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """weight · x sigmoid(v x) / √(var + eps) + bias, with the var of a group of channels."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    return weight * x * special.sigmoid(v * x) / xp.sqrt(var + eps) + bias


def affine(x: Any, weight: Any, bias: Any) -> Any:
    """weight · x + bias, which is left of an EvoNorm where its place has no activation."""
    return weight * x + bias


class EvoNormB0(DefinedBatchNorm):
    """Divide by the larger of two deviations, of which one goes with x: the norm and its activation in one.

    y = weight · x / max(√(var + eps), v x + √(var of the image + eps)) + bias. var is a channel's over the batch and
    all positions, or in inference its running one; that of the image is always its own.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `BatchNorm2D`.
        nonlinear: False for a place without an activation, where weight · x + bias is left.

    Source: Liu et al., Evolving normalization-activation layers, 2020.

    Example:
        >>> norm = nn.EvoNormB0(3)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)), dtype="float32")).shape
        (2, 3, 4, 4)
        >>> sorted(norm.state_dict())
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'v', 'weight']
    """

    definition = staticmethod(evonorm_b0)
    unread = frozenset({"running_mean"})
    layouts = ("NCHW",)
    eps: float = 1e-3
    _: KW_ONLY
    nonlinear: bool = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        check_flag("EvoNormB0: nonlinear", self.nonlinear)
        if self.nonlinear:
            self.add_parameter("v", self.shape, 1.0, dtype)

    def activates(self) -> ActivationSpec:
        return "relu" if self.nonlinear else super().activates()

    def _infers_affinely(self) -> bool:
        return not self.nonlinear

    def inference_moments(self) -> tuple[Array, Array] | None:
        var = self.running_var.raw.astype(np.float64) + self.eps if self.nonlinear else np.ones(self.shape)
        return np.zeros(self.shape), np.sqrt(var)

    def uses_batch_statistics(self) -> bool:
        return self.nonlinear and super().uses_batch_statistics()

    def updates_running_statistics(self) -> bool:
        return self.nonlinear and super().updates_running_statistics()

    def reads_running_statistics(self) -> bool:
        return self.nonlinear and super().reads_running_statistics()

    def normalize(self, x: Tensor) -> Tensor:
        if self.nonlinear:
            return super().normalize(x)
        return self.derived(x, *self.affine_parameters(), definition=affine)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize by the batch's variance, or by the running one."""
        if own:
            return super().compute(x, running, own, momentum)
        given = (self.running(x)[1], self.v, *self.affine_parameters())
        return self.derived(x, *given, positions=(2, 3), eps=self.eps, definition=evonorm_b0_inference)

    def normalize_batch(self, x: Tensor) -> tuple[Tensor, Sequence[Array]]:
        return self.derived_with_statistics(
            x, self.v, *self.affine_parameters(), batch=0, positions=(2, 3), eps=self.eps
        )

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """Add what others do not save: the count of batches, and the running mean, which inference has no use for."""
        super()._fill_in(state, prefix)
        if self.running_mean is not None and f"{prefix}running_var" in state:
            state.setdefault(f"{prefix}running_mean", np.zeros(self.shape, np.float32))
            state.setdefault(f"{prefix}num_batches_tracked", 0)


class EvoNormS0(FromDefinition, ChannelNorm):
    """Divide x · sigmoid(v x) by the deviation of its group of channels: the norm and its activation in one.

    y = weight · x sigmoid(v x) / √(var + eps) + bias, with the variance of x over a group's channels and positions.

    Args:
        num_features: C.
        num_groups: divides C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).
        nonlinear: False for a place without an activation, where weight · x + bias is left.

    Source: Liu et al., Evolving normalization-activation layers, 2020.

    Example:
        >>> norm = nn.EvoNormS0(4, num_groups=2)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), dtype="float32")).shape
        (2, 4, 4, 4)
    """

    definition = staticmethod(evonorm_s0)
    layouts = ("NCHW",)
    num_features: int
    num_groups: int = 32
    eps: float = 1e-5
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True
    nonlinear: bool = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        check_groups("EvoNormS0", "num_features", self.num_features, self.num_groups)
        check_flag("EvoNormS0: nonlinear", self.nonlinear)
        if self.nonlinear:
            self.add_parameter("v", self.shape, 1.0, dtype)

    def activates(self) -> ActivationSpec:
        return "relu" if self.nonlinear else super().activates()

    def _infers_affinely(self) -> bool:
        return not self.nonlinear

    def inference_moments(self) -> tuple[Array, Array] | None:
        return None if self.nonlinear else (np.zeros(self.shape), np.ones(self.shape))

    def normalize(self, x: Tensor) -> Tensor:
        if not self.nonlinear:
            return self.derived(x, *self.affine_parameters(), definition=affine)
        n, channels, height, width = x.shape
        if channels * height * width == self.num_groups:
            raise ValueError(
                f"{label('EvoNormS0')}: one value per group has no variance, got shape {x.shape}; use fewer groups, or "
                "larger images"
            )
        groups = (self.num_groups, channels // self.num_groups)
        return self.derived(
            x,
            self.v,
            *self.affine_parameters(),
            seen=(*groups, 1, 1),
            view=(n, *groups, height, width),
            axes=(2, 3, 4),
            eps=self.eps,
        )
