"""Formulas in MathML, which browsers draw by themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from tinygrad_norm.derivation.expression import REDUCTIONS, Expression
from tinygrad_norm.derivation.rules import RULES, factors
from tinygrad_norm.derivation.writing import Style

FORMS = {
    "square": "<msup>{0}<mn>2</mn></msup>",
    "pow": "<msup>{0}{1}</msup>",
    "sqrt": "<msqrt>{0}</msqrt>",
    "rsqrt": "<mfrac><mn>1</mn><msqrt>{0}</msqrt></mfrac>",
    "exp": "<msup><mi>e</mi>{0}</msup>",
}
"""What is no row of signs; all else is written as in text, see `rules.RULES`."""
POWERS = ("square", "pow")


class MathML(NamedTuple):
    """How formulas are written.

    Args:
        names: what the statistics, and terms that are told once, are called.
        classes: the class of each statistic's name, and of that of what comes back to it: its colour.
    """

    names: Mapping[Expression, str]
    classes: Mapping[Expression, str]

    def plain(self, text: str) -> str:
        """A name, in Greek where the field has a letter for it."""
        return Style(False, self.names).name(text)

    def name(self, text: str) -> str:
        """A name as an element."""
        text = self.plain(text)
        if text.endswith("²"):
            return f"<msup><mi>{escape(text[:-1])}</mi><mn>2</mn></msup>"
        return f"<mi>{escape(text)}</mi>"

    def statistic(self, x: Expression) -> str:
        """The name of a statistic, in its colour, or of a term."""
        return row(self.name(self.names[x]), self.classes.get(x, ""))

    def adjoint(self, x: Expression) -> str:
        """The name of what comes back to a statistic, in its colour."""
        return row(f"<msub><mi>A</mi>{self.name(self.names[x])}</msub>", self.classes[x])

    def write(self, x: Expression, within: int = 0) -> str:
        """An expression, in brackets if it binds less closely than what is around it; one element."""
        if x.op == "number":
            text = f"<mn>{abs(x.value):g}</mn>"
            return text if x.value >= 0 else bracketed(f"<mo>−</mo>{text}", within)
        if x.op == "adjoint":
            return self.adjoint(x.value)
        if x.op in ("gradient", "count"):
            return "<mi>g</mi>" if x.op == "gradient" else "<mi>N</mi>"
        if x.inputs and x in self.names:
            return bracketed(self.statistic(x), self.plain(self.names[x]).endswith("²") and within > 3)
        if x.op in REDUCTIONS:
            return self.reduced(x)
        if not x.inputs:
            return self.name(str(x.value))
        if x.op == "divide":
            return bracketed(self._fraction(x), within > 2)
        binds = RULES[x.op].binds
        around = [binds, binds + (x.op == "subtract")]
        if x.op in FORMS or binds == 9:
            around = [4 if x.op in POWERS else 0, 0, 0]
        parts = [self.write(each, least) for each, least in zip(x.inputs, around, strict=False)]
        form = FORMS[x.op] if x.op in FORMS else _signs(x.op, _stretch("".join(parts)))
        text = form.format(*parts)
        return bracketed(text, within > {"rsqrt": 2, "sqrt": 3}.get(x.op, binds))

    def defined(self, x: Expression) -> str:
        """What stands for the name of a statistic or a term."""
        names = {each: name for each, name in self.names.items() if each is not x}
        return self.reduced(x) if x.op in REDUCTIONS else self._replace(names=names).write(x)

    def _fraction(self, x: Expression) -> str:
        """A quotient, with whatever else it is divided by, as one fraction."""
        parts = factors(x)
        above = [each for each, divides in parts if not divides]
        below = Counter(each for each, divides in parts if divides)
        return f"<mfrac>{self._product(Counter(above))}{self._product(below)}</mfrac>"

    def _product(self, powers: Counter[Expression]) -> str:
        """A product, with factors that are equal as a power."""
        alone = len(powers) == 1
        parts = [
            self.write(each, 0 if alone else 2) if n == 1 else f"<msup>{self.write(each, 4)}<mn>{n}</mn></msup>"
            for each, n in powers.items()
        ]
        return row("<mo>·</mo>".join(parts))

    def reduced(self, x: Expression) -> str:
        """A reduction, as a function of what it is of; the axes are told where there are several sets."""
        over = "" if x.value == {"axes"} else ", ".join(sorted(x.value))
        function = f"<msub><mi>{x.op}</mi><mtext>{escape(over)}</mtext></msub>" if over else f"<mi>{x.op}</mi>"
        return row(function + bracketed(self.write(x.inputs[0]), True))


def row(content: str, kind: str = "") -> str:
    """Several elements as one, of a class."""
    return f'<mrow class="{kind}">{content}</mrow>' if kind else f"<mrow>{content}</mrow>"


def bracketed(content: str, needed: object) -> str:
    """A row, in brackets if they are needed."""
    high = _stretch(content)
    return row(f"<mo{high}>(</mo>{content}<mo{high}>)</mo>" if needed else content)


def math(content: str) -> str:
    """A formula on a page."""
    return f'<math displaystyle="true">{content}</math>'


def _stretch(content: str) -> str:
    """The attribute of brackets around something: they are high where it holds a fraction."""
    return "" if "<mfrac>" in content else ' stretchy="false"'


def _signs(op: str, high: str) -> str:
    """The form of a function, as a format, that is written in text with signs alone; `high` is for its brackets."""
    text = RULES[op].text or f"{op}({'{0}, {1}, {2}' if op == 'where' else '{0}'})"

    def element(found: re.Match[str]) -> str:
        part = found[0]
        if part.startswith("{"):
            return part
        return f"<mi>{part}</mi>" if part.isalpha() else f"<mo{high}>{escape(part)}</mo>"

    return re.sub(r"\{\d\}|\w+|\S", element, text.replace(" ", ""))
