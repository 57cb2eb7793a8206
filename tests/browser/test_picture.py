"""Pictures in a real browser, by light and by dark."""

from __future__ import annotations

import pytest

from tinygrad_norm import nn
from tinygrad_norm.viz import compare_graphs, draw_graph

CONTRASTS = """() => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map((part) => part * (colour.startsWith("color(") ? 255 : 1));
    const light = (colour) => numbers(colour).slice(0, 3).map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    return [...document.querySelectorAll("text")].map((text) => {
        const { x, y, width, height } = text.getBoundingClientRect();
        const behind = document.elementsFromPoint(x + width / 2, y + height / 2)
            .find((element) => element.tagName !== "text" && getComputedStyle(element).fill !== "none");
        const [dim, bright] = [text, behind].map((element) => light(getComputedStyle(element).fill))
            .sort((one, other) => one - other);
        return [text.textContent, (bright + 0.05) / (dim + 0.05)];
    });
}"""


@pytest.fixture
def picture(chromium, tmp_path):
    """Opens the SVG of a drawing."""
    pages = []

    def show(drawing, scheme):
        page = chromium.new_page(color_scheme=scheme, viewport={"width": 1500, "height": 2500})
        page.goto(drawing.save(tmp_path / "g.svg").as_uri())
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_every_text_can_be_read(scheme, direction, picture):
    page = picture(compare_graphs(nn.BatchNorm1D(4, activation="relu"), (5, 4), direction=direction), scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert {"fused", "composed", "BatchNorm", "fused op"} <= {text for text, _ in contrasts}
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_fused_op_has_two_borders(scheme, picture):
    page = picture(draw_graph(nn.Linear(3, 2), (4, 3), depth=None), scheme)
    fills = page.eval_on_selector_all(".fused path", "all => all.map((path) => getComputedStyle(path).fill)")
    assert len(fills) == 2
    assert fills[0] != "none"
    assert fills[1] == "none"


def test_no_light_colour_is_left_by_dark(picture):
    page = picture(draw_graph(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), (4, 3), direction="both"), "dark")
    changed = page.eval_on_selector_all(
        "svg *",
        """all => all.flatMap((element) => ["fill", "stroke"].map((name) => [element, name]))
            .filter(([element, name]) => /^#/.test(element.getAttribute(name) ?? ""))
            .map(([element, name]) => [element.getAttribute(name), getComputedStyle(element)[name]])""",
    )
    same = [given for given, now in changed if now == "rgb({}, {}, {})".format(*bytes.fromhex(given[1:]))]
    assert changed
    assert same == []
