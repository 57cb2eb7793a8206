"""Kernels that are written from definitions, run on arrays of any layout.

A kernel tells which groups were in the range of its loops: it computes in the dtype of x, where a square may be
infinite that is none in float64. The others are taken from the definition, which does it all once more, in float64; so
what becomes of a group depends on no other one. Gradients of parameters, to which all groups add, are then its as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.kernels.cpu.launch import Array, Shape, empty, empty_like, launch
from tinygrad_norm.kernels.cpu.layout import Layout, layout_of


class Call(NamedTuple):
    """A norm of some arrays."""

    module: ModuleType
    """Its kernels."""
    x: Array
    parameters: Sequence[Array | None]
    """Of x's rank, with length 1 where they are shared."""
    defaults: tuple[float, ...]
    """What stands for a parameter that is None."""
    axes: Shape
    """Whose values share their statistics."""
    options: tuple[float, ...]
    line: tuple[Any, ...] = ()
    """The activation, if the kernels have one."""
    columns: Shape = ()
    """The axes that statistics of statistics go over."""

    def layout(self) -> Layout:
        """How the kernels see its arrays."""
        return layout_of(self.x, self.axes, self.parameters, self.columns)

    def arguments(self, form: Layout, data: Sequence[Array], statistics: Sequence[Array]) -> list[Any]:
        """What a kernel is given, before its results."""
        given = zip(self.parameters, self.defaults, strict=True)
        parameters = tuple([form.expand(each, default, self.x.dtype) for each, default in given])
        groups = (parameters, self.options, *self.line, form.units, tuple(statistics))
        return [self.x.size, *data, *(each for each in groups if each != ())]


class _Result(NamedTuple):
    """What a kernel writes."""

    array: Array
    as_kernels_see: Callable[[Array], Array]
    """From the definition's form."""
    fine: Callable[[Array], Array]
    """Which elements are to stay, from which groups are."""


def forward(
    call: Call, given: Sequence[Array], count: int, otherwise: Callable[[], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """Normalize.

    Args:
        call: what to normalize.
        given: statistics that are known, kept as length 1.
        count: how many others there are.
        otherwise: computes y and those in another way.

    Returns:
        y, and the statistics in float64, kept as length 1.
    """
    form = call.layout()
    matrix = form.matrix(call.x)
    y, found = empty_like(matrix), [empty(form.room, np.float64) for _ in range(count)]
    arguments = call.arguments(form, (matrix,), [*map(form.statistic, given), *found])
    kernel = call.module.outer_forward if form.outer else call.module.inner_forward
    fine = launch(np.ones, form.room, np.bool_)
    results = [_Result(y, form.matrix, form.by_element), *(_Result(each, form.statistic, np.copy) for each in found)]
    launch(_run, kernel, (*arguments, fine, y), fine, results, otherwise)
    return form.restore(y), *map(form.restore_statistic, found)


def gradient(
    call: Call,
    dy: Array,
    statistics: Sequence[Array],
    wanted: Sequence[int],
    otherwise: Callable[[], tuple[Array | None, ...]],
) -> tuple[Array | None, ...]:
    """Differentiate.

    Args:
        call: what was normalized.
        dy: the gradient of y.
        statistics: all of them, kept as length 1.
        wanted: the parameters for whose gradients the kernels have sums.
        otherwise: computes these gradients in another way.

    Returns:
        The gradients of x and of the wanted parameters; None for one that is None.
    """
    form = call.layout()
    matrix = form.matrix(call.x)
    dx, sums = empty_like(matrix), tuple([empty(form.sums, np.float64) for _ in wanted])
    arguments = call.arguments(form, (form.matrix(dy), matrix), [*map(form.statistic, statistics)])
    kernel = call.module.outer_gradient if form.outer else call.module.inner_gradient
    fine = launch(np.ones, form.room, np.bool_)
    results = [_Result(dx, form.matrix, form.by_element), *(_Result(each, form.spread, _none) for each in sums)]
    launch(_run, kernel, (*arguments, fine, dx, *((sums,) if sums else ())), fine, results, otherwise)
    return form.restore(dx), *(form.collect(each, call.parameters[i]) for each, i in zip(sums, wanted, strict=True))


def _run(
    kernel: Callable[..., bool],
    arguments: tuple[Any, ...],
    fine: Array,
    results: Sequence[_Result],
    otherwise: Callable[[], tuple[Array | None, ...]],
) -> None:
    """Run a kernel; of groups that were out of its range, take the results from elsewhere."""
    if kernel(*arguments):
        return
    with np.errstate(all="ignore"):
        for each, found in zip(results, otherwise(), strict=True):
            if found is not None:
                np.copyto(each.array, each.as_kernels_see(found), "unsafe", where=~each.fine(fine))


def _none(fine: Array) -> Array:
    """No element: all groups add to a parameter's gradient."""
    return np.zeros((), np.bool_)
