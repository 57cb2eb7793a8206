"""What the texts of all kernels have in common: names, loops, and the arguments that they need."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tinygrad_norm.derivation.between import Names, Step
from tinygrad_norm.derivation.code import Coefficients, Loop, safe
from tinygrad_norm.derivation.expression import Expression, walk
from tinygrad_norm.derivation.lowering import START
from tinygrad_norm.derivation.program import Program
from tinygrad_norm.derivation.trace import Traced
from tinygrad_norm.derivation.writing import Style

FIRST = {"sum": "0.0", "exact": "0.0", "max": "-np.inf", "min": "np.inf"}
"""What an accumulation begins with."""

KIND = {"sum": "sum", "exact": "sum", "max": "max", "min": "min"}
"""Which of the functions of `kernels/cpu/reduction.py` serves it."""

EXTREMES = {"max": "maximum", "min": "minimum"}


class Writer:
    """One program and its names.

    Args:
        traced: the norm.
        statistics: those that the kernels are given, or write for the way back.
        program: what is to be written.
        backward: which of the two programs it is.
        at: how an element is indexed in a pass, and where results are written: see `Loop`.
    """

    def __init__(
        self,
        traced: Traced,
        statistics: list[Expression],
        program: Program,
        backward: bool,
        at: tuple[tuple[str, str, str], tuple[str, str, str]],
    ) -> None:
        self.traced, self.program, self.backward, self.stages = traced, program, backward, program.stages
        self.name = f"{'outer' if program.lowering.outer else 'inner'}_{'gradient' if backward else 'forward'}"
        self.style, self.last = Style(False, traced.names), len(program.stages) - 1
        self.data = [*(["dy"] if backward else []), "x", *(safe(each.value) for each in traced.data)]
        self.result = "dx" if backward else "y"
        self.parameters = [safe(each.value) for each in traced.parameters]
        self.options = [
            safe(each) for each in traced.options if not any(each in node.value for node in _sets(statistics))
        ]
        self.names, self.coefficients = Names(traced, statistics, program), Coefficients()
        self.statistics = [self.names.of[each] for each in statistics]
        self.loaded = self.statistics if backward else self.statistics[: len(traced.given)]
        self.stored = [] if backward else self.statistics[len(traced.given) :]
        self.sums = [*self.names.sums.values()]
        added = {name for stage in program.stages for name in stage.added}
        self.added = [f"d{name}" for name in self.parameters if f"d{name}" in added]
        self.loops: list[Loop] = []
        self.lines: list[list[str]] = []
        self.codes: list[list[str]] = []
        for number in range(len(self.stages)):
            self._loop(number, at[number == self.last])
        self.c = [*self.coefficients.names.values()]
        steps = [Step(traced, program, self.names, self.coefficients, i, self.loaded) for i in range(len(self.stages))]
        self.found = [step.parts("{width}") for step in steps]
        self.line = any("line)" in code for codes in (*self.codes, *self.lines) for code in codes)

    def _loop(self, number: int, at: tuple[str, str, str]) -> None:
        """Write the loop of a stage: its lines, and the code of each sum, of what is added, and of the result."""
        loop, stage = Loop(self.program.lowering, self.coefficients, number, at), self.stages[number]
        roots = [each.inputs[0] for each in stage.sums if each.value != "exact"] + [*stage.added.values()]
        written = [*self.program.written.values()] if number == self.last else []
        lines, codes = loop.write(roots + written, self.style.write)
        for i, each in enumerate(stage.sums):
            if each.value == "exact":
                codes.insert(i, loop.exact(each.inputs[0]))
        self.loops.append(loop)
        self.lines.append(lines)
        self.codes.append(codes)

    def given(self) -> list[str]:
        """What a kernel is given, before its results."""
        return [
            *self.data,
            *self.listed(parameters=self.parameters, options=self.options, line=self.line),
            "units",
            *self.listed(statistics=self.statistics),
            "fine",
        ]

    @staticmethod
    def listed(**needed: Any) -> list[str]:
        """The names of the arguments that are needed."""
        return [name for name, need in needed.items() if need]

    def uses(self, number: int, names: Iterable[str]) -> list[str]:
        """Which of these the loop of a stage uses."""
        return [name for name in names if name in self.loops[number].used]

    def has_line(self, number: int) -> bool:
        """Whether the loop of a stage applies an activation."""
        return any("line)" in code for code in (*self.lines[number], *self.codes[number]))

    def starts(self, number: int) -> bool:
        """Whether a pass takes values from x₀."""
        return any(START in {*walk(each)} for each in self.stages[number].sums)

    def real(self, number: int) -> list[str]:
        """Lines that name what makes numbers of the dtype of x, and 1, where the code of a stage needs them."""
        code = " ".join([*self.lines[number], *self.codes[number]])
        lines = ["real = x.dtype.type"] if "real" in code or "one /" in code else []
        return lines + (["one = real(1)"] if "one /" in code else [])

    def find(self, number: int, width: str, part: int = 0) -> tuple[list[str], list[str], set[str]]:
        """The lines of a step, those that name what they need beside arrays, and the names of arrays in them."""
        lines, used, _ = self.found[number][part]
        lines = [line.replace("{width}", width) for line in lines]
        text = "\n".join(lines)
        head = [f"{name} = options[{i}]" for i, name in enumerate(self.options) if has_word(name, text)]
        head += ["one = 1.0"] if "one /" in text else []
        head += ["real = np.float64"] if "real)" in text else []
        return lines, head, used

    def added_codes(self, number: int) -> list[tuple[str, str]]:
        """What a loop adds to parameters' gradients, and its code."""
        before, added = len(self.stages[number].sums), self.stages[number].added
        return [*zip(added, self.codes[number][before:], strict=False)]

    def rows(self, names: Iterable[str], of: str, known: list[str]) -> list[str]:
        """Lines that give some of the rows of `of` their names."""
        wanted = set(names)
        return [f"{name} = {of}[{i}]" for i, name in enumerate(known) if name in wanted]


def _sets(statistics: list[Expression]) -> list[Expression]:
    return [each for each in statistics if each.op != "given"]


def has_word(name: str, text: str) -> bool:
    """Whether a name is part of some code."""
    return re.search(rf"\b{name}\b", text) is not None


def taken(op: str, total: str, value: str) -> str:
    """A line that takes a value into an accumulation."""
    return f"{total} = {EXTREMES[op]}({value}, {total})" if op in EXTREMES else f"{total} += {value}"


def block(head: str, *lines: str) -> list[str]:
    """Lines with a head, indented under it."""
    return [head, *(f"    {line}" for line in lines)]


def function(decorator: str, name: str, arguments: Iterable[str], about: str, *lines: str) -> str:
    """The text of a function."""
    return "\n".join([f"@{decorator}", *block(f"def {name}({', '.join(arguments)}):", f'"""{about}"""', *lines)])


def terms(w: Writer, number: int, decorator: str, arguments: Iterable[str]) -> str:
    """The function of what a number adds to the sums of a pass, and to parameters' gradients."""
    stage = w.stages[number]
    of = [node.inputs[0] for node in stage.sums] + [*stage.added.values()]
    codes = [f"{code},  # {w.style.write(each)}" for each, code in zip(of, w.codes[number], strict=False)]
    body = [*w.real(number), *w.lines[number], "return (", *(f"    {code}" for code in codes), ")"]
    about = "What a number adds to the sums."
    return function(decorator, f"_{w.name}_terms_{number}", arguments, about, *body)


def tuple_of(parts: Iterable[str]) -> str:
    """The text of a tuple."""
    parts = [*parts]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
