"""Formulas in MathML: they parse, and say what the text says."""

from __future__ import annotations

import re
from pathlib import Path
from runpy import run_path
from typing import Any
from xml.etree import ElementTree

import pytest

from tinygrad_norm.derivation.expression import number, pointwise, symbol
from tinygrad_norm.derivation.rules import RULES
from tinygrad_norm.derived import derive
from tinygrad_norm.viz.mathml import MathML, math

norms = run_path(str(Path(__file__).parents[1] / "derivation" / "norms.py"))
X, Y, Z = (symbol("parameter", name) for name in "xyz")
PLAIN = MathML({}, {})


def said(element: ElementTree.Element) -> str:
    """A formula as text: fractions, roots and powers with brackets around each part."""
    parts = [said(each) for each in element]
    if element.tag == "mfrac":
        return "({})/({})".format(*parts)
    if element.tag == "msup":
        return "{}^({})".format(*parts)
    if element.tag == "msub":
        return "{}_({})".format(*parts)
    if element.tag == "msqrt":
        return f"√({''.join(parts)})"
    return (element.text or "") + "".join(parts)


def written(x: Any, style: MathML = PLAIN) -> str:
    return said(ElementTree.fromstring(math(style.write(x))))


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (X + Y * Z, "x+y·z"),
        ((X + Y) * Z, "(x+y)·z"),
        (X - (Y - Z), "x−(y−z)"),
        (-(X + Y), "−(x+y)"),
        (X / Y, "(x)/(y)"),
        ((X + Y) / (Y + Z), "(x+y)/(y+z)"),
        (X / Y / Z, "(x)/(y·z)"),
        (X / Y / Y / Z, "(x)/(y^(2)·z)"),
        (X / Y * Z / Y, "(x·z)/(y^(2))"),
        ((X + Y) * Z / (Y + Z) / X, "((x+y)·z)/((y+z)·x)"),
        ((X / Y) ** 3, "((x)/(y))^(3)"),
        (X / Y * Z, "(x)/(y)·z"),
        ((X**2) ** Y, "(x^(2))^(y)"),
        (pointwise("square", X - Y), "(x−y)^(2)"),
        (pointwise("square", X**Y), "(x^(y))^(2)"),
        (pointwise("rsqrt", X + Y) ** 3, "((1)/(√(x+y)))^(3)"),
        (X / pointwise("sqrt", Y) / pointwise("sqrt", Y), "(x)/((√(y))^(2))"),
        (pointwise("abs", X - Y), "|x−y|"),
        (pointwise("exp", X + Y), "e^(x+y)"),
        (pointwise("maximum", X, number(-0.5)), "max(x,−0.5)"),
        (pointwise("where", X < Y, Z, 0.0), "where(x<y,z,0)"),
        (pointwise("stop_gradient", X) + pointwise("tanh", Y), "constant(x)+tanh(y)"),
        (symbol("parameter", "running_var") * symbol("option", "eps"), "running_var·ε"),
        (symbol("parameter", "var") + 1, "σ^(2)+1"),
        (symbol("gradient", "g") * number(-2), "g·(−2)"),
    ],
)
def test_a_formula_says_what_was_written(formula, text):
    assert written(formula) == text


@pytest.mark.parametrize("op", RULES)
def test_every_function_is_one_element(op):
    count = 3 if op in ("where", "clip") else 2 if "{1}" in RULES[op].text else 1
    text = PLAIN.write(pointwise(op, *(X, Y, Z)[:count]))
    (element,) = ElementTree.fromstring(f"<all>{text}</all>")
    assert all(letter in said(element) for letter in "xyz"[:count])


def test_brackets_are_high_around_fractions_alone():
    for low in ((X + Y) * Z, pointwise("tanh", X), pointwise("abs", X)):
        assert 'stretchy="false"' in PLAIN.write(low)
    for high in ((X / Y + Z) * Y, pointwise("tanh", X / Y), pointwise("abs", X / Y)):
        assert "stretchy" not in PLAIN.write(high)


def test_statistics_have_their_names_and_colours():
    norm = derive(norms["layer_norm"])
    mean, var = norm.way.statistics
    style = MathML(norm.traced.names, {mean: "p1", var: "p2"})
    assert written(norm.traced.y, style) == "(x−μ)/(√(σ^(2)+ε))·γ+β"
    assert re.findall(r'class="(p\d)"', style.write(norm.traced.y)) == ["p1", "p2"]
    backs = [(written(back, style), written(of, style)) for back, of in norm.way.adjoints.items()]
    assert backs == [
        ("A_(σ^(2))", "−(0.5·mean(g·γ·(x−μ)))/((√(σ^(2)+ε))^(3))"),
        ("A_(μ)", "−(mean(g·γ))/(√(σ^(2)+ε))"),
    ]
    assert re.findall(r'class="(p\d)"', style.write(next(iter(norm.way.adjoints)))) == ["p2"]
    assert written(var**3, style) == "(σ^(2))^(3)"


def test_axes_are_told_where_there_are_several_sets():
    norm = derive(norms["grn"])
    style = MathML(norm.traced.names, dict.fromkeys(norm.way.statistics, "p1"))
    reduced = [said(ElementTree.fromstring(style.reduced(each))) for each in norm.way.statistics]
    assert reduced == ["sum_(pixels)(x^(2))", "mean_(channels)(√(energy+ε))"]


def test_names_are_escaped():
    assert "<script" not in PLAIN.write(symbol("parameter", "a<script>"))
