"""The way back through a norm: the gradient of each statistic, and of x the sum over every path by which it acts.

A norm is a handful of statistics, s₁ = mean(e₁(x)), s₂ = mean(e₂(x, s₁)), …, and an output y(x, s). So x acts on y by
itself and through each statistic. With g the gradient of y, what comes back to a statistic is

    A_k = mean(g ∂y/∂s_k + Σ_j A_j ∂e_j/∂s_k), over the later statistics j,

and dx = g ∂y/∂x + Σ_k A_k ∂e_k/∂x. For a sum, A_k is the sum; for a maximum, it is shared by the values that are it.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_norm.derivation.expression import (
    REDUCTIONS,
    Expression,
    adjoint_of,
    count,
    pointwise,
    reduction,
    symbol,
    walk,
)
from tinygrad_norm.derivation.rules import MINUS, RULES, ZERO, factors, is_centred, over, plus, product, times

GRADIENT = symbol("gradient", "g")


class Path(NamedTuple):
    """One way by which x or a parameter acts on y."""

    through: Expression | None
    """The statistic; None for y itself."""
    gradient: Expression


class Way(NamedTuple):
    """The way back through a norm."""

    statistics: list[Expression]
    """In the order in which they are computed."""
    adjoints: dict[Expression, Expression]
    """What comes back to each statistic, by the symbol that stands for it elsewhere; the last statistic first."""
    paths: dict[Expression, list[Path]]
    """The ways by which x and each parameter act on y."""


def way_back(y: Expression, leaves: Iterable[Expression], gradient: Expression = GRADIENT) -> Way:
    """The way back from y, with this gradient, to x and the parameters."""
    statistics = [node for node in walk(y) if node.op in REDUCTIONS]
    adjoints: dict[Expression, Expression] = {}
    arrived: dict[Expression, list[Path]] = defaultdict(list)
    positions: dict[Expression | None, frozenset[str]] = {}

    def leave(through: Expression | None, of: Expression, gradient: Expression) -> None:
        positions[through] = of.reduced
        for leaf, part in _partials(of, gradient).items():
            arrived[leaf].append(Path(through, part))

    leave(None, y, gradient)
    for statistic in reversed(statistics):
        parts = [_gather(statistic, path.gradient, positions[path.through]) for path in arrived[statistic]]
        parts = [part for part in parts if part is not ZERO]
        if parts:
            back = adjoint_of(statistic)
            adjoints[back] = functools.reduce(plus, parts)
            leave(statistic, statistic.inputs[0], _share(statistic, back))
    return Way(statistics, adjoints, {leaf: arrived[leaf] for leaf in leaves})


def gradients_of(way: Way) -> dict[str, Expression]:
    """The gradients of x and of each parameter by name, 0 where none comes, before what was broadcast is summed."""
    return {
        str(leaf.value): functools.reduce(plus, [path.gradient for path in paths]) if paths else ZERO
        for leaf, paths in way.paths.items()
    }


def _partials(of: Expression, gradient: Expression) -> dict[Expression, Expression]:
    """The gradient of each symbol and each statistic that a pointwise expression is made of."""
    pending = {of: gradient}
    found: dict[Expression, Expression] = {}
    for node in reversed([*_pointwise_walk(of)]):
        if node not in pending:
            continue
        back = pending.pop(node)
        if node.op in REDUCTIONS or not node.inputs:
            if node.op not in ("number", "option", "given"):
                found[node] = back
            continue
        for each, part in zip(node.inputs, RULES[node.op].back(back, node, *node.inputs), strict=True):
            if part is not None and each.op not in ("number", "option", "given"):
                pending[each] = plus(pending[each], part) if each in pending else part
    return found


def _pointwise_walk(of: Expression) -> list[Expression]:
    """`of` and what it is made of down to statistics, inputs first."""
    seen: set[Expression] = set()
    order: list[Expression] = []
    stack = [(of, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node.op not in REDUCTIONS:
                stack += [(each, False) for each in node.inputs]
    return order


def _gather(statistic: Expression, part: Expression, reduced: frozenset[str]) -> Expression:
    """What comes back to a statistic from an expression with these axes reduced: its mean, or its sum.

    Of an expression that has no more of the axes that a mean went over, one N-th comes back to each value.
    """
    axes = statistic.reduced - reduced
    own = statistic.value if statistic.op == "mean" else frozenset()
    back = _linear("mean", _linear("sum", part, axes - own), own & axes)
    return back if back is ZERO or not own - axes else over(back, count(own - axes))


def _linear(op: str, x: Expression, axes: frozenset[str]) -> Expression:
    """A mean or a sum, with what does not vary in front: mean(c e) = c mean(e), sum(c) = N c, mean(e - mean(e)) = 0."""
    if not axes:
        return x
    if x.op == "negative":
        return times(MINUS, _linear(op, x.inputs[0], axes))
    parts = factors(x)
    constant = [part for part in parts if _is_constant(part[0], axes)]
    varying = [part for part in parts if not _is_constant(part[0], axes)]
    if not varying:
        return x if op == "mean" else times(x, count(axes))
    if len(varying) == 1 and is_centred(varying[0][0], axes):
        return ZERO
    inner = reduction(op, product(varying), axes)
    return product([(inner, False), *constant] if constant and constant[0][1] else [*constant, (inner, False)])


def _is_constant(x: Expression, axes: frozenset[str]) -> bool:
    return axes <= x.reduced or "*" in x.reduced


def _share(statistic: Expression, back: Expression) -> Expression:
    """The gradient of what is reduced, where `back` came to the statistic."""
    if statistic.op in ("mean", "sum"):
        return back
    chosen = pointwise("where", pointwise("equal", statistic.inputs[0], statistic), 1.0, 0.0)
    return times(back, chosen / reduction("sum", chosen, statistic.value))
