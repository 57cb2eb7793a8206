"""Lowering: from a norm to what loops over a matrix compute, pass by pass.

A matrix is read in one of two ways. In an inner reduction a statistic belongs to a group of rows: along a row it is a
constant, and parameters vary. In an outer reduction a group has a statistic for each column: from row to row x and its
gradient vary, and parameters are constants as well. So "constant" means: what may be taken out of a loop over a group.

A reduction becomes a sum of terms that vary, with what is constant around it. Two that sum the same share the sum, and
all that need nothing of each other share a pass. A mean of x is taken of d = x - x₀, and the mean of (x - mean(x))² in
the same pass, as mean(d²) - mean(d)².

A definition may name several sets of axes. What all reductions of x have in common are the rows that loops go over;
over the other sets, only what the rows came to is reduced: the mean over batch and pixels is the mean over the batch of
means over pixels, and to a variance of rows comes the squared distance of their mean from that of all.
Source: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, The American Statistician, 1983.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any, NamedTuple

from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, count, made, number, pointwise, symbol, walk
from tinygrad_norm.derivation.rules import MINUS, ONE, factors, product

START = made("start")
"""x₀: a value near the mean of x."""

X = symbol("x", "x")


SHARE = "share"
"""Stands, in what is joined, for the columns that share a statistic; a number for one of the other sets."""


class LoweringError(ValueError):
    """A norm is none of those that become loops; the message tells what of it is not."""


class Sets(NamedTuple):
    """The sets of axes of a norm, by their names."""

    rows: frozenset[str]
    """Those that all reductions of x go over."""
    others: tuple[str, ...] = ()


def sets_of(statistics: list[Expression]) -> Sets:
    """The sets of axes that statistics go over.

    Raises:
        LoweringError: x is reduced over sets that have no axes in common, for which a matrix has no loops.
    """
    of_x = [each.value for each in statistics if _varies(each.inputs[0], outer=True)] or [
        each.value for each in statistics[:1]
    ]
    rows = frozenset.intersection(*of_x) if of_x else frozenset()
    if of_x and not rows:
        raise _too_many(of_x)
    return Sets(rows, tuple(sorted({name for each in statistics for name in each.value} - rows)))


def _too_many(sets: list[frozenset[str]]) -> LoweringError:
    told = sorted({", ".join(sorted(each)) for each in sets})
    return LoweringError(f"it reduces values over {' and over '.join(told)}")


class Lowering:
    """The sums that a norm is made of, and what is made of them.

    Args:
        outer: how the matrix is read.
        sets: the names of the axes that a sum goes over, and the other sets of axes.
        given: statistics that are known already.
        exact: statistics of which no digit may be lost.
    """

    def __init__(self, outer: bool, sets: Sets, given: frozenset[Expression], exact: frozenset[Expression]) -> None:
        self.outer, (self.rows, self.others), self.given, self.exact = outer, sets, given, exact
        self.values: dict[Expression, Expression] = {}
        """Each reduction and each adjoint, in an order in which they can be computed, as an expression of sums."""
        self.shifted: tuple[Expression, ...] = ()
        """Σ d and Σ d² of d = x - x₀, if there are any: they tell whether x₀ is near the mean."""
        self._sums: dict[Any, Expression] = {}

    def varies(self, x: Expression) -> bool:
        """Whether x changes within a loop over a group."""
        return _varies(x, self.outer)

    def add(self, *expressions: Expression) -> None:
        """Lower the reductions in some expressions."""
        for node in walk(*expressions):
            if node.op in REDUCTIONS and node not in self.given and node not in self.values:
                self.values[node] = self._reduction(node)

    def define(self, adjoint: Expression, of: Expression) -> None:
        """Lower what comes back to a statistic."""
        self.add(of)
        self.values[adjoint] = of

    def summed(self, x: Expression, op: str = "sum") -> Expression:
        """The sum of x over a group's rows."""
        self.add(x)
        parts = [(MINUS, False), *factors(x.inputs[0])] if x.op == "negative" else factors(x)
        varying = [part for part in parts if self.varies(part[0])]
        constant = [part for part in parts if not self.varies(part[0])]
        return product([(self._sum(op, product([(ONE, False), *varying])), False), *constant])

    def _reduction(self, node: Expression) -> Expression:
        x, op, axes = node.inputs[0], node.op, node.value
        if not self.varies(x):
            return self._of_statistics(op, x, axes)
        if not self.rows <= axes:
            raise _too_many([self.rows, axes])
        return self._over_others(op, self._over_rows(op, x, node in self.exact), axes - self.rows)

    def _over_rows(self, op: str, x: Expression, exact: bool) -> Expression:
        if op in ("max", "min"):
            return self._joined(op, self._sum(op, x))
        n = count(self.rows)
        if op == "mean" and x is X:
            return START + self._shifted()[0] / n
        centre = _centre(x)
        if op == "mean" and centre is not None and self.rows <= centre.value:
            first, second = self._shifted()
            own = second / n - pointwise("square", first / n)
            return own if centre.value == self.rows else own + pointwise("square", START + first / n - centre)
        total = self._joined("sum", self.summed(x, "exact" if exact else "sum"))
        return total / n if op == "mean" else total

    def _shifted(self) -> tuple[Expression, Expression]:
        """Σ d and Σ d² of d = x - x₀."""
        d = X - START
        first, second = (self._joined("sum", self._sum("sum", each)) for each in (d, pointwise("square", d)))
        self.shifted = first, second
        return first, second

    def _of_statistics(self, op: str, x: Expression, axes: frozenset[str]) -> Expression:
        """A reduction of what is the same in each row of a group."""
        own, others = axes & self.rows, axes - self.rows
        if own not in (frozenset(), self.rows):
            raise _too_many([self.rows, own])
        return self._over_others(op, x * count(own) if own and op == "sum" else x, others)

    def _over_others(self, op: str, x: Expression, axes: frozenset[str]) -> Expression:
        """A reduction of what the rows came to, over other sets of axes, one after the other."""
        if axes and not self.outer:
            raise LoweringError(f"it reduces statistics over {', '.join(sorted(axes))}")
        for name in sorted(axes):
            x = made("join", (x,), ("sum" if op == "mean" else op, self.others.index(name)))
        return x / count(axes) if axes and op == "mean" else x

    def _joined(self, op: str, x: Expression) -> Expression:
        """What the columns that share a statistic have together; where there are other sets of axes, none do."""
        return made("join", (x,), (op, SHARE)) if self.outer and not self.others else x

    def _sum(self, op: str, term: Expression) -> Expression:
        """The sum of a term, or its extreme; one for all terms that are the same product."""
        key = op, frozenset(Counter(factors(term)).items())
        return self._sums.setdefault(key, made("accumulated", (term,), op))


