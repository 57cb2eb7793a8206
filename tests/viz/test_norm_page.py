"""The page of a norm as text: it parses, has all its parts, and every path and statistic its own colour."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from tests.viz.test_html import Page
from tinygrad_norm import nn
from tinygrad_norm.derived import derive
from tinygrad_norm.viz.norm_page import norm_page, sources

FILE = str(Path(__file__).parents[1] / "derivation" / "norms.py")
norms = run_path(FILE)
SECTIONS = [
    "The definition",
    "What shares its statistics",
    "The formula",
    "The derivation",
    "The kernel",
    "The graph, fused and composed",
]


@pytest.fixture(scope="module")
def batch_norm():
    return norm_page(derive(nn.BatchNorm2D.definition), "BatchNorm2D")


@pytest.fixture(scope="module")
def grn():
    return norm_page(derive(norms["grn"]))


def headings(text):
    return re.findall("<h2>(.*?)</h2>", text)


def test_a_layer_has_all_sections(batch_norm):
    assert headings(batch_norm) == SECTIONS
    (title,) = Page(batch_norm).all("h1")
    assert title[1] == "BatchNorm2D"
    assert "return definitions.normalize(x, weight, bias, axes, eps, None)" in batch_norm
    assert "standard = _standardize(x, axes, eps)" in batch_norm


def test_the_page_needs_nothing_else(batch_norm):
    assert "<script" not in batch_norm
    assert not re.search(r"(?:src|href)=\"(?!data:)", batch_norm)
    assert " style=" not in batch_norm  # which its policy would refuse


def test_each_path_has_the_colour_of_its_statistic(batch_norm):
    labels = re.findall(r'<dt class="path (p\d)">(.*?)</dt>', batch_norm)
    assert [(kind, bool(re.search(rf'class="{kind}"', words))) for kind, words in labels[:3]] == [
        ("p0", False),  # by itself
        ("p2", True),
        ("p1", True),
    ]
    (total,) = re.findall(r"<mi>d</mi><mi>x</mi></mrow><mo>=</mo>(.*?)</math>", batch_norm)
    assert re.findall(r'class="path (p\d)"', total) == ["p0", "p2", "p1"]
    (beside,) = {line for line in re.findall('<div class="formula">(.*?)</div>', batch_norm) if "path p0" in line}
    assert re.findall(r'class="path (p\d)"', beside) == ["p0", "p2", "p1"]
    assert '<span class="p1">mean</span>[k] = ' in batch_norm
    assert '<span class="p2">A_var</span>[k] = ' in batch_norm
    assert '<span class="p2">A[σ²]</span> = −0.5' in batch_norm


def test_the_kernels_that_a_layer_runs_come_first(batch_norm, grn):
    layer_norm = norm_page(derive(nn.LayerNorm.definition), "LayerNorm")
    for text, kind in ((batch_norm, "columns"), (layer_norm, "rows"), (grn, "columns")):  # all that grn has
        assert f"<details open><summary>Forward, statistics by {kind}" in text


def by_maximum(x: Any, *, axes: Any) -> Any:
    max = x.__array_namespace__().max(x, axis=axes, keepdims=True)
    return x / max


def test_a_statistic_is_not_taken_for_a_function_of_its_name():
    text = norm_page(derive(by_maximum))
    assert '<div class="formula"><span class="p1">max</span> = max(x)</div>' in text
    assert '<span class="p1">max_</span>[k] = ' in text


@pytest.mark.parametrize(
    ("name", "shared"),
    [("grn", ["energy: 6 of 90", "level: 30 of 90"]), ("masked_norm", ["s2, n, s3: 6 of 30"])],
)
def test_a_norm_of_one_s_own_has_a_picture_for_each_set(name, shared):
    text = norm_page(derive(norms[name]))
    assert headings(text) == SECTIONS
    found = []
    for count, words in re.findall(r'aria-label="(\d+ of \d+) values.*?<figcaption>(.*?)</figcaption>', text):
        names = ", ".join(re.findall(r"<mi>(\w+)</mi>", words))
        found.append(f"{names}: {count}")
    assert found == shared


def test_a_layer_of_two_norms_has_a_picture_of_each():
    text = norm_page(derive(nn.IBN.definition), "IBN")
    assert re.findall(r'aria-label="(\d+ of \d+) values', text) == ["4 of 96", "16 of 96"]


def test_the_formula_tells_a_term_that_is_used_twice_by_itself(grn):
    formula = grn[grn.index("The formula") : grn.index("The derivation")]
    root = "<msqrt>"
    assert formula.count(root) == 1
    assert formula.count("<mi>size</mi>") == 3  # what it is, and two uses


def test_the_graph_is_that_of_the_norm(grn):
    graph = grn[grn.index("The graph, fused") :]
    for text in (">grn, training<", ">gamma<", ">beta<", ">fused<", ">composed<", ">Sqrt<"):
        assert text in graph


def test_options_without_a_default_and_parameters_that_are_averaged():
    for name in ("batch_renorm", "masked_norm"):
        assert "differ by" in norm_page(derive(norms[name]))


def pairwise(x: Any, *, axes: Any, others: Any) -> Any:
    xp = x.__array_namespace__()
    return x - xp.mean(x, axis=axes, keepdims=True) - xp.max(x, axis=others, keepdims=True)


def on_three(x: Any, *, a: Any, b: Any, c: Any) -> Any:
    xp = x.__array_namespace__()
    return x - xp.mean(x, axis=a, keepdims=True) - xp.mean(x, axis=b, keepdims=True) - xp.mean(x, axis=c, keepdims=True)


def doubled(x: Any, *, by: Any = 2.0) -> Any:
    return x * by


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (pairwise, "This norm has no kernel: it is computed in NumPy"),
        (on_three, "3 sets of axes: no picture shows that."),
        (doubled, "0 sets of axes: no picture shows that."),
    ],
)
def test_what_a_norm_has_not_is_told(definition, words):
    text = norm_page(derive(definition))
    assert words in text
    assert headings(text) == SECTIONS


def test_a_certificate_is_a_table():
    text = norm_page(derive(nn.RMSNorm2D.definition), "RMSNorm2D", "error < bound\npassed")
    assert headings(text) == [*SECTIONS[:-1], "The certificate", SECTIONS[-1]]
    assert "error &lt; bound\npassed</code></pre>" in text


def test_text_of_the_definition_is_no_markup():
    def hostile(x: Any, *, axes: Any) -> Any:
        """<script>alert(1)</script>"""
        return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)

    text = norm_page(derive(hostile))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_definition_without_a_text_has_no_such_section():
    names: dict[str, Any] = {}
    exec("def centred(x, *, axes):\n    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)", names)
    assert headings(norm_page(derive(names["centred"]))) == SECTIONS[1:]
    assert headings(norm_page(derive(functools.partial(norms["linf_norm"], eps=0.1)))) == SECTIONS[1:]


def helped(x: Any, *, axes: Any) -> Any:
    return _help(x, axes)


def _help(x: Any, axes: Any) -> Any:
    return _other(x) - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def _other(x: Any) -> Any:
    return x + x if x is None else x


def test_a_definition_is_shown_with_what_it_calls_once():
    first, *called = sources(helped)
    assert first.startswith("def helped(")
    assert [text.split("(")[0] for text in called] == ["def _help", "def _other"]
    names = [text.split("(")[0] for text in sources(nn.RMSNorm.definition)]
    assert names[:2] == ["def rms_normalize", "def rms_normalize"]
    assert len({*sources(nn.RMSNorm.definition)}) == len(names)
