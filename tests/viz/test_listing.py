"""Kernels beside their formulas."""

from __future__ import annotations

import re
from html import escape

from tinygrad_norm import nn
from tinygrad_norm.derived import derive
from tinygrad_norm.viz.listing import KERNELS, functions, listing

SOURCE = derive(nn.LayerNorm.definition).source


def plain(text, is_code):
    return escape(text)


def test_all_functions_are_found_with_all_their_code():
    found = [*functions(SOURCE)]
    assert len(found) == SOURCE.count("\ndef ")
    assert {each.kernel for each in found} == {*KERNELS}
    code = [line for each in found for line, _ in each.lines]
    expected = [re.sub(r" +# .*", "", line) for line in SOURCE[SOURCE.index("@") :].splitlines()]
    assert code == [line for line in expected if line and not line.startswith("@")]


def test_a_comment_stands_beside_the_code_that_it_is_about():
    pairs = {code.strip(): formula for each in functions(SOURCE) for code, formula in each.lines}
    assert pairs["v0 = x[r, k] - start[k]"] == "x − x₀"  # behind it
    (dx,) = (formula for code, formula in pairs.items() if code.startswith("dx[r, i] = "))  # in lines before it
    assert dx == "g · γ · 1/√(σ² + ε) + 2 · A[σ²] · (x − μ) + A[μ]"
    assert pairs["eps = options[0]"] == ""


def test_what_computes_a_formula_is_listed_and_what_names_arrays_is_not():
    text = listing(SOURCE, plain, by_rows=False)
    assert re.findall("<summary>(.*?)</summary>", text) == [*KERNELS.values()]
    assert "near = are_near" in text
    assert text.count("<details open>") == 2
    assert "prange" not in text  # in a kernel's own function
    assert "eps = options[0]" not in text
    assert "t0 = " in text
    for formula in ("σ² = mean((x − μ)²)", "A[μ] = −1/√(σ² + ε) · mean(g · γ)"):
        assert formula in text


def test_a_kernel_that_a_norm_has_not_is_left_out():
    source = SOURCE[: SOURCE.index("@Kernel\ndef outer_forward")].rstrip()
    assert re.findall("<summary>(.*?)</summary>", listing(source, plain, True)) == [
        KERNELS["inner_forward"],
        KERNELS["inner_gradient"],
    ]


def test_the_kernels_that_are_wanted_come_first():
    outer_forward, outer_gradient, inner_forward, inner_gradient = KERNELS.values()
    text = listing(SOURCE, plain, by_rows=True)
    assert re.findall("<summary>(.*?)</summary>", text) == [
        inner_forward,
        inner_gradient,
        outer_forward,
        outer_gradient,
    ]
    assert re.findall("<details open><summary>(.*?)</summary>", text) == [inner_forward, inner_gradient]
