"""DyT and Derf: a pointwise function in the place of a norm, without any statistic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar
from typing import Any, ClassVar

from tinygrad_norm.checks import Range, check_number
from tinygrad_norm.definitions import special
from tinygrad_norm.dtypes import DTypeOrNone
from tinygrad_norm.nn.norms.base import ChannelsAnywhere
from tinygrad_norm.tensor import Tensor

_SLOPE = Range("a finite number other than 0", lambda value: value != 0 and math.isfinite(value))


def dynamic_tanh(x: Any, alpha: Any, weight: Any, bias: Any) -> Any:
    """weight · tanh(alpha x) + bias."""
    return weight * x.__array_namespace__().tanh(alpha * x) + bias


def dynamic_erf(x: Any, alpha: Any, shift: Any, weight: Any, bias: Any) -> Any:
    """weight · erf(alpha x + shift) + bias."""
    return weight * special.erf(alpha * x + shift) + bias


class DynamicTanh(ChannelsAnywhere):
    """Bound each value by itself: y = weight · tanh(alpha x) + bias.

    Args:
        num_features: C.
        alpha: what the one number alpha, which is learned, begins with.
        affine: whether there are weight and bias, shape (C,).
        channels_last: whether the channels stand on the last axis, as the features of tokens do.

    Source: Zhu et al., Transformers without normalization, 2025.

    Example:
        >>> print(nn.DynamicTanh(1)(Tensor([[-100.0], [0.0], [1.0]])).numpy().round(4).ravel())
        [-1.      0.      0.4621]
    """

    definition: ClassVar[Callable[..., Any]] = staticmethod(dynamic_tanh)
    eps = None  # there is no statistic
    num_features: int
    alpha: float = 0.5
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        start = check_number(f"{type(self).__name__}: alpha", self.alpha, _SLOPE)
        self.add_parameter("alpha", (), start, dtype)

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """Take numbers that were saved as vectors of one, as by the authors' program."""
        for key in (f"{prefix}alpha", f"{prefix}shift"):
            if getattr(state.get(key), "shape", None) == (1,):
                state[key] = state[key].reshape(())

    def normalize(self, x: Tensor) -> Tensor:
        return self.derived(x, self.alpha, *self.affine_parameters(), seen=self.seen(x))


class DynamicErf(DynamicTanh):
    """Bound each value by itself: y = weight · erf(alpha x + shift) + bias, with a shift that begins with 0.

    Arguments as `DynamicTanh`.

    Source: Chen et al., Stronger normalization-free transformers, 2025.

    Example:
        >>> print(nn.DynamicErf(1)(Tensor([[-100.0], [0.0], [1.0]])).numpy().round(4).ravel())
        [-1.      0.      0.5205]
    """

    definition = staticmethod(dynamic_erf)

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        self.add_parameter("shift", (), 0.0, dtype)

    def normalize(self, x: Tensor) -> Tensor:
        return self.derived(x, self.alpha, self.shift, *self.affine_parameters(), seen=self.seen(x))
