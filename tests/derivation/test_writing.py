"""Formulas as people write them."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

from tinygrad_norm.derived import derive

norms = run_path(str(Path(__file__).parent / "norms.py"))


def test_a_formula_has_the_names_of_the_definition():
    assert str(derive(norms["layer_norm"]).formula).splitlines() == [
        "μ = mean(x)",
        "σ² = mean((x − μ)²)",
        "y = (x − μ) / √(σ² + ε) · γ + β",
    ]
    assert str(derive(norms["grn"]).formula).splitlines() == [
        "energy = sum[pixels](x²)",
        "level = mean[channels](√(energy + ε))",
        "y = γ · x · √(energy + ε) / (level + ε) + β + x",
    ]
    assert str(derive(norms["fourth_moment_norm"]).formula).splitlines() == [
        "μ = mean(x)",
        "spread = mean((x − μ)^4)",
        "y = (x − μ) / (spread + ε)^0.25",
    ]


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
        "  A[size] = −mean(g · γ · x) / (size + ε) / (size + ε)",
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
