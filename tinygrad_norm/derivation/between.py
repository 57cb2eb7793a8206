"""What kernels compute between passes, once for each group or column: statistics, adjoints, and constants of loops."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tinygrad_norm.derivation.code import Between, Coefficients, safe
from tinygrad_norm.derivation.expression import Expression, walk
from tinygrad_norm.derivation.lowering import START
from tinygrad_norm.derivation.program import Program
from tinygrad_norm.derivation.trace import Traced
from tinygrad_norm.derivation.writing import Style


class Names:
    """What the values of a program are called in its text; each is a row of an array.

    Args:
        traced: the norm.
        statistics: those that come first, as the forward program writes them and the other one reads them.
        program: the program.
    """

    def __init__(self, traced: Traced, statistics: list[Expression], program: Program) -> None:
        self._taken = {*map(safe, (*traced.options, *(each.value for each in traced.parameters)))}
        self.of: dict[Expression, str] = {START: "start"}
        self.values: list[str] = []
        for value in [*statistics, *program.lowering.values]:
            if value not in self.of:
                name = traced.names.get(value, "m")
                if value.op in ("adjoint", "given"):
                    name = f"A_{self.of[value.value]}" if value.op == "adjoint" else value.value
                self._add(value, name)
        for root in (*program.lowering.shifted, *program.lowering.values.values(), *program.totals.values()):
            for node in walk(root):
                if node.op == "join" and node not in self.of:
                    self._add(node, "joined")
        self.sums = {node: f"sum{i}" for i, node in enumerate(each for stage in program.stages for each in stage.sums)}
        self.of |= self.sums

    def _add(self, value: Expression, name: str) -> None:
        if name in ("m", "joined"):
            name = f"{name}{sum(each.startswith(name) for each in self.values)}"
        elif not name.startswith("A_"):
            name = safe(name)
        while name in self._taken:
            name += "_"
        self.of[value] = name
        self._taken.add(name)
        self.values.append(name)


class Statement(NamedTuple):
    """A line that computes something for each group or column."""

    target: str
    of: Expression
    comment: str = ""
    check: str = ""
    """What has to hold of it, or the group is not one for these loops."""
    join: str = ""
    """What is done with all columns after it."""
    high: str = ""
    """The coefficient that it is the rest of."""


class Step:
    """The text of one step between passes.

    Args:
        traced, program, names, coefficients: what is computed, and how it is called.
        number: the stage.
        loaded: the names of statistics that are known before the first stage.
    """

    def __init__(
        self,
        traced: Traced,
        program: Program,
        names: Names,
        coefficients: Coefficients,
        number: int,
        loaded: Sequence[str],
    ) -> None:
        self.program, self.names, self.coefficients, self.number = program, names, coefficients, number
        self.stage = program.stages[number]
        self.style, self.traced = Style(False, traced.names), traced
        self.index = "k" if program.lowering.outer else "j"
        self.loaded = loaded if number == 0 else ()
        self.used: set[str] = {*self.loaded}
        self.is_first_mean = number == 1 and any(START in {*walk(each)} for each in program.stages[0].sums)

    def lines(self, width: str) -> list[str]:
        """The loops, over a range of this width."""
        statements = [*self._values(), *self._coefficients(), *self._totals()]
        lines = []
        for level in sorted({self._level(each.of) for each in statements} | ({0} if self.loaded else set())):
            own = self._ordered([each for each in statements if self._level(each.of) == level])
            k, loaded = self.index, self.loaded if level == 0 else ()
            checks = [f"ok[{k}] &= in_range({name}[{k}], single)" for name in loaded]
            inside = [f"    {line}" for line in (*self._loop(own), *checks)]
            lines += [f"for {self.index} in range({width}):", *inside, *(each.join for each in own if each.join)]
            if self.is_first_mean and self.program.lowering.outer and level == 0:
                lines += self._again()
        return lines

    def _ordered(self, statements: list[Statement]) -> list[Statement]:
        """Statements after those that they need."""
        pending, ordered = list(statements), []
        while pending:
            targets = {each.target for each in pending}
            ready = next(each for each in pending if not (self._needs(each.of) | {each.high}) & targets - {each.target})
            ordered.append(ready)
            pending = [each for each in pending if each is not ready]
        return ordered

    def _needs(self, of: Expression) -> set[str]:
        """The names of the values in an expression."""
        if of in self.names.of:
            return {self.names.of[of]}
        return {name for each in of.inputs for name in self._needs(each)}

    def _loop(self, statements: list[Statement]) -> Iterator[str]:
        k = self.index
        code = Between(self.names.of, self._counts, k)
        code.share([each.of for each in statements if not each.high])
        for each in statements:
            yield from code.temporaries(each.of)
            self.used |= {each.target, each.high} - {""}
            text = f"{code.code(each.of, 2)} - {each.high}[{k}]" if each.high else code.code(each.of)
            comment = f"  # {each.comment}" if each.comment else ""
            yield f"{each.target}[{k}] = {text}{comment}"
        for each in statements:
            if each.check:
                yield f"ok[{k}] &= {each.check.format(f'{each.target}[{k}]')}"
        self.used |= code.used

    def _values(self) -> Iterator[Statement]:
        seen: set[Expression] = set()
        shifted = self.program.lowering.shifted if self.is_first_mean else ()
        for root in (*shifted, *(self.program.lowering.values[value] for value in self.stage.values)):
            for node in walk(root):
                if node.op == "join" and node not in seen:
                    seen.add(node)
                    op, where = node.value
                    name = self.names.of[node]
                    width = "share" if where == "share" else f"len({name})"
                    yield Statement(name, node.inputs[0], join=f"join_{op}({name}, {width})")
        for value in self.stage.values:
            of = self.program.lowering.values[value]
            meaning = self.style.write(of) if value.op == "adjoint" else self.style.reduced(value)
            name = self.style.write(value)
            check = "" if follows_gradient(value) else "in_range({}, single)"
            yield Statement(self.names.of[value], of, meaning if name == meaning else f"{name} = {meaning}", check)

    def _coefficients(self) -> Iterator[Statement]:
        for (of, rest), name in self.coefficients.names.items():
            if self.coefficients.stages[name] != self.number:
                continue
            if rest:
                yield Statement(name, of, "what rounding took", high=self.coefficients.names[of, False])
            else:
                check = "np.isfinite({})" if follows_gradient(of) else "in_range({}, single)"
                is_checked = of in self.names.of and not follows_gradient(of)
                yield Statement(name, of, self.style.write(of), "" if is_checked else check)

    def _totals(self) -> Iterator[Statement]:
        if self.number == len(self.program.stages) - 1:
            for name, of in self.program.totals.items():
                yield Statement(name, of, "Σ over all rows")

    def _again(self) -> list[str]:
        """Where x₀ was too far from the mean, it moves, and the pass is made again."""
        first, second = [self.names.of[node] for node in self.program.lowering.shifted]
        self.used |= {"start", first, second}
        return [f"near = are_near(start, {first}, {second}, n, ok)"]

    @functools.cached_property
    def _counts(self) -> dict[frozenset[str], str]:
        rows = self.program.lowering.rows
        nodes = [
            node for of in (*self.program.lowering.values.values(), *self.program.totals.values()) for node in walk(of)
        ]
        others = {node.value for node in nodes if node.op == "count" and node.value != rows}
        return {rows: "n", **{axes: "(n * columns)" if axes & rows else "columns" for axes in others}}

    @functools.cache  # noqa: B019
    def _level(self, x: Expression) -> int:
        """How many joins it waits for."""
        if x.op == "join":
            return self._level(x.inputs[0]) + 1
        if x.op in ("accumulated", "given") or (x in self.names.of and x not in self.stage.values):
            return 0
        if x in self.program.lowering.values:
            return self._level(self.program.lowering.values[x])
        return max(map(self._level, x.inputs), default=0)


def follows_gradient(of: Expression) -> bool:
    """Whether the gradient of y is part of it."""
    return any(each.op in ("gradient", "adjoint") for each in walk(of))
