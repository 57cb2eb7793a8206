"""A program: the passes of a norm over a matrix, one way, and what is computed between them.

Before each pass stands what it takes: values in float64, once for each group or column, and coefficients, which are
constants of the loop in the dtype of x. After the last pass come the results that have the shape of x.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

from tinygrad_norm.derivation.adjoints import Way
from tinygrad_norm.derivation.code import safe
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, walk
from tinygrad_norm.derivation.lowering import Lowering, sets_of, subtracted
from tinygrad_norm.derivation.trace import Traced


class Stage(NamedTuple):
    """What is computed at one place."""

    values: list[Expression]
    """The reductions and adjoints that become known here, in order."""
    sums: list[Expression]
    """What the pass that follows accumulates; none after the last one."""
    added: dict[str, Expression]
    """What the pass adds to a parameter's gradient, element by element (inner reductions)."""


class Program(NamedTuple):
    """A norm one way."""

    lowering: Lowering
    stages: list[Stage]
    written: dict[str, Expression]
    """What is written for each element: y, or dx."""
    totals: dict[str, Expression]
    """What is written once for each column: the parameters' gradients (outer reductions)."""


def forward(traced: Traced, way: Way, outer: bool) -> Program:
    """The program of y and of all statistics."""
    terms = [statistic.inputs[0] for statistic in way.statistics]
    lowering = Lowering(outer, sets_of(way.statistics), frozenset(), subtracted(traced.y, *terms))
    lowering.add(traced.y, *way.statistics)
    return _scheduled(lowering, {"y": traced.y}, {})


def backward(traced: Traced, way: Way, gradients: Mapping[str, Expression], outer: bool) -> Program:
    """The program of dx and of the parameters' gradients, by their names; `gradients` has x's under "x"."""
    lowering = Lowering(outer, sets_of(way.statistics), frozenset(way.statistics), frozenset())
    needed = {node for each in gradients.values() for node in walk(each) if node.op == "adjoint"}
    for adjoint, of in reversed(way.adjoints.items()):  # those of later statistics are part of earlier ones
        needed |= {node for node in walk(of) if node.op == "adjoint"} if adjoint in needed else set()
    for adjoint, of in way.adjoints.items():
        if adjoint in needed:
            lowering.define(adjoint, of)
    dx, others = gradients["x"], {f"d{safe(name)}": each for name, each in gradients.items() if name != "x"}
    lowering.add(dx, *others.values())
    totals = {name: lowering.summed(each) for name, each in others.items()} if outer else {}
    return _scheduled(lowering, {"dx": dx}, {} if outer else others, totals)


def _scheduled(
    lowering: Lowering,
    written: dict[str, Expression],
    added: dict[str, Expression],
    totals: dict[str, Expression] | None = None,
) -> Program:
    """Give each value and each sum the earliest stage at which all that it needs is there."""

    @functools.cache
    def ready(x: Expression) -> int:
        """The stage at which x, or all in x that is constant, is known."""
        if x.op == "accumulated":
            return ready(x.inputs[0]) + 1
        if x in lowering.values:
            return ready(lowering.values[x])
        if x.op in REDUCTIONS:
            return 0
        return max(map(ready, x.inputs), default=0)

    totals = totals or {}
    roots = [*lowering.shifted, *lowering.values.values(), *totals.values()]
    sums = [node for node in walk(*roots) if node.op == "accumulated"]
    last = max([ready(each) for each in (*sums, *written.values(), *totals.values())], default=0)
    at = {name: min(ready(each), last) for name, each in added.items()}
    return Program(
        lowering,
        [
            Stage(
                [value for value in lowering.values if ready(value) == stage],
                [node for node in sums if ready(node.inputs[0]) == stage],
                {name: each for name, each in added.items() if at[name] == stage},
            )
            for stage in range(last + 1)
        ],
        written,
        totals,
    )
