"""What kernels compute between passes, once for each group or column: statistics, adjoints, and constants of loops."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tinygrad_norm.derivation.code import Between, Coefficients, safe
from tinygrad_norm.derivation.expression import Expression, walk
from tinygrad_norm.derivation.lowering import SHARE, START
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
        self._taken = {*map(safe, (*traced.options, *(each.value for each in (*traced.parameters, *traced.data))))}
        self.of: dict[Expression, str] = {START: "start"}
        self.values: list[str] = []
        self.joins: list[str] = []
        """What is reduced over other sets of axes than the rows."""
        for value in [*statistics, *program.lowering.values]:
            if value not in self.of:
                name = traced.names.get(value, "m")
                if value.op in ("adjoint", "given"):
                    name = f"A_{self.of[value.value]}" if value.op == "adjoint" else value.value
                self._add(value, name, self.values)
        for root in (*program.lowering.shifted, *program.lowering.values.values(), *program.totals.values()):
            for node in walk(root):
                if node.op == "join" and node not in self.of:
                    self._add(node, "joined", self.values if node.value[1] == SHARE else self.joins)
        self.sums = {node: f"sum{i}" for i, node in enumerate(each for stage in program.stages for each in stage.sums)}
        self.of |= self.sums

    def _add(self, value: Expression, name: str, row_of: list[str]) -> None:
        if name in ("m", "joined"):
            name = f"{name}{sum(each.startswith(name) for each in (*self.values, *self.joins))}"
        elif not name.startswith("A_"):
            name = safe(name)
        while name in self._taken:
            name += "_"
        self.of[value] = name
        self._taken.add(name)
        row_of.append(name)


class Statement(NamedTuple):
    """A line that computes something for each group or column."""

    target: str
    of: Expression
    comment: str = ""
    check: str = ""
    """What has to hold of it, or the group is not one for these loops."""
    join: Join | None = None
    """What is done with it after it is known for all columns, or for all groups."""
    high: str = ""
    """The coefficient that it is the rest of."""


class Join(NamedTuple):
    """A reduction over columns that share a statistic, or over another set of axes than the rows."""

    op: str
    over: Any
    """`SHARE`, or the number of the set."""
    name: str


class Part(NamedTuple):
    """What a step computes of one group, up to where groups are joined."""

    lines: list[str]
    used: set[str]
    """The arrays in them."""
    joins: list[Join]
    """What is done next, in all groups."""


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
        self.used: set[str] = set()
        self.is_first_mean = number == 1 and any(START in {*walk(each)} for each in program.stages[0].sums)

    def parts(self, width: str) -> list[Part]:
        """The loops, over a range of this width."""
        statements = [*self._values(), *self._coefficients(), *self._totals()]
        levels = sorted({self._level(each.of) for each in statements} | ({(0, 0)} if self.loaded else set()))
        parts = []
        for number in range(levels[-1][0] + 1 if levels else 1):
            self.used, lines, joins = {*self.loaded} if number == 0 else set(), [], []
            again = self._again() if number == 0 and self.is_first_mean and self.program.lowering.outer else []
            if self.program.lowering.others:
                lines, again = again, []
            for level in levels:
                if level[0] == number:
                    own = self._ordered([each for each in statements if self._level(each.of) == level])
                    lines += [f"for {self.index} in range({width}):", *self._loop(own, level)]
                    joined = [each.join for each in own if each.join]
                    lines += [f"join_{op}({name}, (share, 1))" for op, over, name in joined if over == SHARE]
                    joins += [each for each in joined if each.over != SHARE]
                    lines, again = [*lines, *again], []
            parts.append(Part(lines, self.used, joins))
        return parts

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

    def _loop(self, statements: list[Statement], level: tuple[int, int]) -> Iterator[str]:
        k = self.index
        code = Between(self.names.of, self._counts, k)
        code.share([each.of for each in statements if not each.high])
        for each in statements:
            yield from (f"    {line}" for line in code.temporaries(each.of))
            self.used |= {each.target, each.high} - {""}
            text = f"{code.code(each.of, 2)} - {each.high}[{k}]" if each.high else code.code(each.of)
            comment = f"  # {each.comment}" if each.comment else ""
            yield f"    {each.target}[{k}] = {text}{comment}"
        for each in statements:
            if each.check:
                yield f"    ok[{k}] &= {each.check.format(f'{each.target}[{k}]')}"
        for name in self.loaded if level == (0, 0) else ():
            yield f"    ok[{k}] &= in_range({name}[{k}], single)"
        self.used |= code.used

    def _values(self) -> Iterator[Statement]:
        seen: set[Expression] = set()
        shifted = self.program.lowering.shifted if self.is_first_mean else ()
        for root in (*shifted, *(self.program.lowering.values[value] for value in self.stage.values)):
            for node in walk(root):
                if node.op == "join" and node not in seen:
                    seen.add(node)
                    name, (op, over) = self.names.of[node], node.value
                    yield Statement(name, node.inputs[0], join=Join(op, over, name))
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
        rows, others = self.program.lowering.rows, self.program.lowering.others
        single = {rows: "n", **{frozenset([name]): f"n{i}" for i, name in enumerate(others)}}
        names = dict(single)
        for node in walk(*self.program.lowering.values.values(), *self.program.totals.values()):
            if node.op == "count" and node.value not in names:
                parts = [name for axes, name in single.items() if axes <= node.value]
                names[node.value] = f"({' * '.join(parts)})"
        return names

    @functools.cache  # noqa: B019
    def _level(self, x: Expression) -> tuple[int, int]:
        """How many joins it waits for: of groups, and since then of columns that share a statistic."""
        if x.op == "join":
            part, level = self._level(x.inputs[0])
            return (part, level + 1) if x.value[1] == SHARE else (part + 1, 0)
        if x.op in ("accumulated", "given") or (x in self.names.of and x not in self.stage.values):
            return 0, 0
        if x in self.program.lowering.values:
            return self._level(self.program.lowering.values[x])
        return max(map(self._level, x.inputs), default=(0, 0))


def follows_gradient(of: Expression) -> bool:
    """Whether the gradient of y is part of it."""
    return any(each.op in ("gradient", "adjoint") for each in walk(of))
