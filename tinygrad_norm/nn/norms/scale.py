"""Norms of a vector's length alone: ScaleNorm, and RMS norm estimated from a part of the features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm.checks import Range, check_number
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.launch import constant
from tinygrad_norm.nn.norms.base import ChannelsAnywhere
from tinygrad_norm.tensor import Tensor

_PART = Range("a number above 0, up to 1", lambda value: 0 < value <= 1)


def scale_norm(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """weight · x / max(√(Σ x²), eps)."""
    xp = x.__array_namespace__()
    energy = xp.sum(xp.square(x), axis=axes, keepdims=True)
    return weight * x / xp.sqrt(xp.maximum(energy, eps * eps))  # so that a vector of zeros has a gradient


def partial_rms_norm(x: Any, chosen: Any, weight: Any, *, axes: Any, count: Any, eps: Any = 1e-6) -> Any:
    """weight · x / √(Σ chosen x² / count + eps): chosen is 1 for `count` of the values that share, and 0 for others."""
    xp = x.__array_namespace__()
    total = xp.sum(chosen * xp.square(x), axis=axes, keepdims=True)
    return x / xp.sqrt(total / count + eps) * weight


class ScaleNorm(ChannelsAnywhere):
    """Divide by the length of the vector of channels: y = weight · x / max(‖x‖, eps), with one weight, at first √C.

    Args:
        num_features: C.
        eps: the least length that is divided by.
        affine: whether the weight is learned; without, it is √C.
        channels_last: whether the channels stand on the last axis, as the features of tokens do.

    Source: Nguyen and Salazar, Transformers without tears: improving the normalization of self-attention, 2019.

    Example:
        >>> print(nn.ScaleNorm(2)(Tensor([[3.0, 4.0]])).numpy().round(3))  # √2 times x / 5
        [[0.849 1.131]]
    """

    definition = staticmethod(scale_norm)
    num_features: int
    eps: float = 1e-5
    affine: bool = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = False) -> None:
        super().__post_init__(dtype, bias)
        if self.affine:
            self.add_parameter("weight", (), math.sqrt(self.num_features), dtype)

    def normalize(self, x: Tensor) -> Tensor:
        weight = math.sqrt(self.num_features) if self.weight is None else self.weight
        return self.derived(x, weight, axes=self.channel_axis(x), eps=self.eps)


class PartialRMSNorm(ChannelsAnywhere):
    """RMS norm whose mean square is that of the first ⌈p C⌉ channels: y = weight · x / √(mean of those x² + eps).

    Args:
        num_features: C.
        p: the part of the channels that it is estimated from.
        eps: added to the mean square.
        affine: whether there is a weight, shape (C,).
        channels_last: whether the channels stand on the last axis, as the features of tokens do.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019, section 4.2, where p is 6.25 %.

    Example:
        >>> norm = nn.PartialRMSNorm(4, p=0.5)
        >>> print(norm(Tensor([[2.0, 2.0, 6.0, 8.0]])).numpy().round(3))
        [[1. 1. 3. 4.]]
    """

    definition = staticmethod(partial_rms_norm)
    num_features: int
    p: float = 0.0625
    eps: float = 1e-6
    affine: bool = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = False) -> None:
        super().__post_init__(dtype, bias)
        check_number("PartialRMSNorm: p", self.p, _PART)
        self.count = math.ceil(round(self.p * self.num_features, 9))  # 0.07 · 100 is 7, and a bit as floats

    def normalize(self, x: Tensor) -> Tensor:
        chosen = (np.arange(self.num_features) < self.count).astype(x.dtype).reshape(self.seen(x))
        return self.derived(
            x,
            constant(chosen),
            self.affine_parameters()[0],
            seen=self.seen(x),
            axes=self.channel_axis(x),
            count=self.count,
            eps=self.eps,
        )
