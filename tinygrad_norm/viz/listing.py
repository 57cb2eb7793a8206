"""The text of generated kernels with each line's formula beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from typing import NamedTuple

KERNELS = {
    "outer_forward": "Forward, statistics by columns, as of images with their channels last",
    "outer_gradient": "Back, statistics by columns",
    "inner_forward": "Forward, statistics by rows, as of features that lie side by side",
    "inner_gradient": "Back, statistics by rows",
}
_NAMING = re.compile(r"    (?! |near|[vt]\d)[\w, ]+ = ")
"""What stands around the loops: names for parts of arrays."""
Colour = Callable[[str, bool], str]
"""Text in HTML with the statistics in their colours; whether it is code."""


class Function(NamedTuple):
    """One of the functions that a kernel is made of."""

    kernel: str
    decorator: str
    lines: list[tuple[str, str]]
    """Code, and the formula that it computes, which was its comment."""

    @property
    def has_formulas(self) -> bool:
        """Whether it computes what a formula tells."""
        return self.decorator != "Kernel" and any(formula for _, formula in self.lines)


def functions(source: str) -> Iterator[Function]:
    """The functions of a module of kernels, in order."""
    for text in re.split(r"\n\n\n(?=@)", source)[1:]:
        decorator, *lines = text.rstrip().split("\n")
        kernel = next(name for name in KERNELS if name in lines[0])
        yield Function(kernel, decorator[1:], [*_paired(lines)])


def _paired(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line of code with its comment, which stands behind it or on lines before it."""
    before: list[str] = []
    for line in lines:
        code, _, comment = line.partition("  # ")
        if line.lstrip().startswith("# "):
            before.append(line.lstrip()[2:])
        else:
            yield code, comment or " ".join(before)
            before = []


def listing(source: str, colour: Colour, by_rows: bool) -> str:
    """The functions that compute formulas, by kernel, as HTML; first, and open, those by rows or those by columns."""
    parts = [each for each in functions(source) if each.has_formulas]
    texts: list[str] = []
    for kernel, title in sorted(KERNELS.items(), key=lambda item: by_rows != item[0].startswith("inner")):
        own = "".join(_table(each, colour) for each in parts if each.kernel == kernel)
        if own:
            texts.append(
                f"<details{'' if len(texts) > 1 else ' open'}><summary>{escape(title)}</summary>{own}</details>"
            )
    return "".join(texts)


def _table(function: Function, colour: Colour) -> str:
    rows = "".join(
        f'<div class="formula">{colour(formula, False)}</div><code>{colour(code, True)}</code>'
        for code, formula in function.lines
        if formula or not _NAMING.match(code)
    )
    return f'<div class="listing" tabindex="0">{rows}</div>'
