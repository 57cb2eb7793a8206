"""The two forms in memory that the normalization kernels know, and how arrays of any strides are brought to them.

In the order of memory, neighbouring axes that are all reduced, or all kept, are as good as one. The norms in use then
have at most four, some of length 1: kept, reduced, kept, reduced, or (K0, R0, K1, R1). To the kernels they are

- columns, a matrix [K0 R0, K1 R1], where R1 is 1 or short: batch norm on [N, F] and on channels-last images; instance
  and group norm on the latter;
- rows, a matrix [K0 R0 K1, R1]: layer norm; batch, instance and group norm on images with the channels first.

Anything else is copied to rows, with the reduced axes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile, groupby
from math import prod
from typing import Any

import numpy as np

from tinygrad_norm.kernels.cpu import compiler

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

_UNITS = 32
"""How many units of work a large array is cut into: whatever the number of threads, so that it changes no bit."""

_SHORT = 64
"""The R1 from which a loop over rows is the faster one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the kernels see the arrays of one call: x and what has its shape, the statistics, weight and bias."""

    order: Shape
    """The axes in the order of memory."""
    inverse: Shape
    ordered: Shape
    """The shape in the order of memory."""
    statistics: Shape
    """The shape of a statistic."""
    affine: Shape
    """The shape of weight and bias, expanded to [period, length]: group k has their row k modulo period."""
    in_order: tuple[bool, bool]
    """Whether the elements of these two follow each other as they do in the order of memory."""
    columns: bool
    count: int
    """How many values share a mean."""
    length: int
    """The length of the matrix's rows."""
    groups: Shape
    """The shape of the statistics to the kernels: [K0, K1] for columns, [K0 K1] for rows."""
    period: int
    sizes: Shape
    """What a kernel cannot tell from shapes: R0 and blocks for columns; R0, K1 and blocks for rows.

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
        if not self.in_order[0]:
            statistic = statistic.transpose(self.order)
        return np.ascontiguousarray(statistic, np.float64).reshape(self.groups)

    def unflat(self, groups: Array) -> Array:
        """The inverse of `flat`."""
        return self._shaped(groups, self.statistics, self.in_order[0])

    def expand(self, parameter: Array | None, otherwise: float, dtype: np.dtype[Any]) -> Array:
        """Weight or bias as [period, length]."""
        if parameter is None:
            return np.full((self.period, self.length), otherwise, dtype)
        if parameter.shape != self.affine:
            parameter = np.broadcast_to(parameter, self.affine)
        if not self.in_order[1]:
            parameter = parameter.transpose(self.order)
        return np.ascontiguousarray(parameter).reshape(self.period, self.length)

    def collect(self, sums: Array, like: Array | None) -> Array | None:
        """The gradient of weight or bias, from sums over the groups or over blocks of them."""
        if like is None:
            return None
        if len(sums) != self.period:
            sums = sums.reshape(-1, self.period, self.length).sum(axis=0)
        total = self._shaped(sums, self.affine, self.in_order[1])
        if total.shape != like.shape:
            shared = tuple(i for i, n in enumerate(like.shape) if n == 1)
            total = total.sum(axis=shared, keepdims=True)
        return total.astype(like.dtype)

    def _shaped(self, array: Array, shape: Shape, in_order: bool) -> Array:
        if in_order:
            return array.reshape(shape)
        return array.reshape([shape[i] for i in self.order]).transpose(self.inverse)


@lru_cache(maxsize=1024)
def layout(
    shape: Shape, strides: Shape, itemsize: int, axes: Shape, weight: Shape | None, bias: Shape | None
) -> Layout:
    """The layout for x of this shape and strides, reduced over `axes`, and for weight and bias of these shapes."""

    def size(part: Iterable[int]) -> int:
        return prod(shape[i] for i in part)

    varying = {i for given in (weight, bias) if given for i, n in enumerate(given) if n > 1}
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    parts = _parts(shape, axes, order)
    if parts is None or not varying.isdisjoint(parts[1]) or not _dense(shape, strides, itemsize, order):
        order.sort(key=lambda i: (i in axes, i in varying))
        parts = _parts(shape, axes, order)
    assert parts is not None, "no more than one run of kept and one of reduced axes"
    k0, r0, k1, r1 = parts
    columns = not r1 or (bool(r0) and size(r1) < _SHORT)
    outer, inner = (k0, k1 + r1) if columns else (k0 + k1, r1)
    # once weight or bias vary along an outer axis, they are expanded along all outer axes after it
    expanded, length = [*dropwhile(lambda i: i not in varying, outer), *inner], size(inner)
    period = size(expanded) // length
    alike, summed, least = (size(k0), size(r0), 64) if columns else (period, size(outer) // period, 8)
    blocks = 1 if prod(shape) < compiler.LARGE else max(1, min(-(-_UNITS // alike), summed // least))
    statistics = tuple(1 if i in axes else n for i, n in enumerate(shape))
    affine = tuple(n if i in expanded else 1 for i, n in enumerate(shape))
    return Layout(
        order=tuple(order),
        inverse=tuple(order.index(i) for i in range(len(shape))),
        ordered=tuple(shape[i] for i in order),
        statistics=statistics,
        affine=affine,
        in_order=(_follows(order, statistics), _follows(order, affine)),
        columns=columns,
        count=size(r0 + r1),
        length=length,
        groups=(size(k0), size(k1)) if columns else (size(k0 + k1),),
        period=period,
        sizes=(size(r0), blocks) if columns else (size(r0), size(k1), blocks),
        sums=(size(k0) if columns else blocks * period, length),
    )


def _parts(shape: Shape, axes: Shape, order: list[int]) -> list[list[int]] | None:
    """The axes of K0, R0, K1 and R1, each of them possibly none; None if they are not enough."""
    long = (i for i in order if shape[i] > 1)
    runs = [list(run) for _, run in groupby(long, key=lambda i: i in axes)]
    parts = [runs.pop() if runs and (runs[-1][0] in axes) == reduced else [] for reduced in (True, False, True, False)]
    return None if runs else parts[::-1]


def _follows(order: list[int], shape: Shape) -> bool:
    """Whether an array of this shape has its elements in this order of axes."""
    long = [i for i in order if shape[i] > 1]
    return long == sorted(long)


def _dense(shape: Shape, strides: Shape, itemsize: int, order: list[int]) -> bool:
    """Whether the elements, in this order, lie side by side."""
    step = itemsize
    for i in reversed(order):
        if shape[i] > 1 and strides[i] != step:
            return False
        step *= shape[i]
    return True
