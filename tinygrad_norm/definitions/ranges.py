"""Statistics of groups whose squares, sums or differences leave the range of float64, or whose rounding is all of them.

Such a group is measured in a unit of its own, a power of two, which rounds nothing.
"""

from __future__ import annotations

import math
from typing import Any

Array = Any


def group_unit(x: Array, axes: tuple[int, ...], eps: float, centred: bool = True) -> Array:
    """For each group the power of two near √eps or, if that is more, its range (or its largest magnitude).

    In this unit no number has a square, and no square a sum, beyond float64; and not all squares vanish.
    """
    xp = x.__array_namespace__()
    low, high = [xp.astype(f(x, axis=axes, keepdims=True), xp.float64) for f in (xp.min, xp.max)]
    largest = xp.maximum(xp.abs(low), xp.abs(high))
    size = xp.maximum(high / 2 - low / 2 if centred else largest, largest * 2.0**-960)
    size = xp.where(xp.isfinite(size), size, xp.ones_like(size))
    size = xp.clip(size, max(math.sqrt(eps), 2.0**-1000), 2.0**1000)
    return 2.0 ** xp.floor(xp.log2(size))


def moments(x: Array, axes: tuple[int, ...], unit: Array, eps: float) -> tuple[Array, Array, Array]:
    """Mean, variance and eps in this unit. The mean of equal numbers is exactly that number."""
    xp, x = x.__array_namespace__(), x / unit
    first = x[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))]
    shift = xp.mean(x - first, axis=axes, keepdims=True)
    centred = x - first - shift
    return first + shift, xp.mean(centred * centred, axis=axes, keepdims=True), eps / unit / unit


def are_ordinary(x: Array, mean: Any, var: Array, eps: float) -> Any:
    """Whether these statistics are good: nothing left the range of float64, nor is rounding taken for a difference."""
    xp, total = var.__array_namespace__(), var + eps
    good = (total > 1e-290) & (total < 1e290)
    return xp.all(good if x.dtype == xp.float32 else good & (var >= 1e-18 * mean * mean))


def times_difference(x: Array, mean: Array, rstd: Array) -> Array:
    """(x - mean) rstd, by halves where the difference might leave the range of float64."""
    xp = mean.__array_namespace__()
    if xp.all(xp.abs(mean) < 1e290):
        return (x - mean) * rstd
    unit = xp.where(xp.abs(mean) < 1e290, xp.ones_like(mean), 2 * xp.ones_like(mean))
    return (x / unit - mean / unit) * (unit * rstd)


def are_moderate(dtype: Any, sizes: Array) -> bool:
    """Whether products of two such numbers, and sums of many, are in the range of the dtype, and do not vanish."""
    most = 2.0**40 if dtype.itemsize < 8 else 2.0**400
    return bool(((sizes < most) & (sizes > 1 / most)).all())
