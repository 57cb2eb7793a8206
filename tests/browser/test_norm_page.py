"""The page of a norm in a real browser: formulas are drawn, all can be read, and nothing is wider than the window."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.derived import derive
from tinygrad_norm.viz.norm_page import norm_page

norms = run_path(str(Path(__file__).parents[1] / "derivation" / "norms.py"))
NAMES = ("BatchNorm2D", "batch_renorm")
TEXTS = """() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const numbers = (colour) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return numbers(colour)[3] ? colour : behind(element.parentElement);
    };
    const own = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll("main *:not(svg *)")].filter(own).map((element) => {
        const [dim, bright] = [getComputedStyle(element).color, behind(element)].map(light).sort((a, b) => a - b);
        return [element.textContent, (bright + 0.05) / (dim + 0.05)];
    });
}"""


@pytest.fixture(scope="module")
def pages():
    layers = norm_layers()
    return {
        name: norm_page(derive(layers[name].definition if name in layers else norms[name]), name * (name in layers))
        for name in NAMES
    }


@pytest.fixture
def show(chromium, pages, tmp_path):
    """Opens a page with all its parts; at the end no error and no request may have been."""
    opened, problems = [], []

    def show(name, scheme="light", width=1280):
        path = tmp_path / "norm.html"
        path.write_text(pages[name], encoding="utf-8")
        page = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("request", lambda request: None if request.url == path.as_uri() else problems.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        opened.append(page)
        return page

    yield show
    for page in opened:
        page.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_text_can_be_read(name, scheme, show):
    page = show(name, scheme)
    texts = page.evaluate(TEXTS)
    assert {"The derivation", "A[σ²]", "A_var", "μ"} <= {text for text, _ in texts}
    assert [(text, ratio) for text, ratio in texts if ratio < 4.5] == []
    fills = "all => all.map((each) => getComputedStyle(each).fill)"
    text, ground = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert {*page.eval_on_selector_all(".block text", fills)} == {text}
    assert page.eval_on_selector_all(".graph polygon", fills)[0] == ground


@pytest.mark.parametrize("width", [1280, 700, 360])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_wide_scrolls_and_the_page_does_not(name, width, show):
    page = show(name, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.eval_on_selector_all(".wide, pre, .listing, .graph", "all => all.map((each) => each.scrollWidth)")
    assert max(wide) > 360
    reach = page.eval_on_selector_all(
        "main math, main code, main figure, main svg",
        """all => all.filter((each) => !each.closest(".wide, pre, .listing, .graph, dd"))
            .map((each) => each.getBoundingClientRect().right)""",
    )
    assert max(reach) <= width


def test_formulas_are_drawn(show):
    page = show("BatchNorm2D")
    heights = page.eval_on_selector_all(".wide mfrac", "all => all.map((each) => each.getBoundingClientRect().height)")
    assert min(heights) > 25  # a fraction is two lines high
    page.locator(".path.p2").first.scroll_into_view_if_needed()
    colours = page.eval_on_selector_all("mrow.path", "all => all.map((each) => getComputedStyle(each).backgroundColor)")
    assert len({*colours[:3]}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_line_of_a_kernel_stands_beside_its_formula(name, show):
    page = show(name)
    places = page.eval_on_selector_all(
        ".listing .formula",
        """all => all.filter((each) => each.textContent).map((each) => [each, each.nextSibling])
            .map((pair) => pair.map((each) => each.getBoundingClientRect()))
            .map(([formula, code]) => [formula.top - code.top, code.left - formula.right])""",
    )
    assert places
    assert all(abs(down) < 3 and across > 10 for down, across in places)


def test_in_a_narrow_window_a_formula_stands_above_its_line(show):
    page = show("BatchNorm2D", width=400)
    places = page.eval_on_selector_all(
        ".listing .formula",
        """all => all.filter((each) => each.textContent).map((each) => [each, each.nextSibling])
            .map((pair) => pair.map((each) => each.getBoundingClientRect()))
            .map(([formula, code]) => [code.top - formula.bottom, code.left - formula.left])""",
    )
    assert places
    assert all(0 <= down < 3 and across == 0 for down, across in places)
