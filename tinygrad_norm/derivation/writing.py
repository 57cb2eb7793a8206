"""Formulas as text and as LaTeX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from tinygrad_norm.derivation.adjoints import Way
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, walk
from tinygrad_norm.derivation.rules import RULES, factors, plus, product
from tinygrad_norm.derivation.trace import LETTERS, Traced

_LATEX = {"μ": r"\mu", "σ²": r"\sigma^2", "ε": r"\varepsilon", "γ": r"\gamma", "β": r"\beta"}


class Style(NamedTuple):
    """How formulas are written."""

    latex: bool
    names: Mapping[Expression, str]

    def name(self, text: str) -> str:
        """A name, in Greek where the field has a letter for it, and no other name before it has that."""
        others = (each for each in self.names.values() if LETTERS.get(each) == LETTERS.get(text, ""))
        text = LETTERS.get(text, text) if next(others, text) == text else text
        if not self.latex:
            return text
        escaped = text.replace("_", r"\_")
        return _LATEX.get(text, text if len(text) == 1 else rf"\mathrm{{{escaped}}}")

    def write(self, x: Expression, within: int = 0) -> str:
        """An expression, in brackets if it binds less closely than what is around it."""
        if x.op == "number":
            return f"{x.value:g}" if x.value >= 0 or not within else f"({x.value:g})"
        if x.op == "gradient":
            return "g"
        if x.op == "adjoint":
            return f"A_{{{self.name(self.names[x.value])}}}" if self.latex else f"A[{self.name(self.names[x.value])}]"
        if x.op == "count":
            return "N"
        if x.op == "start":
            return "x_0" if self.latex else "x₀"
        if not x.inputs:
            return self.name(str(x.value))
        if x in self.names:
            name = self.name(self.names[x])
            return f"({name})" if within > 2 and name.endswith(("²", "^2")) else name
        if x.op in REDUCTIONS:
            return self.reduced(x)
        if x.op in ("activated", "times_derivative"):
            return "φ(z)" if x.op == "activated" else "g · φ'(z)"
        if x.op in ("multiply", "divide"):
            divisors = Counter(each for each, divides in factors(x) if divides)
            if divisors and max(divisors.values()) > 1:
                return self._quotient(x, divisors, within)
        rule = RULES[x.op]
        fraction = self.latex and x.op in ("divide", "rsqrt")
        left, right = rule.binds + (x.op in ("pow", "square")), rule.binds + (x.op in ("subtract", "divide"))
        around = [0] * 9 if fraction or rule.binds == 9 or x.op == "rsqrt" else [left, right]
        parts = [self.write(each, least) for each, least in zip(x.inputs, around, strict=False)]
        form = rule.latex if self.latex else rule.text
        if not form:
            return (rf"\mathrm{{{x.op}}}" if self.latex else x.op) + f"({', '.join(parts)})"
        if rule.binds >= within or (fraction and within < 3):
            return form.format(*parts)
        return (r"\left({}\right)" if self.latex else "({})").format(form.format(*parts))

    def defined(self, x: Expression) -> str:
        """What stands for the name of a statistic or a term."""
        names = {each: name for each, name in self.names.items() if each is not x}
        return self.reduced(x) if x.op in REDUCTIONS else self._replace(names=names).write(x)

    def _quotient(self, x: Expression, divisors: Counter[Expression], within: int) -> str:
        """A quotient in which something divides several times, as one by a power."""
        above = product([part for part in factors(x) if not part[1]])
        below = [self.write(each, 4) + self._power(n) if n > 1 else self.write(each, 3) for each, n in divisors.items()]
        if self.latex:
            fraction = RULES["divide"].latex.format(self.write(above), r"\,".join(below))
            return fraction if within < 3 else rf"\left({fraction}\right)"
        text = " / ".join([self.write(above, 2), *below])
        return text if within < 3 else f"({text})"

    def _power(self, n: int) -> str:
        return f"^{{{n}}}" if self.latex else {2: "²", 3: "³"}.get(n, f"^{n}")

    def reduced(self, x: Expression) -> str:
        """A reduction, as a function of what it is of; the axes are told where there are several sets."""
        over = "" if x.value == {"axes"} else ", ".join(sorted(x.value))
        if self.latex:
            over = over.replace("_", r"\_")
            return rf"\operatorname{{{x.op}}}{f'_{{{over}}}' if over else ''}\left({self.write(x.inputs[0])}\right)"
        return f"{x.op}{f'[{over}]' if over else ''}({self.write(x.inputs[0])})"


class Formula(NamedTuple):
    """Lines of formulas, as text by str(), and as LaTeX."""

    text: str
    latex: str

    def __str__(self) -> str:
        return self.text


def formula(traced: Traced, statistics: list[Expression]) -> Formula:
    """A norm: its statistics in order, then y."""
    return Formula(*(_formula(_style(latex, traced), traced, statistics) for latex in (False, True)))


def _style(latex: bool, traced: Traced) -> Style:
    return Style(latex, {**traced.names, **traced.terms})


def named(traced: Traced, statistics: list[Expression]) -> list[Expression]:
    """The statistics and the terms, each after what it is made of."""
    return [each for each in walk(*statistics, traced.y) if each in traced.terms or each in {*statistics}]


def _formula(style: Style, traced: Traced, statistics: list[Expression]) -> str:
    lines = [f"{style.name(style.names[each])} = {style.defined(each)}" for each in named(traced, statistics)]
    return "\n".join([*lines, f"y = {style.write(traced.y)}"])


def derivation(traced: Traced, way: Way) -> Formula:
    """The chain rule, path by path."""
    return Formula(*(_derivation(_style(latex, traced), traced, way) for latex in (False, True)))


def _derivation(style: Style, traced: Traced, way: Way) -> str:
    lines = [
        _formula(style, traced, way.statistics),
        "",
        "With g the gradient of y, what comes back to each statistic is" if way.adjoints else "g is the gradient of y.",
    ]
    for back, of in way.adjoints.items():
        lines.append(f"  {style.write(back)} = {style.write(of)}")
    for leaf, paths in way.paths.items():
        if not paths:
            continue
        name = style.name(str(leaf.value))
        lines += ["", f"{name} acts on y by {len(paths)} path{'s' * (len(paths) != 1)}:"]
        for path in paths:
            through = "itself" if path.through is None else f"through {style.name(traced.names[path.through])}"
            lines.append(f"  {through}: {style.write(path.gradient)}")
        total = paths[0].gradient
        for path in paths[1:]:
            total = plus(total, path.gradient)
        summed = "" if leaf is traced.x else r"\sum " if style.latex else "Σ "
        body = style.write(total, 0 if leaf is traced.x else 2)
        lines.append(f"  so d{name} = {summed}{body}")
    return "\n".join(lines)
