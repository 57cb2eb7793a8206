"""Optimizer steps in one pass over memory. What they compute is told in `definitions/optimizer.py`.

A buffer of None is a type of its own to Numba: each kernel is compiled without what is not used. Arrays are vectors,
element by element, and what is computed has their dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.joined import JoinableKernel, array_at
from tinygrad_norm.launch import Array, late, launch

_WORK = 2
"""How many elements another kernel treats in the time of one parameter, which has several arrays, and a root."""


def sgd_update(
    parameter: Array,
    gradient: Array,
    momentum_buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Stochastic gradient descent."""
    written = parameter, momentum_buffer
    _run(_sgd, gradient, written, late(_sgd_rates, lr, momentum, dampening, weight_decay, nesterov))


def adam_update(
    parameter: Array,
    gradient: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam and AdamW."""
    written = parameter, exp_avg, exp_avg_sq, max_exp_avg_sq
    _run(_adam, gradient, written, late(_adam_rates, step, lr, beta1, beta2, eps, weight_decay, decoupled))


def rmsprop_update(
    parameter: Array,
    gradient: Array,
    square_avg: Array,
    grad_avg: Array | None,
    momentum_buffer: Array | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """RMSprop."""
    written = parameter, square_avg, grad_avg, momentum_buffer
    _run(_rmsprop, gradient, written, late(_rmsprop_rates, lr, alpha, eps, weight_decay, momentum))


def _sgd_rates(lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool) -> tuple[Any, ...]:
    return lr, momentum, 1 - dampening, weight_decay, nesterov


def _adam_rates(
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool
) -> tuple[float, ...]:
    shrink, penalty = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    step_size, unbias = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5
    return shrink, penalty, 1 - beta1, beta2, 1 - beta2, unbias, eps, step_size


def _rmsprop_rates(lr: float, alpha: float, eps: float, weight_decay: float, momentum: float) -> tuple[float, ...]:
    return lr, alpha, 1 - alpha, eps, weight_decay, momentum


def _run(kernel: Callable[..., None], gradient: Array, written: tuple[Array | None, ...], rates: Any) -> None:
    """Call a kernel on flat arrays, and copy back what lies in memory in another order."""
    flat = [None if array is None else launch(array.ravel) for array in written]
    launch(kernel, _WORK * gradient.size, launch(gradient.ravel), *flat, rates)
    for array, result in zip(written, flat, strict=True):
        if array is not None and result is not None and not array.flags.c_contiguous:
            launch(np.copyto, array, result.reshape(array.shape))


@JoinableKernel
def _sgd(gradient: Array, parameter: Array, momentum_buffer: Any, rates: tuple[Any, ...]) -> None:
    lr, momentum, keep, weight_decay, nesterov = rates
    cast = parameter.dtype.type  # a float64 scalar would widen float32 arithmetic
    for i in prange(parameter.size):
        g = gradient[i]
        if weight_decay != 0:
            g += cast(weight_decay) * parameter[i]
        if momentum_buffer is not None:
            v = cast(momentum) * momentum_buffer[i] + cast(keep) * g
            momentum_buffer[i] = v
            g = g + cast(momentum) * v if nesterov else v
        parameter[i] -= cast(lr) * g


_one_sgd = _sgd.serial


@_sgd.several
def _several_sgd(table: Array, like: Array, numbers: Array) -> None:
    for u in range(len(table)):
        row, n, length = table[u], numbers[u], table[u, 3]
        g, p, rates = array_at(row[0], length, like), array_at(row[1], length, like), (n[0], n[1], n[2], n[3], n[4])
        if row[2] == 0:
            _one_sgd(g, p, None, rates)
        else:
            _one_sgd(g, p, array_at(row[2], length, like), rates)


@JoinableKernel
def _adam(
    gradient: Array, parameter: Array, exp_avg: Array, exp_avg_sq: Array, max_exp_avg_sq: Any, rates: tuple[Any, ...]
) -> None:
    shrink, weight_decay, weight1, beta2, weight2, unbias, eps, step_size = rates
    cast = parameter.dtype.type
    for i in prange(parameter.size):
        p = cast(shrink) * parameter[i]
        g = gradient[i]
        if weight_decay != 0:
            g += cast(weight_decay) * p
        m = exp_avg[i] + cast(weight1) * (g - exp_avg[i])
        v = cast(beta2) * exp_avg_sq[i] + cast(weight2) * g * g
        exp_avg[i] = m
        exp_avg_sq[i] = v
        if max_exp_avg_sq is not None:
            v = np.maximum(v, max_exp_avg_sq[i])
            max_exp_avg_sq[i] = v
        parameter[i] = p - cast(step_size) * m / (np.sqrt(v) * cast(unbias) + cast(eps))


_one_adam = _adam.serial


@_adam.several
def _several_adam(table: Array, like: Array, numbers: Array) -> None:
    for u in range(len(table)):
        row, n, length = table[u], numbers[u], table[u, 5]
        g, p = array_at(row[0], length, like), array_at(row[1], length, like)
        m, v = array_at(row[2], length, like), array_at(row[3], length, like)
        rates = n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]
        if row[4] == 0:
            _one_adam(g, p, m, v, None, rates)
        else:
            _one_adam(g, p, m, v, array_at(row[4], length, like), rates)


@JoinableKernel
def _rmsprop(
    gradient: Array, parameter: Array, square_avg: Array, grad_avg: Any, momentum_buffer: Any, rates: tuple[Any, ...]
) -> None:
    lr, alpha, weight, eps, weight_decay, momentum = rates
    cast = parameter.dtype.type
    for i in prange(parameter.size):
        g = gradient[i]
        if weight_decay != 0:
            g += cast(weight_decay) * parameter[i]
        variance = cast(alpha) * square_avg[i] + cast(weight) * g * g
        square_avg[i] = variance
        if grad_avg is not None:
            mean = grad_avg[i] + cast(weight) * (g - grad_avg[i])
            grad_avg[i] = mean
            variance = np.maximum(variance - mean * mean, cast(0))  # rounding may take it below 0
        update = g / (np.sqrt(variance) + cast(eps))
        if momentum_buffer is not None:
            update += cast(momentum) * momentum_buffer[i]
            momentum_buffer[i] = update
        parameter[i] -= cast(lr) * update


_one_rmsprop = _rmsprop.serial


@_rmsprop.several
def _several_rmsprop(table: Array, like: Array, numbers: Array) -> None:
    for u in range(len(table)):
        row, n, length = table[u], numbers[u], table[u, 5]
        g, p, v = array_at(row[0], length, like), array_at(row[1], length, like), array_at(row[2], length, like)
        rates = n[0], n[1], n[2], n[3], n[4], n[5]
        if row[3] == 0 and row[4] == 0:
            _one_rmsprop(g, p, v, None, None, rates)
        elif row[4] == 0:
            _one_rmsprop(g, p, v, array_at(row[3], length, like), None, rates)
        elif row[3] == 0:
            _one_rmsprop(g, p, v, None, array_at(row[4], length, like), rates)
        else:
            _one_rmsprop(g, p, v, array_at(row[3], length, like), array_at(row[4], length, like), rates)
