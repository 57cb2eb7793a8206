"""Expressions on arrays: the reference of a derived norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, walk
from tinygrad_norm.derivation.rules import RULES
from tinygrad_norm.dtypes import Array, Shape


def evaluate(wanted: Iterable[Expression], known: dict[Expression, Any], axes: Mapping[str, Shape]) -> list[Array]:
    """Compute expressions in float64.

    Args:
        wanted: what to compute.
        known: the array of each symbol in them; what is computed on the way is added.
        axes: the axes of x that each name stands for.
    """
    wanted = list(wanted)
    for node in walk(*wanted, known=known):
        if node not in known:
            known[node] = _value(node, known, axes)
    return [known[each] for each in wanted]


def _value(node: Expression, known: dict[Expression, Any], axes: Mapping[str, Shape]) -> Any:
    if node.op == "number":
        return np.float64(node.value)
    over = tuple(sorted(i for name in node.value for i in axes[name])) if node.op in (*REDUCTIONS, "count") else ()
    if node.op == "count":
        shape = next(array.shape for symbol, array in known.items() if symbol.op == "x")
        return np.float64(math.prod(shape[i] for i in over))
    inputs = [known[each] for each in node.inputs]
    if node.op in REDUCTIONS:
        if node.op == "mean" and not inputs[0].size:  # NumPy warns of nothing
            return np.sum(inputs[0], axis=over, keepdims=True) * np.nan
        return getattr(np, node.op)(inputs[0], axis=over, keepdims=True)
    return RULES[node.op].function(*inputs)
