"""What einsum states, on arrays: two operands at a time, each pair as a stack of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_norm import kernels
from tinygrad_norm.dtypes import Array


def contract(terms: Sequence[str], output: str, operands: Sequence[Array]) -> Array:
    """Sum the products of `operands`, whose axes `terms` name by letters, over the letters that `output` has not."""
    waiting = list(zip(terms, operands, strict=True))
    for places in _order(terms, output, operands):
        group = [waiting.pop(place) for place in sorted(places, reverse=True)]
        while len(group) > 1:
            (left, x), (right, y) = group.pop(), group.pop()
            later = output + "".join(term for term, _ in waiting + group)
            kept = "".join(letter for letter in dict.fromkeys(left + right) if letter in later)
            group.append((kept, _pair(left, x, right, y, kept)))
        waiting += group
    ((term, x),) = waiting
    return np.einsum(f"{term}->{output}", x)


def _order(terms: Sequence[str], output: str, operands: Sequence[Array]) -> list[tuple[int, ...]]:
    """Return which to take at each step, by their places among those that are left; the result goes last."""
    if len(operands) < 3:
        return [tuple(range(len(operands)))]
    steps: list[tuple[int, ...]] = np.einsum_path(f"{','.join(terms)}->{output}", *operands, optimize="greedy")[0][1:]
    return steps


def _pair(left: str, x: Array, right: str, y: Array, kept: str) -> Array:
    """Return the product of two operands, summed over the letters that are not `kept`."""
    left, x = _without_lone(left, x, kept + right)
    right, y = _without_lone(right, y, kept + left)
    summed = "".join(letter for letter in left if letter in right and letter not in kept)
    rows = "".join(letter for letter in left if letter not in right)
    columns = "".join(letter for letter in right if letter not in left)
    if not summed or not (rows or columns):
        return np.einsum(f"{left},{right}->{kept}", x, y)
    stack = "".join(letter for letter in left if letter in right and letter in kept)
    lengths = {letter: x.shape[left.index(letter)] for letter in left}
    lengths |= {letter: max(length, lengths.get(letter, 0)) for letter, length in zip(right, y.shape, strict=True)}
    a = _matrices(left, x, stack, rows, summed, lengths)
    b = _matrices(right, y, stack, summed, columns, lengths)
    product = kernels.of(a).matmul(a, b)
    made = stack + rows + columns
    shape = (*product.shape[: len(stack)], *[lengths[letter] for letter in rows + columns])
    return np.einsum(f"{made}->{kept}", product.reshape(shape))


def _without_lone(term: str, x: Array, wanted: str) -> tuple[str, Array]:
    """Return `x` summed over the letters that nobody else wants, and on the diagonal of those that stand twice."""
    left = "".join(letter for letter in dict.fromkeys(term) if letter in wanted)
    return left, x if left == term else np.einsum(f"{term}->{left}", x)


def _matrices(term: str, x: Array, stack: str, rows: str, columns: str, lengths: dict[str, int]) -> Array:
    """Return `x` as matrices whose rows and columns run over these letters; an axis of length 1 is stretched there."""
    x = np.einsum(f"{term}->{stack + rows + columns}", x)
    depth = len(stack)
    inner = [lengths[letter] for letter in rows + columns]
    whole = np.broadcast_to(x, (*x.shape[:depth], *inner))
    return whole.reshape(*x.shape[:depth], math.prod(inner[: len(rows)]), math.prod(inner[len(rows) :]))
