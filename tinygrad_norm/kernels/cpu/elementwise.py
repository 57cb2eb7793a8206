"""Sums, products and ReLU of large arrays, which NumPy computes with one thread, and in as many passes as operations.

Arrays of equal shape are seen as vectors, in the order of their memory. A scale that is shared along some axes, as that
of channels is by all pixels, leaves x a matrix: either each row has one number, or `repeat` rows have one row of them.

Accuracy: the dtype's own; the gradient of a scale is summed in float64, over 32 units of work that are cut in blocks of
rows. `python -m benchmarks --only others` measures them.
"""

from __future__ import annotations

from itertools import groupby
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from tinygrad_norm import definitions
from tinygrad_norm.kernels.cpu import compiler
from tinygrad_norm.kernels.cpu.compiler import Kernel, noalias, reassociate
from tinygrad_norm.launch import Array, empty, empty_like, launch

_UNITS = 32
"""How many units of work a sum is cut into: whatever the number of threads, so that it changes no bit."""


@Kernel
def _add(x: Array, y: Array, z: Array) -> None:
    for i in prange(z.size):
        z[i] = x[i] + y[i]


@Kernel
def _add_relu(x: Array, y: Array, z: Array) -> None:
    zero = z.dtype.type(0)
    for i in prange(z.size):
        total = x[i] + y[i]
        z[i] = zero if total <= zero else total


@Kernel
def _relu(x: Array, y: Array) -> None:
    zero = y.dtype.type(0)
    for i in prange(y.size):
        y[i] = zero if x[i] <= zero else x[i]


@Kernel
def _relu_gradient(dy: Array, y: Array, dx: Array) -> None:
    zero = dx.dtype.type(0)
    for i in prange(dx.size):
        dx[i] = zero if y[i] <= zero else dy[i]


@Kernel
def _multiply(x: Array, y: Array, z: Array) -> None:
    for i in prange(z.size):
        z[i] = x[i] * y[i]


