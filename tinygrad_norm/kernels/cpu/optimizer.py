"""Optimizer steps in one pass over memory, for all parameters in one call. They compute what `reference.py` tells.

A kernel finds the arrays by a table of addresses, a row for each parameter, so that Numba has few arguments to unpack
and threads share the work evenly, whatever the sizes. A buffer that is not used is an argument of None, a type of its
own to Numba: each kernel is compiled without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import carray, prange
from numba.core import cgutils, types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import Kernel, helper

Array = np.ndarray[Any, np.dtype[Any]]
Row = Sequence[Array | None]
"""A parameter, its gradient, and its buffers, of which those that are not used are None."""

_BUFFERS = 3
"""How many buffers a row of a table has room for."""

_PIECES = 32
"""How many pieces the work is cut into, whatever the number of threads."""


class Update:
    """A step of an optimizer: called with the arrays of one parameter, or `each` with those of many of one dtype.

    It decorates a function that turns the step's options into the scalars of the kernel.
    """

    def __init__(self, kernel: Callable[..., None]) -> None:
        self._kernel = kernel

    def of(self, scalars: Callable[..., tuple[Any, ...]]) -> Update:
        """This update, with options that `scalars` turns into what the kernel takes."""
        self._scalars, self.__doc__ = scalars, scalars.__doc__
        return self

    def __call__(self, *arrays: Array | None, **options: Any) -> None:
        self.each([arrays], **options)

    def each(self, rows: Sequence[Row], **options: Any) -> None:
        """Update several parameters, which use the same buffers."""
        table, end, flat = np.empty((len(rows), 4 + _BUFFERS), np.int64), 0, []
        for index, row in enumerate(rows):
            arrays = [(row[0] if array is None else array).ravel() for array in row]  # type: ignore[union-attr]
            spare = arrays[:1] * (2 + _BUFFERS - len(arrays))
            end = _note(table, index, end, *arrays, *spare)
            flat.append(arrays)
        used = [None if buffer is None else True for buffer in rows[0][2:]]
        self._kernel(end, table, flat[0][0][:0], *used, *self._scalars(**options))
        for row, arrays in zip(rows, flat, strict=True):
            for array, result in zip(row, arrays, strict=True):
                if result.base is None and array is not None and array is not row[1]:  # a copy, in the usual order
                    array[...] = result.reshape(array.shape)


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """An integer as a pointer; unlike one of ctypes it lets the kernel be cached."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


@helper
def _note(table, index, start, parameter, gradient, first, second, third):  # type: ignore[no-untyped-def]
    """Write a row: where the parameter begins among all elements, its size, the addresses; return where it ends."""
    size, fits = parameter.size, True
    table[index, 0], table[index, 1] = start, size
    for other in (gradient.shape, first.shape, second.shape, third.shape):
        fits &= other[0] == size
    for step in (gradient.itemsize, first.itemsize, second.itemsize, third.itemsize):
        fits &= step == parameter.itemsize
    if not fits:
        raise ValueError("the arrays of a parameter should have one size and one dtype")
    table[index, 2], table[index, 3] = parameter.ctypes.data, gradient.ctypes.data
    table[index, 4], table[index, 5], table[index, 6] = first.ctypes.data, second.ctypes.data, third.ctypes.data
    return start + size


@helper
def _range(table, row, piece):  # type: ignore[no-untyped-def]
    """Which elements of a parameter are in one piece of the work."""
    start, size, total = table[row, 0], table[row, 1], table[-1, 0] + table[-1, 1]
    begin, end = total * piece // _PIECES - start, total * (piece + 1) // _PIECES - start
    return min(max(begin, 0), size), min(max(end, 0), size)


@helper
def _array(table, row, column, begin, end, like):  # type: ignore[no-untyped-def]
    """A part of an array of the table."""
    return carray(_pointer(table[row, 2 + column] + begin * like.itemsize), (end - begin,), like.dtype)


