"""Losses."""

from __future__ import annotations

from typing import Any

Array = Any


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, smoothing: float, ignore: int
) -> tuple[Array, Array]:
    """The cross-entropy of each row of logits [N, C] with its class in target [N].

    Σ_k q_k (log Σ exp(logits) - logit_k), where q is the weighted and smoothed target; 0 where the class is `ignore`.

    Returns:
        The losses [N], and in float64 [2, N] the highest logits and log Σ exp(logits - highest): large logits would
        take all digits of a sum of the two.
    """
    xp = logits.__array_namespace__()
    wide = xp.astype(logits, xp.float64)  # as for the norms: a difference of large logits keeps its digits
    highest = xp.max(wide, axis=1, keepdims=True)
    rest = xp.log(xp.sum(xp.exp(wide - highest), axis=1, keepdims=True))
    q = _soft_target(wide, target, weight, smoothing, ignore)
    surprise = xp.where(q == 0, xp.zeros_like(wide), rest + (highest - wide))  # a class of logit -inf may have q = 0
    return _like(logits, xp.sum(q * surprise, axis=1)), xp.concat([highest.T, rest.T])


def cross_entropy_gradient(
    dloss: Array, logits: Array, target: Array, weight: Array | None, lse: Array, smoothing: float, ignore: int
) -> Array:
    """The gradient with respect to the logits: dloss (p Σ q - q), where p = softmax(logits); 0 where it is ignored."""
    xp = logits.__array_namespace__()
    wide, highest, rest = xp.astype(logits, xp.float64), lse[0, :][:, None], lse[1, :][:, None]
    q = _soft_target(wide, target, weight, smoothing, ignore)
    p = xp.exp(wide - highest - rest)
    found = dloss[:, None] * (p * xp.sum(q, axis=1, keepdims=True) - q)
    return _like(logits, xp.where((target == ignore)[:, None], xp.zeros_like(found), found))


def _soft_target(logits: Array, target: Array, weight: Array | None, smoothing: float, ignore: int) -> Array:
    """q [N, C]: 1 - smoothing at the class, and smoothing / C everywhere, times the class weights; 0 if ignored.

    Source: Szegedy et al. 2016, section 7.
    """
    xp = logits.__array_namespace__()
    one_hot = xp.astype(xp.arange(logits.shape[1])[None, :] == target[:, None], logits.dtype)
    q = (1 - smoothing) * one_hot + smoothing / logits.shape[1]
    q = q if weight is None else q * weight[None, :]
    return q * xp.astype(target != ignore, logits.dtype)[:, None]


def _like(like: Array, x: Array) -> Array:
    """x, rounded to the dtype of `like`."""
    return x.__array_namespace__().astype(x, like.dtype, copy=False)