@Kernel
def _scale(x: Array, scale: Array, repeat: int, y: Array) -> None:
    for r in prange(len(x)):
        factors = scale[r // repeat]
        if len(factors) == 1:
            factor = factors[0]
            for c in range(x.shape[1]):
                y[r, c] = x[r, c] * factor
        else:
            for c in range(x.shape[1]):
                y[r, c] = x[r, c] * factors[c]


@reassociate
def _row_gradient(dy: Array, x: Array, factor: float, dx: Array) -> float:
    total = 0.0
    for c in range(len(x)):
        dx[c] = dy[c] * factor
        total += dy[c] * x[c]
    return total


@noalias
def _rows_gradient(dy: Array, x: Array, factors: Array, dx: Array, sums: Array) -> None:
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            dx[r, c] = dy[r, c] * factors[c]
            sums[c] += dy[r, c] * x[r, c]


@Kernel
def _scale_gradient(dy: Array, x: Array, scale: Array, repeat: int, blocks: int, dx: Array, sums: Array) -> None:
    for unit in prange(len(sums)):
        k, block = unit // blocks, unit % blocks
        first, last = k * repeat + block * repeat // blocks, k * repeat + (block + 1) * repeat // blocks
        if scale.shape[1] == 1:
            sums[unit, 0] = 0
            for r in range(first, last):
                sums[unit, 0] += _row_gradient(dy[r], x[r], scale[k, 0], dx[r])
        else:
            sums[unit] = 0
            _rows_gradient(dy[first:last], x[first:last], scale[k], dx[first:last], sums[unit])


def add(x: Any, y: Any) -> Any:
    """X + y."""
    if not _equal(x, y) or x.size < compiler.LARGE or x.strides != y.strides:
        return launch(np.add, x, y)
    z = empty_like(x)
    launch(_add, z.size, flat(x, z), flat(y, z), flat(z, z))
    return z


def multiply(x: Any, y: Any) -> Any:
    """X times y; one of them may be shared along some axes."""
    if not (type(x) is type(y) is np.ndarray) or (x.size < compiler.LARGE and y.size < compiler.LARGE):
        return launch(np.multiply, x, y)
    if _equal(x, y) and x.strides == y.strides:
        z = empty_like(x)
        launch(_multiply, z.size, flat(x, z), flat(y, z), flat(z, z))
        return z
    x, factors = (x, y) if x.size >= y.size else (y, x)
    form = _form(x, factors)
    if form is None:
        return launch(np.multiply, x, factors)
    z = empty_like(x)
    launch(_scale, z.size, form.matrix(x), form.factors(factors), form.repeat, form.matrix(z))
    return z


def relu(x: Array) -> Array:
    """X where it is positive, else 0."""
    y = empty_like(x)
    launch(_relu, y.size, flat(x, y), flat(y, y))
    return y


def relu_gradient(dy: Array, y: Array) -> Array:
    """Dy where y, the output of a ReLU, is not 0."""
    dx = empty_like(y)
    launch(_relu_gradient, dx.size, flat(dy, dx), flat(y, dx), flat(dx, dx))
    return dx


def add_relu(x: Any, y: Any) -> Any:
    """ReLU of x + y."""
    if not _equal(x, y):
        return launch(definitions.add_relu, x, y)
    z = empty_like(x)
    launch(_add_relu, z.size, flat(x, z), flat(y, z), flat(z, z))
    return z


def scale_gradient(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """Gradients of x times factors with respect to both, where factors have length 1 along the axes that share them."""
    form = _form(x, factors) if x.size >= compiler.LARGE else None
    if form is None:
        return launch(definitions.scale_gradient, dy, x, factors)
    dx, given = empty_like(x), form.factors(factors)
    blocks = min(form.repeat, -(-_UNITS // len(given)))
    sums = empty((len(given) * blocks, given.shape[1]), np.float64)
    matrices = (flat(dy, x).reshape(form.shape), form.matrix(x), given, form.repeat, blocks, form.matrix(dx), sums)
    launch(_scale_gradient, x.size, *matrices)
    return dx, form.like(factors, launch(np.sum, sums.reshape(-1, blocks, given.shape[1]), 1))


def flat(array: Array, like: Array) -> Array:
    """The elements in the order in which `like`, which has no gaps, has them in memory; copied only if they are not."""
    if array.strides != like.strides:
        array, given = empty_like(like), array
        launch(np.copyto, array, given)
    return array.ravel("K")


def _equal(x: Any, y: Any) -> bool:
    """Whether these are two arrays of the same shape and dtype."""
    return type(x) is type(y) is np.ndarray and x.shape == y.shape and x.dtype == y.dtype


class _Form(NamedTuple):
    """How the kernels see x and its scale."""

    order: tuple[int, ...]
    """The axes in the order of memory."""
    shape: tuple[int, int]
    """The rows and the columns of the matrix."""
    repeat: int
    """How many rows share a row of factors."""

    def matrix(self, x: Array) -> Array:
        """X, without a copy."""
        return x.transpose(self.order).reshape(self.shape)

    def factors(self, factors: Array) -> Array:
        """A row of factors for each `repeat` rows."""
        aligned = factors.reshape((1,) * (len(self.order) - factors.ndim) + factors.shape)
        return launch(np.ascontiguousarray, aligned.transpose(self.order)).reshape(self.shape[0] // self.repeat, -1)

    def like(self, factors: Array, rows: Array) -> Array:
        """The inverse of `factors`."""
        lengths = (1,) * (len(self.order) - factors.ndim) + factors.shape
        ordered = rows.reshape([lengths[i] for i in self.order]).transpose(np.argsort(self.order))
        return launch(ordered.reshape(factors.shape).astype, factors.dtype)


def _form(x: Array, factors: Array) -> _Form | None:
    """How to see them; None if they are no such pair, if x has gaps, or if axes with and without factors alternate."""
    if x.dtype != factors.dtype or x.ndim < factors.ndim:
        return None
    lengths = (1,) * (x.ndim - factors.ndim) + factors.shape
    if x.size == 0 or any(n not in (1, m) for n, m in zip(lengths, x.shape, strict=True)):
        return None
    order = tuple(sorted(range(x.ndim), key=lambda i: -x.strides[i]))
    runs = groupby((i for i in order if x.shape[i] > 1), key=lambda i: lengths[i] > 1)
    sizes = [(varies, prod(x.shape[i] for i in run)) for varies, run in runs]
    varies, last = sizes[-1] if sizes else (False, 1)
    if not 1 < len(sizes) <= 2 + varies or not x.transpose(order).flags.c_contiguous:
        return None
    return _Form(order, (x.size // last, last), sizes[-2][1] if varies else 1)
