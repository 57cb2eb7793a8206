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

from tinygrad_norm.kernels.cpu.layout import Layout, layout_of
from tinygrad_norm.launch import Array, Shape, empty, empty_like, launch


class Call(NamedTuple):
    """A norm of some arrays, as its kernels see it."""

    module: ModuleType
    """The kernels."""
    x: Array
    parameters: Sequence[Array | None]
    data: list[Array]
    """Those that are read as x is, as matrices of its form."""
    form: Layout
    arguments: list[Any]
    """What all kernels are given after the matrices: parameters and options, if there are any, and so on."""


def call_of(
    module: ModuleType,
    x: Array,
    parameters: Sequence[Array | None],
    axes: Shape,
    options: tuple[float, ...],
    defaults: Sequence[float] = (),
    others: tuple[Shape, ...] = (),
    data: Sequence[int] = (),
) -> Call:
    """The call of a norm.

    Args:
        module: its kernels.
        x: what to normalize.
        parameters: of x's rank, with length 1 where they are shared.
        axes: whose values share their statistics.
        options: numbers such as eps.
        defaults: what stands for a parameter that is None; 0 unless said.
        others: other sets of axes, which statistics of statistics go over.
        data: the numbers of parameters that have a value for each one of x, and no gradient.
    """
    shared = [each for i, each in enumerate(parameters) if i not in data]
    form = layout_of(x, axes, shared, others)
    values = defaults or (0.0,) * len(shared)
    expanded = tuple([form.expand(each, value, x.dtype) for each, value in zip(shared, values, strict=True)])
    matrices = [form.matrix(each) for i in data if (each := parameters[i]) is not None]
    return Call(module, x, parameters, matrices, form, [each for each in (expanded, options) if each])


class Otherwise(NamedTuple):
    """Another way to compute what kernels do: compute(*arguments), arrays among them."""

    compute: Callable[..., Sequence[Any]]
    arguments: tuple[Any, ...]


def forward(call: Call, given: Sequence[Array], count: int, otherwise: Otherwise) -> tuple[Array, ...]:
    """Normalize.

    Args:
        call: what to normalize.
        given: statistics that are known, kept as length 1.
        count: how many others there are.
        otherwise: computes y and those.

    Returns:
        y, and the statistics in float64, kept as length 1.
    """
    form, matrix = call.form, call.form.matrix(call.x)
    y, room = empty_like(matrix), form.room
    found, fine = [empty(room, np.float64) for _ in range(count)], empty(room, np.bool_)
    statistics = (*[form.statistic(each) for each in given], *found)
    kernel = call.module.outer_forward if form.outer else call.module.inner_forward
    known = *call.data, *call.arguments, form.units, *_some(statistics)
    launch(_forward, kernel, call.x.size, (matrix, *known, fine, y), form, found, otherwise)
    return form.restore(y), *[form.restore_statistic(each) for each in found]


def gradient(
    call: Call,
    dy: Array,
    statistics: Sequence[Array],
    wanted: Sequence[int],
    otherwise: Otherwise,
) -> tuple[Array | None, ...]:
    """Differentiate.

    Args:
        call: what was normalized.
        dy: the gradient of y.
        statistics: all of them, kept as length 1.
        wanted: the parameters for whose gradients the kernels have sums.
        otherwise: computes these gradients.

    Returns:
        The gradients of x and of the wanted parameters; None for one that is None.
    """
    form, matrix = call.form, call.form.matrix(call.x)
    dx, fine = empty_like(matrix), empty(form.room, np.bool_)
    sums = tuple([empty(form.sums, np.float64) for _ in wanted])
    known = tuple([form.statistic(each) for each in statistics])
    kernel = call.module.outer_gradient if form.outer else call.module.inner_gradient
    data = form.matrix(dy), matrix, *call.data
    arguments = *data, *call.arguments, form.units, *_some(known), fine, dx, *_some(sums)
    launch(_gradient, kernel, call.x.size, arguments, form, fine, dx, sums, otherwise)
    return form.restore(dx), *[form.collect(each, call.parameters[i]) for each, i in zip(sums, wanted, strict=True)]


def _forward(
    kernel: Callable[..., bool],
    size: int,
    arguments: tuple[Any, ...],
    form: Layout,
    found: Sequence[Array],
    otherwise: Otherwise,
) -> None:
    """Run a kernel; of groups that were out of its range, take the results from elsewhere."""
    if not kernel(size, *arguments):
        fine, y = arguments[-2:]
        with np.errstate(all="ignore"):
            right, *others = otherwise.compute(*otherwise.arguments)
            _replace(y, form.matrix(right), form.by_element(fine))
            for array, other in zip(found, others, strict=True):
                _replace(array, form.statistic(other), fine)


def _gradient(
    kernel: Callable[..., bool],
    size: int,
    arguments: tuple[Any, ...],
    form: Layout,
    fine: Array,
    dx: Array,
    sums: Sequence[Array],
    otherwise: Otherwise,
) -> None:
    """Run the kernel of a gradient; of groups that were out of its range, take the results from elsewhere."""
    if not kernel(size, *arguments):
        with np.errstate(all="ignore"):
            right, *others = otherwise.compute(*otherwise.arguments)
            _replace(dx, form.matrix(right), form.by_element(fine))
            for array, other in zip(sums, others, strict=True):
                if other is not None:  # all groups add to it
                    array[...] = form.spread(other)


def _replace(array: Array, right: Array, fine: Array) -> None:
    """Write what is right where an array is not."""
    np.copyto(array, right, "unsafe", where=~fine)


def _some(arrays: tuple[Array, ...]) -> tuple[tuple[Array, ...], ...]:
    """An argument; none where it would be empty."""
    return (arrays,) if arrays else ()
