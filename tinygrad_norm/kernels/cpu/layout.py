"""The two forms in memory that the normalization kernels know, and how arrays of any strides are brought to them.

In the order of memory, neighbouring axes that are all reduced, or all kept, are as good as one axis. What is left are

- columns (K0, R, K1): reduced over R. Batch norm on [N, F] and channels-last images, instance norm on the latter;
- rows (K0, R0, K1, R1): reduced over R0 and R1. Layer norm; group norm; what is normalized over the pixels of each
  channel, on images with the channels first.

The kernels are given a matrix whose rows are the last axis. Anything else is copied, with the reduced axes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile, groupby
from math import prod
from typing import Any

import numpy as np

from tinygrad_norm.kernels.cpu.compiler import LARGE

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

_UNITS = 32
"""How many units of work a large array is cut into; the order of summation, and so the result, depends on it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the kernels see the arrays of one call: x and what has its shape, the statistics, weight and bias."""

    order: Shape
    """The axes in the order of memory."""
    inverse: Shape
    ordered: Shape
    """The shape in the order of memory; so are the next two."""
    statistics: Shape
    affine: Shape
    """The shape of weight and bias, expanded to [period, length]: group k of rows has their row k modulo period."""
    columns: bool
    count: int
    """How many values share a mean."""
    length: int
    """K1 of columns, R1 of rows."""
    groups: Shape
    """[K0, K1] of columns, [K0 K1] of rows."""
    period: int
    sizes: Shape
    """What a kernel has to know besides the shapes: R and blocks of columns; R0, K1 and blocks of rows.

    The sums over one k0 of columns, or over the rows with one row of the weight, are cut into this many blocks.
    """
    sums: Shape
    """The shape of what the kernels sum for weight and bias."""

    def matrix(self, x: Array) -> Array:
        """X as the kernels see it, copied only where its memory has another form."""
        return np.ascontiguousarray(x.transpose(self.order)).reshape(-1, self.length)

    def restore(self, matrix: Array) -> Array:
        """The inverse of `matrix`."""
        return matrix.reshape(self.ordered).transpose(self.inverse)

    def flat(self, statistic: Array) -> Array:
        """A statistic as the kernels see it."""
        return np.ascontiguousarray(statistic.transpose(self.order)).reshape(self.groups)

    def unflat(self, groups: Array) -> Array:
        """The inverse of `flat`."""
        return groups.reshape(self.statistics).transpose(self.inverse)

    def expand(self, parameter: Array | None, otherwise: float, dtype: np.dtype[Any]) -> Array:
        """Weight or bias as [period, length]."""
        if parameter is None:
            return np.full((self.period, self.length), otherwise, dtype)
        expanded = parameter.transpose(self.order)
        if expanded.shape != self.affine:
            expanded = np.broadcast_to(expanded, self.affine)
        return np.ascontiguousarray(expanded).reshape(self.period, self.length)

    def collect(self, sums: Array, like: Array | None) -> Array | None:
        """The gradient of weight or bias, from sums over the groups or over blocks of them."""
        if like is None:
            return None
        total = sums.reshape(-1, *self.affine).sum(axis=0).transpose(self.inverse)
        shared = tuple(i for i, n in enumerate(like.shape) if n == 1 and total.shape[i] > 1)
        return (total.sum(axis=shared, keepdims=True) if shared else total).astype(like.dtype)


@lru_cache(maxsize=1024)
def layout(
    shape: Shape, strides: Shape, itemsize: int, axes: Shape, weight: Shape | None, bias: Shape | None
) -> Layout:
    """The layout for x of this shape and strides, reduced over `axes`, and for weight and bias of these shapes."""
    varying = {i for given in (weight, bias) if given for i, n in enumerate(given) if n > 1}
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    runs = _runs(shape, axes, order)
    if not (_dense(shape, strides, itemsize, order) and _known(runs, axes, varying)):
        order.sort(key=lambda i: (i in axes, i in varying))
        runs = _runs(shape, axes, order)
    last = runs.pop() if runs else []
    columns = bool(last) and last[0] not in axes
    repeated = {i for run in runs if run[0] in axes for i in run}
    outer = [i for run in runs if run[0] not in axes for i in run]
    # Once weight or bias vary along a kept axis, they are expanded along all kept axes after it.
    expanded = [*(outer if columns else dropwhile(lambda i: i not in varying, outer)), *last]
    length, repeat = _size(shape, last), _size(shape, repeated)
    inner = _size(shape, runs[-1]) if runs else 1
    period = _size(shape, expanded) // length
    kept = prod(n for i, n in enumerate(shape) if i not in axes)
    blocks = 1 if prod(shape) < LARGE else -(-_UNITS // period)
    return Layout(
        order=tuple(order),
        inverse=tuple(order.index(i) for i in range(len(shape))),
        ordered=tuple(shape[i] for i in order),
        statistics=tuple(1 if i in axes else shape[i] for i in order),
        affine=tuple(shape[i] if i in expanded else 1 for i in order),
        columns=columns,
        count=prod(shape) // kept,
        length=length,
        groups=(kept // length, length) if columns else (kept,),
        period=period,
        sizes=(repeat, blocks) if columns else (repeat, inner, blocks),
        sums=(period if columns else blocks * period, length),
    )


def _runs(shape: Shape, axes: Shape, order: Iterable[int]) -> list[list[int]]:
    """Neighbours in memory that are all reduced or all kept; an axis of length 1 is neither."""
    return [list(run) for _, run in groupby((i for i in order if shape[i] > 1), key=lambda i: i in axes)]


def _dense(shape: Shape, strides: Shape, itemsize: int, order: list[int]) -> bool:
    """Whether the elements, in this order, lie side by side."""
    step = itemsize
    for i in reversed(order):
        if shape[i] > 1 and strides[i] != step:
            return False
        step *= shape[i]
    return True


def _known(runs: list[list[int]], axes: Shape, varying: set[int]) -> bool:
    """Whether the kernels know this form: columns K0 R K1 or rows K0 R0 K1 R1, weight and bias constant along R or R0."""
    *before, last = runs or [[]]
    repeated = [run for run in before if run[0] in axes]
    longest = 3 if last and last[0] not in axes else 4
    return len(runs) <= longest and not any(i in varying for run in repeated for i in run)


def _size(shape: Shape, axes: Iterable[int]) -> int:
    return prod(shape[i] for i in axes)