@functools.cache
def _varies(x: Expression, outer: bool) -> bool:
    if x.op in ("x", "gradient", "data"):
        return True
    if x.op == "parameter":
        return not outer
    return x.op not in (*REDUCTIONS, "adjoint", "accumulated", "join", "given") and any(
        _varies(i, outer) for i in x.inputs
    )


def _centre(x: Expression) -> Expression | None:
    """The mean of x that x is the square of a deviation from, if it is one."""
    if not (
        x.op == "square"
        or (x.op == "pow" and x.inputs[1] is number(2))
        or (x.op == "multiply" and x.inputs[0] is x.inputs[1])
    ):
        return None
    of = x.inputs[0]
    if of.op != "subtract" or of.inputs[0] is not X or of.inputs[1].op != "mean" or of.inputs[1].inputs[0] is not X:
        return None
    return of.inputs[1]


def subtracted(*expressions: Expression) -> frozenset[Expression]:
    """The reductions whose digits a difference may cost: one from what varies, or from another statistic."""
    found: set[Expression] = set()
    for node in walk(*expressions):
        if node.op == "subtract":
            one, other = (_varies(each, True) for each in node.inputs)
            constants = [each for each, varies in zip(node.inputs, (one, other), strict=True) if not varies]
            found.update(each for each in walk(*constants) if each.op in REDUCTIONS)
    return frozenset(found)
