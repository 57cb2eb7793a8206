"""The text of a norm's kernels: a module that Numba compiles, each line beside the formula that it computes."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Mapping

from tinygrad_norm.derivation import program as programs
from tinygrad_norm.derivation.adjoints import Way
from tinygrad_norm.derivation.code import IMPORTS
from tinygrad_norm.derivation.expression import Expression, pointwise
from tinygrad_norm.derivation.inner import inner_reduction
from tinygrad_norm.derivation.lowering import LoweringError
from tinygrad_norm.derivation.outer import outer_reduction
from tinygrad_norm.derivation.trace import Traced
from tinygrad_norm.derivation.writer import Writer, has_word
from tinygrad_norm.derivation.writing import formula

_WIDTH = 120
_INNER = ("i", "i", ""), ("r, i", "i", "")
_OUTER = ("r, k", "", "k"), ("r, k", "", "k")


def kernels_text(traced: Traced, way: Way, gradients: Mapping[str, Expression], activation: bool = False) -> str:
    """The module that holds the kernels of a norm, forward and back, in an inner and in an outer reduction.

    Args:
        traced, way: the norm.
        gradients: the gradient of x, and those of the parameters that are wanted, by name.
        activation: whether the kernels apply an activation to the output.

    Raises:
        LoweringError: it is a norm of neither kind.
    """
    functions: list[str] = []
    text = "\n".join(f"    {line}" for line in str(formula(traced, way.statistics)).splitlines())
    if activation:
        text = text.replace("    y = ", "    z = ") + "\n    y = φ(z)"
        traced = traced._replace(y=pointwise("activated", traced.y))
    statistics = [*traced.given, *way.statistics]
    for outer, texts, at in ((False, inner_reduction, _INNER), (True, outer_reduction, _OUTER)):
        try:
            both = programs.forward(traced, way, outer), programs.backward(traced, way, gradients, outer)
        except LoweringError as error:
            reason = error
            continue
        for backward, program in enumerate(both):
            functions += texts(Writer(traced, statistics, program, bool(backward), at))
    if not functions:
        raise reason
    body = "\n\n\n".join(functions)
    about = "statistics taken over rows (inner) or columns (outer)"
    lines = [part for line in body.splitlines() for part in _wrapped(line)]
    head = f'"""Kernels of {traced.name}, {about}:\n\n{text}\n"""'
    return "\n".join([head, "", *_imports(body), "", "", *lines, ""])


def _imports(body: str) -> list[str]:
    lines = ["import numpy as np", "from numba import prange", ""]
    for module, names in IMPORTS.items():
        used = [name for name in names.split() if has_word(name, body)]
        line = f"from {module} import {', '.join(used)}"
        if len(line) > _WIDTH:
            lines += [f"from {module} import (", *(f"    {name}," for name in used), ")"]
        elif used:
            lines.append(line)
    return lines


def _wrapped(line: str) -> list[str]:
    """A line in as many as it needs: its comment before it, and what is in brackets on lines of its own."""
    if len(line) <= _WIDTH:
        return [line]
    code, _, comment = line.partition("  # ")
    indent = code[: len(code) - len(code.lstrip())]
    if comment:
        return [*_filled(f"{indent}# ", comment), *_wrapped(code)]
    opening, closing = code.index("(") + 1, code.rindex(")")
    if _closes(code[opening:]) != closing - opening:  # the first bracket is not around all the rest
        sign = re.search(r" [-+*]?= ", code)  # or it is a part of a tuple
        opening, closing = sign.end() if sign else len(indent), len(code.removesuffix(","))
        code = f"{code[:opening]}({code[opening:closing]}){code[closing:]}"
        opening, closing = opening + 1, closing + 1
    return [code[:opening], *_filled(f"{indent}    ", code[opening:closing]), f"{indent}{code[closing:]}"]


def _closes(code: str) -> int:
    """Where the bracket closes that stands before some code."""
    depth = itertools.accumulate((each == "(") - (each == ")") for each in code)
    return next(i for i, level in enumerate(depth) if level < 0)


def _filled(indent: str, text: str) -> list[str]:
    wrapper = textwrap.TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False)
    wrapper.initial_indent = wrapper.subsequent_indent = indent
    return wrapper.wrap(text)