@Kernel
def _sgd(table, like, momentum_buffer, lr, momentum, keep, weight_decay, nesterov):  # type: ignore[no-untyped-def]
    cast = like.dtype.type  # a float64 scalar would widen float32 arithmetic
    for piece in prange(_PIECES):
        for row in range(len(table)):
            begin, end = _range(table, row, piece)
            p, gradient = _array(table, row, 0, begin, end, like), _array(table, row, 1, begin, end, like)
            velocity = _array(table, row, 2, begin, end, like)
            for i in range(p.size):
                g = gradient[i]
                if weight_decay != 0:
                    g += cast(weight_decay) * p[i]
                if momentum_buffer is not None:
                    v = cast(momentum) * velocity[i] + cast(keep) * g
                    velocity[i] = v
                    g = g + cast(momentum) * v if nesterov else v
                p[i] -= cast(lr) * g


@Kernel
def _adam(  # type: ignore[no-untyped-def]
    table,
    like,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    shrink,
    weight_decay,
    weight1,
    beta2,
    weight2,
    unbias,
    eps,
    step_size,
):
    cast = like.dtype.type
    for piece in prange(_PIECES):
        for row in range(len(table)):
            begin, end = _range(table, row, piece)
            parameter, gradient = _array(table, row, 0, begin, end, like), _array(table, row, 1, begin, end, like)
            mean, square = _array(table, row, 2, begin, end, like), _array(table, row, 3, begin, end, like)
            largest = _array(table, row, 4, begin, end, like)
            for i in range(parameter.size):
                p = cast(shrink) * parameter[i]
                g = gradient[i]
                if weight_decay != 0:
                    g += cast(weight_decay) * p
                m = mean[i] + cast(weight1) * (g - mean[i])
                v = cast(beta2) * square[i] + cast(weight2) * g * g
                mean[i] = m
                square[i] = v
                if max_exp_avg_sq is not None:
                    v = np.maximum(v, largest[i])
                    largest[i] = v
                parameter[i] = p - cast(step_size) * m / (np.sqrt(v) * cast(unbias) + cast(eps))


@Kernel
def _rmsprop(  # type: ignore[no-untyped-def]
    table, like, square_avg, grad_avg, momentum_buffer, lr, alpha, weight, eps, weight_decay, momentum
):
    cast = like.dtype.type
    for piece in prange(_PIECES):
        for row in range(len(table)):
            begin, end = _range(table, row, piece)
            p, gradient = _array(table, row, 0, begin, end, like), _array(table, row, 1, begin, end, like)
            square, mean = _array(table, row, 2, begin, end, like), _array(table, row, 3, begin, end, like)
            velocity = _array(table, row, 4, begin, end, like)
            for i in range(p.size):
                g = gradient[i]
                if weight_decay != 0:
                    g += cast(weight_decay) * p[i]
                variance = cast(alpha) * square[i] + cast(weight) * g * g
                square[i] = variance
                if grad_avg is not None:
                    m = mean[i] + cast(weight) * (g - mean[i])
                    mean[i] = m
                    variance = np.maximum(variance - m * m, cast(0))  # rounding may take it below 0
                update = g / (np.sqrt(variance) + cast(eps))
                if momentum_buffer is not None:
                    update += cast(momentum) * velocity[i]
                    velocity[i] = update
                p[i] -= cast(lr) * update


@Update(_sgd).of
def sgd_update(*, lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool) -> tuple[Any, ...]:
    """Stochastic gradient descent."""
    return lr, momentum, 1 - dampening, weight_decay, nesterov


@Update(_adam).of
def adam_update(
    *, step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> tuple[Any, ...]:
    """Adam and AdamW."""
    shrink, penalty = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    step_size, unbias = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    return shrink, penalty, 1 - beta1, beta2, 1 - beta2, unbias, eps, step_size


@Update(_rmsprop).of
def rmsprop_update(*, lr: float, alpha: float, eps: float, weight_decay: float, momentum: float) -> tuple[Any, ...]:
    """RMSprop."""
    return lr, alpha, 1 - alpha, eps, weight_decay, momentum
