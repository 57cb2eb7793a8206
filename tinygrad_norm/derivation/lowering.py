"""Lowering: from a norm to what loops over a matrix compute, pass by pass.

A matrix is read in one of two ways. In an inner reduction a statistic belongs to a group of rows: along a row it is a
constant, and parameters vary. In an outer reduction a group has a statistic for each column: from row to row x and its
gradient vary, and parameters are constants as well. So "constant" means: what may be taken out of a loop over a group.

A reduction becomes a sum of terms that vary, with what is constant around it. Two that sum the same share the sum, and
all that need nothing of each other share a pass. A mean of x is taken of d = x - x₀, and the mean of (x - mean(x))² in
the same pass, as mean(d²) - mean(d)².
Source: Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance, The American Statistician, 1983.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, count, made, number, pointwise, symbol, walk
from tinygrad_norm.derivation.rules import MINUS, ONE, factors, product

START = made("start")
"""x₀: a value near the mean of x."""

X = symbol("x", "x")


class LoweringError(ValueError):
    """A norm is none of those that become loops; the message tells what of it is not."""


class Lowering:
    """The sums that a norm is made of, and what is made of them.

    Args:
        outer: how the matrix is read.
        rows: the names of the axes that a sum goes over; what goes over others is made of statistics.
        given: statistics that are known already.
        exact: statistics of which no digit may be lost.
    """

    def __init__(
        self, outer: bool, rows: frozenset[str], given: frozenset[Expression], exact: frozenset[Expression]
    ) -> None:
        self.outer, self.rows, self.given, self.exact = outer, rows, given, exact
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
        if axes != self.rows:
            others, these = ", ".join(sorted(self.rows)), ", ".join(sorted(axes))
            raise LoweringError(f"it reduces values over {these} and over {others}")
        if op in ("max", "min"):
            return self._joined(op, self._sum(op, x))
        n = count(axes)
        if op == "mean" and x is X:
            return START + self._shifted()[0] / n
        if op == "mean" and _squares_deviation(x, axes):
            first, second = self._shifted()
            return second / n - pointwise("square", first / n)
        total = self._joined("sum", self.summed(x, "exact" if node in self.exact else "sum"))
        return total / n if op == "mean" else total

    def _shifted(self) -> tuple[Expression, Expression]:
        """Σ d and Σ d² of d = x - x₀."""
        d = X - START
        first, second = (self._joined("sum", self._sum("sum", each)) for each in (d, pointwise("square", d)))
        self.shifted = first, second
        return first, second

    def _of_statistics(self, op: str, x: Expression, axes: frozenset[str]) -> Expression:
        """A reduction of what is the same in each row of a group."""
        if axes == self.rows:
            return x * count(axes) if op == "sum" else x
        if not self.outer or axes & self.rows:
            raise LoweringError(f"it reduces statistics over {', '.join(sorted(axes))}")
        joined = made("join", (x,), ("sum" if op == "mean" else op, "columns"))
        return joined / count(axes) if op == "mean" else joined

    def _joined(self, op: str, x: Expression) -> Expression:
        """What the columns that share a statistic have together."""
        return made("join", (x,), (op, "share")) if self.outer else x

    def _sum(self, op: str, term: Expression) -> Expression:
        """The sum of a term, or its extreme; one for all terms that are the same product."""
        key = op, frozenset(Counter(factors(term)).items())
        return self._sums.setdefault(key, made("accumulated", (term,), op))


@functools.cache
def _varies(x: Expression, outer: bool) -> bool:
    if x.op in ("x", "gradient"):
        return True
    if x.op == "parameter":
        return not outer
    return x.op not in (*REDUCTIONS, "adjoint", "accumulated", "join", "given") and any(
        _varies(i, outer) for i in x.inputs
    )


def _squares_deviation(x: Expression, axes: frozenset[str]) -> bool:
    """Whether it is (x - mean(x))²."""
    if not (x.op == "square" or (x.op == "pow" and x.inputs[1] is number(2))):
        return False
    of = x.inputs[0]
    return (
        of.op == "subtract"
        and of.inputs[0] is X
        and (of.inputs[1].op == "mean" and of.inputs[1].inputs[0] is X and of.inputs[1].value == axes)
    )


def subtracted(*expressions: Expression) -> frozenset[Expression]:
    """The reductions whose digits a difference may cost: one from what varies, or from another statistic."""
    found: set[Expression] = set()
    for node in walk(*expressions):
        if node.op == "subtract":
            one, other = (_varies(each, True) for each in node.inputs)
            constants = [each for each, varies in zip(node.inputs, (one, other), strict=True) if not varies]
            found.update(each for each in walk(*constants) if each.op in REDUCTIONS)
    return frozenset(found)
