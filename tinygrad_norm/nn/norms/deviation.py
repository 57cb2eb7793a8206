"""Batch norms that measure the deviation in another way than by a root of squares: L1 and L∞."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tinygrad_norm.dtypes import Array
from tinygrad_norm.nn.norms.base import DefinedBatchNorm
from tinygrad_norm.tensor import Tensor

L1_OF_NORMAL = math.sqrt(math.pi / 2)
"""The deviation of a normal distribution, over its mean magnitude."""


def l1_batch_norm(x: Any, weight: Any, bias: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """weight · (x - mean) / √(size² + eps) + bias, with size = √(π/2) mean|x - mean|; and the mean and size²."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    magnitude = xp.mean(xp.abs(x - mean), axis=axes, keepdims=True)
    var = xp.square(L1_OF_NORMAL * magnitude)
    return weight * (x - mean) / xp.sqrt(var + eps) + bias, mean, var


def linf_batch_norm(x: Any, weight: Any, bias: Any, *, axes: Any, scale: Any, eps: Any = 1e-5) -> Any:
    """weight · (x - mean) / √(size² + eps) + bias, with size = scale max|x - mean|; and the mean and size²."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    largest = xp.max(xp.abs(x - mean), axis=axes, keepdims=True)
    var = xp.square(scale * largest)
    return weight * (x - mean) / xp.sqrt(var + eps) + bias, mean, var


class L1Norm(DefinedBatchNorm):
    """Batch norm by the mean magnitude: y = weight · (x - mean) / √(size² + eps) + bias, size = √(π/2) mean|x - mean|.

    For values of a normal distribution size is the deviation. Running statistics keep size² in the variance's place, so
    inference is batch norm's.

    Args:
        num_features, eps, momentum, affine, track_running_stats: as in `BatchNorm2D`.

    Source: Hoffer et al., Norm matters: efficient and accurate normalization schemes in deep networks, 2018.

    Example:
        >>> norm = nn.L1Norm(1)
        >>> print(norm(Tensor([[0.0], [2.0]])).numpy().round(3).ravel())  # over √(π/2)
        [-0.798  0.798]
    """

    definition: ClassVar[Callable[..., Any]] = staticmethod(l1_batch_norm)
    layouts = ("NC", "NCL", "NCHW", "NCDHW")
    keeps_variance = False

    def normalize_batch(self, x: Tensor) -> tuple[Tensor, Sequence[Array]]:
        axes = (0, *range(2, len(x.shape)))
        return self.derived_with_statistics(x, *self.affine_parameters(), axes=axes, eps=self.eps, **self.constants(x))

    def constants(self, x: Tensor) -> dict[str, float]:
        """Return what else the definition is told."""
        return {}


class LInfNorm(L1Norm):
    """Batch norm by the largest magnitude: y = weight · (x - mean) / √(size² + eps) + bias, size = c max|x - mean|.

    Of n values, c = 1/√(2 ln n), which makes size the deviation of a normal distribution where n is large. Arguments
    and running statistics as in `L1Norm`.

    Source: Hoffer et al., Norm matters: efficient and accurate normalization schemes in deep networks, 2018; the
    constant: Banner et al., Scalable methods for 8-bit training of neural networks, 2018.

    Example:
        >>> norm = nn.LInfNorm(1)
        >>> print(norm(Tensor([[0.0], [2.0], [4.0]])).numpy().round(3).ravel())  # over 2 / √(2 ln 3)
        [-1.482  0.     1.482]
    """

    definition = staticmethod(linf_batch_norm)

    def constants(self, x: Tensor) -> dict[str, float]:
        """Return what brings the largest of n magnitudes to the deviation."""
        values = math.prod(x.shape) // x.shape[1]
        return {"scale": 1 / math.sqrt(2 * math.log(values))}
