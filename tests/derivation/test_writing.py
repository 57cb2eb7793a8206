"""Formulas as people write them."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

from tinygrad_norm.derivation.expression import pointwise, reduction, symbol
from tinygrad_norm.derivation.writing import Style
from tinygrad_norm.derived import derive
from tinygrad_norm.nn.norms.masked import masked_norm

norms = run_path(str(Path(__file__).parent / "norms.py"))


def test_a_formula_has_the_names_of_the_definition():
    assert str(derive(norms["layer_norm"]).formula).splitlines() == [
        "μ = mean(x)",
        "σ² = mean((x − μ)²)",
        "y = (x − μ) / √(σ² + ε) · γ + β",
    ]
    assert str(derive(norms["grn"]).formula).splitlines() == [
        "energy = sum[pixels](x²)",
        "size = √(energy + ε)",
        "level = mean[channels](size)",
        "y = γ · x · size / (level + ε) + β + x",
    ]
    assert str(derive(norms["fourth_moment_norm"]).formula).splitlines() == [
        "μ = mean(x)",
        "spread = mean((x − μ)^4)",
        "y = (x − μ) / (spread + ε)^0.25",
    ]


def test_what_has_a_name_and_is_used_more_than_once_is_told_once():
    assert str(derive(masked_norm).formula).splitlines() == [
        "known = where(mask > 0, x, 0)",
        "sums = sum(known)",
        "total = sum(mask)",
        "count = max(total, 1)",
        "μ = sums / count",
        "squares = sum(where(mask > 0, (known − μ)², 0))",
        "y = where(mask > 0, γ · (known − μ) / √(where(total > 0, squares / count, 1) + ε) + β, 0)",
    ]
    derivation = derive(norms["grn"]).derivation
    assert "  itself: g + g · γ · size / (level + ε)" in str(derivation).splitlines()
    assert r"\mathrm{size} = \sqrt{\mathrm{energy} + \varepsilon}" in derivation.latex.splitlines()


def twice_named(x: Any, *, axes: Any) -> Any:
    half = x / 2
    top = half.__array_namespace__().max(half, axis=axes, keepdims=True)
    half = top / 2
    return x - half - half


def named_as_an_option(x: Any, weight: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    eps = eps + abs(weight)
    top = x.__array_namespace__().max(x, axis=axes, keepdims=True)
    return x / (top + eps) + eps


def test_a_name_of_several_things_or_of_an_argument_is_none_of_a_term():
    assert str(derive(twice_named).formula) == "top = max(x / 2)\ny = x − top / 2 − top / 2"
    assert str(derive(named_as_an_option).formula) == "top = max(x)\ny = x / (top + ε + |γ|) + ε + |γ|"


def test_a_formula_in_latex():
    assert derive(norms["layer_norm"]).formula.latex.splitlines() == [
        r"\mu = \operatorname{mean}\left(x\right)",
        r"\sigma^2 = \operatorname{mean}\left(\left(x - \mu\right)^2\right)",
        r"y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}\,\gamma + \beta",
    ]


def test_a_derivation_tells_every_path():
    assert str(derive(norms["l1_norm"]).derivation).splitlines() == [
        "size = mean(|x|)",
        "y = γ · x / (size + ε)",
        "",
        "With g the gradient of y, what comes back to each statistic is",
        "  A[size] = −mean(g · γ · x) / (size + ε)²",
        "",
        "x acts on y by 2 paths:",
        "  itself: g / (size + ε) · γ",
        "  through size: A[size] · sign(x)",
        "  so dx = g / (size + ε) · γ + A[size] · sign(x)",
        "",
        "γ acts on y by 1 path:",
        "  itself: g / (size + ε) · x",
        "  so dγ = Σ g / (size + ε) · x",
    ]


def test_the_mean_of_what_is_centred_is_left_out():
    text = str(derive(norms["layer_norm"]).derivation)
    assert "  A[μ] = −mean(g · γ) / √(σ² + ε)\n" in text  # and nothing of what goes through the variance


def test_what_divides_several_times_divides_by_a_power():
    norm = derive(norms["layer_norm"])
    assert "  A[σ²] = −0.5 · mean(g · γ · (x − μ)) / √(σ² + ε)³\n" in str(norm.derivation)
    above, below = (
        r"0.5\,\operatorname{mean}\left(g\,\gamma\,\left(x - \mu\right)\right)",
        r"\sqrt{\sigma^2 + \varepsilon}^{3}",
    )
    assert rf"  A_{{\sigma^2}} = -\frac{{{above}}}{{{below}}}" in norm.derivation.latex.splitlines()
    x, a, b = (symbol("parameter", name) for name in ("x", "a", "b"))
    for expression, text, latex in (
        (x / a / b / a, "x / a² / b", r"\frac{x}{a^{2}\,b}"),
        (x / (a + b) / (a + b) * b, "x · b / (a + b)²", r"\frac{x\,b}{\left(a + b\right)^{2}}"),
        (pointwise("square", x / a / a), "(x / a²)²", r"\left(\frac{x}{a^{2}}\right)^2"),
        ((x + b) / a / a / a / a, "(x + b) / a^4", r"\frac{x + b}{a^{4}}"),
        (x / a / b, "x / a / b", r"\frac{\frac{x}{a}}{b}"),
    ):
        assert (Style(False, {}).write(expression), Style(True, {}).write(expression)) == (text, latex)


def test_a_letter_is_that_of_one_name():
    def two_means(x: Any, weight: Any, gamma: Any, *, axes: Any) -> Any:
        xp = x.__array_namespace__()
        mean = xp.mean(x, axis=axes, keepdims=True)
        mu = xp.mean(xp.abs(x), axis=axes, keepdims=True)
        return weight * (x - mean) + gamma * mu

    lines = ["μ = mean(x)", "mu = mean(|x|)", "y = γ · (x − μ) + gamma · mu"]
    assert str(derive(two_means).formula).splitlines() == lines
    assert derive(two_means).formula.latex.splitlines()[-1] == (
        r"y = \gamma\,\left(x - \mu\right) + \mathrm{gamma}\,\mathrm{mu}"
    )


def test_a_name_in_latex_has_its_underscore():
    assert r"\mathrm{running\_mean}" in derive(norms["batch_renorm"]).formula.latex
    assert Style(True, {}).reduced(reduction("mean", symbol("x", "x"), frozenset({"all_pixels"}))) == (
        r"\operatorname{mean}_{all\_pixels}\left(x\right)"
    )
