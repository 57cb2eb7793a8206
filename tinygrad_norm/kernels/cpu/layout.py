"""The two forms in memory that the normalization kernels know, and how arrays of any strides are brought to them.

In the order of memory, neighbouring axes that are all reduced, or all kept, are as good as one. The norms in use then
have at most four, some of length 1: kept, reduced, kept, reduced, or (K0, R0, K1, R1). To the kernels they are

- an outer reduction of a matrix [K0 R0, K1 R1], where R1 is 1 or short: batch norm on [N, F] and on channels-last
  images; instance and group norm on the latter;
- an inner reduction of a matrix [K0 R0 K1, R1]: layer norm; batch, instance and group norm on images with the channels
  first.

An array with gaps is copied as it lies, anything else for an inner reduction, with the reduced axes last.
`python -m benchmarks --only norms` measures the constants again.
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
from tinygrad_norm.launch import Array, Shape, launch

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
    statistic_shape: Shape
    affine_shape: Shape
    """The shape of weight and bias, expanded to [period, length]: group k has their row k modulo period."""
    in_order: tuple[bool, bool]
    """Whether the elements of these two follow each other as they do in the order of memory."""
    outer: bool
    length: int
    """The length of the matrix's rows."""
    groups: Shape
    """The shape of the statistics to the kernels: [K0, K1] in an outer reduction, [K0 K1] in an inner one."""
    period: int
    units: Shape
    """What a kernel cannot tell from shapes: K0, the blocks of a group, R1, period; or blocks, R0, K1, period.

    Where there are other sets of axes, there follow for each how many statistics it has, and how many steps lie between
    two of them.
    """
    sums: Shape
    """The shape of what the kernels sum for weight and bias."""

    def matrix(self, x: Array) -> Array:
        """X as the kernels see it, copied only where its memory has another form."""
        return launch(np.ascontiguousarray, x.transpose(self.order)).reshape(-1, self.length)

    def restore(self, matrix: Array) -> Array:
        """The inverse of `matrix`."""
        return matrix.reshape(self.ordered).transpose(self.inverse)

    @property
    def room(self) -> Shape:
        """The shape of an array for one statistic, or for one flag of each group."""
        return (self.groups[0], self.length) if self.outer else self.groups

    def by_element(self, flags: Array) -> Array:
        """Flags of groups as flags of the matrix's elements."""
        if self.outer:
            return np.repeat(flags, prod(self.ordered) // flags.size, axis=0)
        repeat, inner = self.units[1:3]
        return np.repeat(flags.reshape(-1, 1, inner), repeat, axis=1).reshape(-1, 1)

    def statistic(self, given: Array) -> Array:
        """A statistic as the kernels see it: each group's, or each column's."""
        if given.shape != self.statistic_shape:  # it is the same along another set of axes
            given = np.broadcast_to(given, self.statistic_shape)
        if not self.in_order[0]:
            given = given.transpose(self.order)
        groups = launch(np.ascontiguousarray, given, np.float64).reshape(self.groups)
        return launch(np.repeat, groups, self.share, 1) if self.outer and self.share > 1 else groups

    def restore_statistic(self, found: Array) -> Array:
        """The inverse of `statistic`."""
        return self._shaped(
            found[:, :: self.share] if self.outer and self.share > 1 else found, self.statistic_shape, self.in_order[0]
        )

    @property
    def blocks(self) -> int:
        """How many units of work rows with the same statistics (outer), or parameters (inner), are cut into."""
        return self.units[1 if self.outer else 0]

    @property
    def share(self) -> int:
        """How many columns share a statistic in an outer reduction."""
        return self.units[2]

    def expand(self, parameter: Array | None, otherwise: float, dtype: np.dtype[Any]) -> Array:
        """A parameter as [period, length]."""
        if parameter is None:
            return launch(np.full, (self.period, self.length), otherwise, dtype)
        in_place = parameter.shape == (self.period, self.length) and parameter.flags.c_contiguous
        if in_place and self.in_order[1]:  # of a square one, the shape does not tell
            return parameter
        if parameter.shape != self.affine_shape:
            parameter = np.broadcast_to(parameter, self.affine_shape)
        if not self.in_order[1]:
            parameter = parameter.transpose(self.order)
        return launch(np.ascontiguousarray, parameter).reshape(self.period, self.length)

    def collect(self, sums: Array, like: Array | None) -> Array | None:
        """The gradient of a parameter, from sums over the groups or over blocks of them."""
        if like is None:
            return None
        if len(sums) != self.period:
            sums = launch(np.sum, sums.reshape(-1, self.period, self.length), 0)
        total = self._shaped(sums, self.affine_shape, self.in_order[1])
        if total.shape != like.shape:
            shared = tuple(i for i, n in enumerate(like.shape) if n == 1)
            total = launch(np.sum, total, shared, None, None, True)
        return launch(total.astype, like.dtype)

    def spread(self, gradient: Array) -> Array:
        """Sums of which `collect` makes this gradient."""
        total = launch(np.zeros, self.affine_shape)
        shape = (1,) * (total.ndim - gradient.ndim) + gradient.shape
        total[tuple(slice(n) for n in shape)] = gradient
        sums = launch(np.zeros, self.sums)
        sums[: self.period] = self.expand(total, 0, total.dtype)
        return sums

    def _shaped(self, array: Array, shape: Shape, in_order: bool) -> Array:
        if in_order:
            return array.reshape(shape)
        return array.reshape([shape[i] for i in self.order]).transpose(self.inverse)


@lru_cache(maxsize=1024)
def layout(
    shape: Shape,
    strides: Shape,
    axes: Shape,
    parameters: tuple[Shape | None, ...],
    others: tuple[Shape, ...] = (),
) -> Layout:
    """The layout for x of this shape and strides, reduced over `axes`, and for parameters of these shapes.

    Where there are other sets of axes, which statistics are reduced over, the reduction is an outer one.
    """

    def size(part: Iterable[int]) -> int:
        return prod(shape[i] for i in part)

    varying = {i for given in parameters if given for i, n in enumerate(given) if n > 1}
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    parts = _parts(shape, axes, order)
    if others:
        parts = _parts_of_sets(shape, axes, others, order)
        order = [i for part in parts for i in part]
    elif parts is None or not varying.isdisjoint(parts[1]):
        order.sort(key=lambda i: (i in axes, i in varying))
        parts = _parts(shape, axes, order)
    assert parts is not None, "no more than one run of kept and one of reduced axes"
    k0, r0, k1, r1 = parts
    is_outer = not r1 or (bool(r0) and size(r1) < _SHORT)
    outer, inner = (k0, k1 + r1) if is_outer else (k0 + k1, r1)
    # once weight or bias vary along an outer axis, they are expanded along all outer axes after it
    expanded, length = [*dropwhile(lambda i: i not in varying, outer), *inner], size(inner)
    period = size(expanded) // length
    alike, summed, least = (size(k0), size(r0), 64) if is_outer else (period, size(outer) // period, 8)
    blocks = 1 if prod(shape) < compiler.LARGE else max(1, min(-(-_UNITS // alike), summed // least))
    statistics = tuple(1 if i in axes else n for i, n in enumerate(shape))
    affine = tuple(n if i in expanded else 1 for i, n in enumerate(shape))
    return Layout(
        order=tuple(order),
        inverse=tuple(order.index(i) for i in range(len(shape))),
        ordered=tuple(shape[i] for i in order),
        statistic_shape=statistics,
        affine_shape=affine,
        in_order=(_follows(order, statistics), _follows(order, affine)),
        outer=is_outer,
        length=length,
        groups=(size(k0), size(k1)) if is_outer else (size(k0 + k1),),
        period=period,
        units=(
            (size(k0), blocks, size(r1), period, *_steps(shape, others, k0 + k1))
            if is_outer
            else (blocks, size(r0), size(k1), period)
        ),
        sums=(size(k0) if is_outer else blocks * period, length),
    )


def layout_of(x: Array, axes: Shape, parameters: Iterable[Array | None], others: tuple[Shape, ...] = ()) -> Layout:
    """The layout for x, reduced over `axes`, and for parameters of x's rank, each of which may be None."""
    shapes = tuple([None if parameter is None else parameter.shape for parameter in parameters])
    return layout(x.shape, x.strides, axes, shapes, others)


def _parts(shape: Shape, axes: Shape, order: list[int]) -> list[list[int]] | None:
    """The axes of K0, R0, K1 and R1, each of them possibly none; None if they are not enough."""
    long = (i for i in order if shape[i] > 1)
    runs = [list(run) for _, run in groupby(long, key=lambda i: i in axes)]
    parts = [runs.pop() if runs and (runs[-1][0] in axes) == reduced else [] for reduced in (True, False, True, False)]
    return None if runs else parts[::-1]


def _parts_of_sets(shape: Shape, axes: Shape, others: tuple[Shape, ...], order: list[int]) -> list[list[int]]:
    """The axes of K0, R0 and K1, and none of R1, of which those of a set stay together.

    K1 has what lies in the reduced axes in memory, so that nothing is copied, or else what lies innermost.
    """

    def place(run: Iterable[int]) -> int:
        return max((order.index(i) for i in run if shape[i] > 1), default=-1)

    single = ((i,) for i in order if i not in axes and not any(i in own for own in others))
    runs = sorted((sorted(run, key=order.index) for run in (*others, *single)), key=place)
    inside = [run for run in runs if place(run) > place(axes)] or runs[-1:]
    outside = runs[: len(runs) - len(inside)]
    k0, k1 = ([i for run in part for i in run] for part in (outside, inside))
    return [k0, [i for i in order if i in axes], k1, []]


def _steps(shape: Shape, sets: tuple[Shape, ...], kept: list[int]) -> Iterable[int]:
    """How many statistics lie along each set of axes, and how many steps are between two, all in the order `kept`."""
    for own in sets:
        behind = max((kept.index(i) for i in own), default=len(kept)) + 1
        yield prod(shape[i] for i in own)
        yield prod(shape[i] for i in kept[behind:])


def _follows(order: list[int], shape: Shape) -> bool:
    """Whether an array of this shape has its elements in this order of axes."""
    long = [i for i in order if shape[i] > 1]
    return long == sorted(long)
