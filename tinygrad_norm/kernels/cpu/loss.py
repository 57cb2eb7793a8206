"""Softmax and cross-entropy in one kernel, for logits [N, C].

Algorithm: log Σ exp(logits) in two parts, the largest logit and the rest, so that nothing overflows. Blocking: a row is
a unit of work; sums over rows are taken in parts, the same for any number of threads. Accuracy: all of it is float64,
and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel, inline
from tinygrad_norm.launch import Array, empty, empty_like, launch

_PARTS = 16
"""Into how many parts a sum over rows is cut."""


@inline
def _wanted(k: int, target: int, weight: Array, smoothing: float) -> float:
    """The probability that class k should have, times its weight."""
    return weight[k] * (smoothing / len(weight) + (1 - smoothing if k == target else 0.0))


@Kernel
def _losses(
    logits: Array, target: Array, weight: Array, smoothing: float, ignore: int, losses: Array, lse: Array
) -> None:
    rows, classes = logits.shape
    for r in prange(rows):
        highest = -np.inf
        for k in range(classes):
            highest = max(highest, np.float64(logits[r, k]))
        total = loss = 0.0
        for k in range(classes):
            total += np.exp(logits[r, k] - highest)
        rest = np.log(total)
        lse[0, r], lse[1, r] = highest, rest
        for k in range(classes):
            q = _wanted(k, target[r], weight, smoothing)
            if q != 0:  # the surprise of an impossible class may be infinite
                loss += q * (rest + (highest - logits[r, k]))
        losses[r] = 0.0 if target[r] == ignore else loss


@Kernel
def _losses_gradient(
    dlosses: Array,
    logits: Array,
    target: Array,
    weight: Array,
    lse: Array,
    smoothing: float,
    ignore: int,
    dlogits: Array,
) -> None:
    rows, classes = logits.shape
    for r in prange(rows):
        total = 0.0
        for k in range(classes):
            total += _wanted(k, target[r], weight, smoothing)
        if target[r] == ignore:
            dlogits[r] = 0  # whatever the logits are
        else:
            for k in range(classes):
                p = np.exp(logits[r, k] - lse[0, r] - lse[1, r])
                dlogits[r, k] = dlosses[r] * (p * total - _wanted(k, target[r], weight, smoothing))


@Kernel
def _check(labels: Array, classes: int, weight: Any, ignore: int, checked: Array, total: Array, wrong: Array) -> None:
    rows, sums, firsts = len(labels), np.zeros(_PARTS), np.full(_PARTS, len(labels))
    for part in prange(_PARTS):
        for r in range(rows * part // _PARTS, rows * (part + 1) // _PARTS):
            k = checked[r] = np.int64(labels[r])
            if 0 <= k < classes and k != ignore:
                sums[part] += 1.0 if weight is None else weight[k]
            elif k != ignore:
                firsts[part] = min(firsts[part], r)
    total[()], first = sums.sum(), firsts.min()
    wrong[()] = first if first < rows else -1


@Kernel
def _mean(losses: Array, total: Array, mean: Array) -> None:
    rows, sums = len(losses), np.zeros(_PARTS)
    for part in prange(_PARTS):
        for r in range(rows * part // _PARTS, rows * (part + 1) // _PARTS):
            sums[part] += losses[r]
    mean[()] = sums.sum() / total[()]


@Kernel
def _share(dmean: Array, total: Array, dlosses: Array) -> None:
    each = np.float64(dmean[()]) / total[()]
    for r in prange(len(dlosses)):
        dlosses[r] = each


def checked_classes(labels: Array, classes: int, weight: Array | None, ignore: int) -> tuple[Array, Array, Array]:
    """Labels as int64 [N], the weight of all that count, and the number of the first wrong one, or -1."""
    labels = launch(np.ascontiguousarray, launch(labels.reshape, -1))
    weight = None if weight is None else launch(np.ascontiguousarray, weight)
    checked, total, wrong = empty(labels.shape, np.int64), empty((), np.float64), empty((), np.int64)
    launch(_check, labels.size, labels, int(classes), weight, int(ignore), checked, total, wrong)
    return checked, total, wrong


def mean_loss(losses: Array, total: Array) -> Array:
    """The sum of losses [N] divided by `total`."""
    mean = empty((), losses.dtype)
    launch(_mean, losses.size, losses, total, mean)
    return mean


def mean_loss_gradient(dmean: Array, total: Array, rows: int) -> Array:
    """The gradient of each of so many losses, from that of their mean."""
    dlosses = empty((rows,), dmean.dtype)
    launch(_share, rows, dmean, total, dlosses)
    return dlosses


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, smoothing: float, ignore: int
) -> tuple[Array, Array]:
    """The cross-entropy of each row of logits [N, C] with its class in target [N]; log Σ exp(logits) in two parts."""
    losses, lse = empty(logits.shape[:1], logits.dtype), empty((2, len(logits)), np.float64)
    launch(_losses, logits.size, *_prepared(logits, target, weight), float(smoothing), int(ignore), losses, lse)
    return losses, lse


def cross_entropy_gradient(
    dloss: Array, logits: Array, target: Array, weight: Array | None, lse: Array, smoothing: float, ignore: int
) -> Array:
    """The gradient of `cross_entropy` with respect to the logits."""
    logits, target, weight = _prepared(logits, target, weight)
    dlogits, dloss, lse = empty_like(logits), *(launch(np.ascontiguousarray, array) for array in (dloss, lse))
    launch(_losses_gradient, logits.size, dloss, logits, target, weight, lse, float(smoothing), int(ignore), dlogits)
    return dlogits


def _prepared(logits: Array, target: Array, weight: Array | None) -> tuple[Array, Array, Array]:
    if weight is None:
        weight = launch(np.ones, logits.shape[1], logits.dtype)
    given = (logits, logits.dtype), (target, np.int64), (weight, weight.dtype)
    return tuple(launch(np.ascontiguousarray, array, dtype) for array, dtype in given)
