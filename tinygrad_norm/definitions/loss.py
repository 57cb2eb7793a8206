"""Losses."""

from __future__ import annotations

from tinygrad_norm.definitions.special import stop_gradient
from tinygrad_norm.dtypes import AnyArray


def cross_entropy(
    logits: AnyArray, target: AnyArray, weight: AnyArray | None, smoothing: float, ignore: int
) -> tuple[AnyArray, AnyArray]:
    """The cross-entropy of each row of logits [N, C] with its class in target [N].

    Σ_k q_k (log Σ exp(logits) - logit_k), where q is the weighted and smoothed target; 0 where the class is `ignore`.

    Returns:
        The losses [N], and in float64 [2, N] the highest logits and log Σ exp(logits - highest): large logits would
        take all digits of a sum of the two. In rows that are ignored they mean nothing.
    """
    xp = logits.__array_namespace__()
    wide = xp.astype(logits, xp.float64, copy=False)  # a difference of large logits keeps its digits
    wide = xp.where((target == ignore)[:, None], 0.0, wide)
    highest = stop_gradient(xp.max(wide, axis=1, keepdims=True))  # it cancels
    rest = xp.log(xp.sum(xp.exp(wide - highest), axis=1, keepdims=True))
    q = _soft_target(target, logits.shape[1], weight, smoothing, ignore)
    surprise = xp.where(q == 0, 0.0, rest + (highest - wide))  # a class of logit -inf may have q = 0
    losses = xp.sum(q * surprise, axis=1)
    return xp.astype(losses, logits.dtype, copy=False), xp.concat([highest.mT, rest.mT])


def cross_entropy_gradient(
    dloss: AnyArray,
    logits: AnyArray,
    target: AnyArray,
    weight: AnyArray | None,
    lse: AnyArray,
    smoothing: float,
    ignore: int,
) -> AnyArray:
    """The gradient with respect to the logits: dloss (p Σ q - q), where p = softmax(logits); 0 where it is ignored."""
    xp = logits.__array_namespace__()
    wide, highest, rest = xp.astype(logits, xp.float64, copy=False), lse[0, :][:, None], lse[1, :][:, None]
    q = _soft_target(target, logits.shape[1], weight, smoothing, ignore)
    p = xp.exp(wide - highest - rest)
    found = dloss[:, None] * (p * xp.sum(q, axis=1, keepdims=True) - q)
    return xp.astype(xp.where((target == ignore)[:, None], 0.0, found), logits.dtype, copy=False)


def checked_classes(
    labels: AnyArray, classes: int, weight: AnyArray | None, ignore: int
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Labels as int64 [N], the weight of all that count, in float64, and the number of the first wrong one, or -1.

    A class is from 0 to `classes` - 1, or `ignore`, which does not count.
    """
    xp = labels.__array_namespace__()
    labels = xp.astype(xp.reshape(labels, (-1,)), xp.int64)
    counts, inside = labels != ignore, (labels >= 0) & (labels < classes)
    weights = xp.ones((classes,), dtype=xp.float64) if weight is None else xp.astype(weight, xp.float64)
    total = xp.sum(xp.where(counts & inside, weights[xp.where(inside, labels, 0)], 0.0))
    wrong = xp.nonzero(counts & ~inside)[0]
    return labels, xp.asarray(total), xp.asarray(wrong[0] if wrong.shape[0] else -1)


def mean_loss(losses: AnyArray, total: AnyArray) -> AnyArray:
    """The sum of losses [N], taken in float64, divided by `total`."""
    xp = losses.__array_namespace__()
    return xp.astype(xp.asarray(xp.sum(losses, dtype=xp.float64) / total), losses.dtype)


def mean_loss_gradient(dmean: AnyArray, total: AnyArray, rows: int) -> AnyArray:
    """The gradient of each of so many losses, from that of their mean."""
    xp = dmean.__array_namespace__()
    return xp.full((rows,), xp.astype(xp.asarray(dmean / total), dmean.dtype), dtype=dmean.dtype)


def _soft_target(target: AnyArray, classes: int, weight: AnyArray | None, smoothing: float, ignore: int) -> AnyArray:
    """q [N, C]: 1 - smoothing at the class, and smoothing / C everywhere, times the class weights; 0 if ignored.

    Source: Szegedy et al., Rethinking the Inception architecture for computer vision, 2016, section 7.
    """
    xp = target.__array_namespace__()
    one_hot = xp.astype(xp.arange(classes)[None, :] == target[:, None], xp.float64)
    q = xp.where((target == ignore)[:, None], 0.0, (1 - smoothing) * one_hot + smoothing / classes)
    return q if weight is None else q * weight[None, :]
