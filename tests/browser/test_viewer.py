"""The interactive page in a real browser: what a person sees who clicks, types or only uses keys."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser.test_picture import CONTRASTS
from tinygrad_norm.models import create_model
from tinygrad_norm.viz import html
from tinygrad_norm.viz.graph import Arrow, Graph, Node, from_call
from tinygrad_norm.viz.outline import nested, output_names
from tinygrad_norm.viz.parts import Box

HOSTILE = "\"'><img src=x onerror=window.hurt=1></script><script>window.hurt=1</script><!--\u2028\u2029&amp;\\u003c"


OPS = ("node:input0", "node:op2", "node:op3", "node:op4", "node:op6", "node:op7", "node:op8", "node:op17")


class Builder:
    """Makes a graph by hand, node by node, each from those before it that it names."""

    def __init__(self, title="Small"):
        self.graph = Graph(title)

    def add(self, kind, name, module="", inputs=(), shape=(2, 8), **facts):
        node = Node(f"{kind}{len(self.graph.nodes)}", kind, name, module, shape, "float32", **facts)
        self.graph.nodes[node.id] = node
        self.graph.edges += [Arrow(source, node.id, place) for place, source in enumerate(inputs)]
        while module:
            self.graph.modules.setdefault(module, "Linear" if module.endswith("fc") else "Block")
            module = module.rpartition(".")[0]
        return node.id

    def block(self, path, x, gradient=1.0):
        """A linear layer and a ReLU beside which the input passes."""
        weight = self.add("parameter", f"{path}.fc.weight", f"{path}.fc", shape=(8, 8), parameters=64)
        costs = {"parameters": 64, "flops": 256, "saved": [((2, 8), "float32")], "saved_bytes": 64, "seconds": 2e-3}
        y = self.add("op", "Linear", f"{path}.fc", (x, weight), **costs, backward_seconds=1e-3, gradient=gradient)
        y = self.add("op", "Relu", path, (y,), seconds=1e-3, backward_seconds=1e-3, gradient=gradient)
        return self.add("op", "Add", path, (y, x), seconds=1e-3, backward_seconds=1e-3, gradient=gradient)


def small():
    """An input, a stem, three equal blocks, and a head with every fact there is."""
    builder = Builder()
    x = builder.add("input", "input", differentiable=False)
    x = builder.block("stem", x, 100.0)
    for number in range(3):
        x = builder.block(f"layers.{number}", x)
    facts = {"settings": {"axis": "(1,)"}, "code": "def forward(self, x):\n    return x.sum(1)", "source": "head.py:7"}
    head = builder.add("op", "Head", "", (x,), (2, 5, 3), **facts, fused=True, seconds=1e-6, gradient=1e-4)
    builder.graph.outputs = [head]
    return builder.graph


def chain(count, **facts):
    builder = Builder()
    x = builder.add("input", "input")
    for _ in range(count):
        x = builder.add("op", "Step", "", (x,), **facts)
    builder.graph.outputs = [x]
    return builder.graph


def branching():
    """Ops that take what any two before them made, eight to a module."""
    builder = Builder("Branching")
    rng = np.random.default_rng(0)
    made = [builder.add("input", "input")]
    for number in range(40):
        chosen = dict.fromkeys(made[place] for place in rng.integers(0, len(made), 2))
        made.append(builder.add("op", f"Op{number}", f"part{number // 8}", tuple(chosen)))
    builder.graph.outputs = [made[-1]]
    return builder.graph


def large(modules):
    """Blocks of three ops and a parameter in stages of ten; no two stages are equal."""
    builder = Builder("Large")
    x = builder.add("input", "input")
    for number in range(modules):
        x = builder.block(f"stages.{number // 10}.{number % 10}", x)
        x = builder.add("op", "Scale", f"stages.{number // 10}", (x,), (2, 8), settings={"by": str(number)})
    builder.graph.outputs = [x]
    return builder.graph


def ids(page):
    """Of all items that are drawn, in the order they ran."""
    return page.eval_on_selector_all("[data-id]", "all => all.map((card) => card.dataset.id)")


def card(page, name):
    return page.locator(f'[data-id="{name}"]')


def click(page, name):
    card(page, name).locator(".title").click(force=True)


def choose(page, value):
    page.locator(f'input[value="{value}"]').check(force=True)


def find(page, text):
    page.keyboard.press("/")
    page.keyboard.type(text)


def fill(page, name):
    """The colour of an item, in red, green and blue."""
    found = card(page, name).locator(".face").evaluate("face => getComputedStyle(face).fill")
    parts = [float(part) for part in re.findall(r"[0-9.]+", found)]
    return tuple(round(255 * part) for part in parts) if found.startswith("color(") else tuple(map(int, parts))


def scale(page):
    return float(page.locator("#world").get_attribute("transform").split("scale(")[1].rstrip(")"))


def test_starts_closed_and_says_what_is_inside(show):
    page = show(small())
    assert ids(page) == ["node:input0", "module:stem", "module:layers", "node:op17", "node:output0"]
    stem, layers = (card(page, f"module:{name}").text_content() for name in ("stem", "layers"))
    assert stem == "stemBlock · 2 × 83 ops · 64 parameters · 256 FLOPkeeps 64 B · 4 ms →  3 ms ←"
    assert layers == "layersBlock · 2 × 89 ops · 192 parameters · 768 FLOPkeeps 192 B · 12 ms →  9 ms ←"
    assert page.title() == "Small"
    assert page.locator("#lines path").count() == 4


@pytest.mark.parametrize(
    ("depth", "opened"),
    [
        (0, []),
        (1, []),
        (2, ["stem", "layers"]),
        (3, ["stem", "layers", "layers.0"]),
        (None, ["stem", "stem.fc", "layers", "layers.0", "layers.0.fc"]),
    ],
)
def test_starts_with_as_many_levels_open_as_asked_for(show, depth, opened):
    page = show(small(), ("forward", depth))
    found = page.eval_on_selector_all(".card.open", "all => all.map((card) => card.dataset.id.replace('module:', ''))")
    assert sorted(found) == sorted(opened)


def test_starts_in_the_direction_that_was_asked_for(show):
    page = show(small(), ("backward", 0, False))
    assert page.locator('input[value="backward"]').is_checked()
    assert "|gradient| 100" in card(page, "module:stem").text_content()
    assert not page.locator("#fold").is_checked()
    click(page, "module:layers")
    assert "module:layers.2" in ids(page)


def test_a_title_of_several_lines_is_a_heading_with_words_under_it(show):
    graph = small()
    graph.title = "Norm\nNorm(8, eps=1e-05)\nthe two differ by 1e-07"
    page = show(graph)
    assert page.title() == "Norm"
    assert page.locator("h1").inner_text().split("\n") == graph.title.split("\n")
    weights = page.eval_on_selector_all("h1, h1 > span", "all => all.map((part) => getComputedStyle(part).fontWeight)")
    assert weights == ["700", "400", "400"]


def test_results_have_their_names(show):
    graph = small()
    graph.outputs = ["op16", "op17"]
    page = show(graph)
    assert [card(page, f"node:output{k}").locator(".title").text_content() for k in (0, 1)] == output_names(graph)
    graph.output_names = ["features", "logits"]
    page = show(graph)
    assert card(page, "node:output1").locator(".title").text_content() == "output logits"


def test_click_opens_a_module_and_closes_it(show):
    page = show(small())
    click(page, "module:stem")
    assert ids(page)[1:5] == ["module:stem", "module:stem.fc", "node:op3", "node:op4"]
    assert card(page, "module:stem").get_attribute("aria-expanded") == "true"
    click(page, "module:stem.fc")
    assert ids(page)[2:5] == ["module:stem.fc", "node:parameter1", "node:op2"]
    click(page, "module:stem")
    assert "node:op2" not in ids(page)
    assert card(page, "module:stem").get_attribute("aria-expanded") == "false"


def test_what_is_clicked_stays_where_it_is(show):
    page = show(small())
    before = card(page, "module:layers").bounding_box()
    click(page, "module:layers")
    after = card(page, "module:layers").bounding_box()
    assert after["y"] == pytest.approx(before["y"], abs=2)
    assert after["x"] + after["width"] / 2 == pytest.approx(before["x"] + before["width"] / 2, abs=2)


def test_equal_blocks_fold(show):
    page = show(small())
    click(page, "module:layers")
    assert [name for name in ids(page) if name.startswith("module:layers.")] == ["module:layers.0"]
    assert card(page, "module:layers.0").locator(".badge text").text_content() == "× 3"
    assert "3 ops · 64 parameters each · 256 FLOP each" in card(page, "module:layers.0").text_content()
    card(page, "module:layers.0").locator(".badge").click()
    assert [name for name in ids(page) if name.startswith("module:layers.")] == [f"module:layers.{k}" for k in range(3)]
    assert "3 ops · 64 parameters" in card(page, "module:layers.0").text_content()
    assert page.locator("#lines path").count() == 4 + 2 + 4  # around, to the blocks and from them, and between
    card(page, "module:layers.0").locator(".badge").click()
    assert "module:layers.1" not in ids(page)
    page.locator("#fold").uncheck(force=True)
    assert "module:layers.2" in ids(page)


def test_a_folded_block_opens_like_any_other(show):
    page = show(small())
    click(page, "module:layers")
    click(page, "module:layers.0")
    inside = ids(page)
    assert inside[inside.index("module:layers.0") :][1:4] == ["module:layers.0.fc", "node:op7", "node:op8"]
    # in: to fc and to the sum; fc to relu, relu to the sum; out again
    assert page.evaluate("document.querySelectorAll('#lines path').length") == 4 + 2 + 5


def test_blocks_of_several_modules_fold_and_unfold(show):
    builder = Builder()
    x = builder.add("input", "input")
    for number in range(24):
        x = builder.add("op", "Linear", f"{2 * number}", (x,), parameters=8)
        x = builder.add("op", "Norm", f"{2 * number + 1}", (x,))
    builder.graph.outputs = [x]
    builder.graph.modules = {f"{place}": "Linear" if place % 2 == 0 else "Norm" for place in range(48)}
    page = show(builder.graph)
    (block,) = [name for name in ids(page) if name.startswith("block")]
    assert ids(page)[1:4] == [block, "module:0", "module:1"]
    assert card(page, block).locator(".badge text").text_content() == "× 24"
    card(page, block).locator(".badge").click()
    assert block not in ids(page)
    page.locator("#fit").click()  # from afar, where names stand beside
    assert len(ids(page)) == 48 + 2
    assert page.locator("#names text").count() == 0 or scale(page) < 0.35
    find(page, "46")
    page.keyboard.press("Enter")
    assert card(page, "module:46").is_visible()
    page.locator("#fold").uncheck(force=True)
    page.locator("#fold").check(force=True)
    assert block in ids(page)
    click(page, block)
    assert ids(page) == ["node:input0", block, "node:output0"]
    assert "2 ops" in card(page, block).text_content()


def test_vgg_folds_the_runs_that_its_picture_folds(show):
    graph = from_call(create_model("vgg16", 10), (2, 3, 32, 32))
    page = show(graph, ("forward", 2), viewport={"width": 1280, "height": 8000})
    assert page.locator(".badge text").all_text_contents() == ["× 2", "× 2", "× 3"]
    features = nested(graph, 2).parts[1]
    assert isinstance(features, Box)
    assert [part.repeats for part in features.parts if part.repeats > 1] == [2, 2, 3]


def slope(graph):
    graph.nodes["op12"].settings["slope"] = "0.1"


def frozen(graph):
    graph.nodes["parameter9"].differentiable = False


@pytest.mark.parametrize("change", [slope, frozen])
def test_blocks_that_differ_do_not_fold(show, change):
    graph = small()
    change(graph)
    page = show(graph)
    click(page, "module:layers")
    assert [name for name in ids(page) if name.startswith("module:layers.")] == [f"module:layers.{k}" for k in range(3)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("layers.1.fc", ["module:layers.1.fc", "node:parameter9"]),
        ("LINEAR", ["module:stem.fc", "node:op2", "module:layers.0.fc", "node:op6"]),
        ("stem.fc.weight", ["node:parameter1"]),
        ("5x3", ["node:op17", "node:output0"]),
        ("(2, 5, 3)", ["node:op17", "node:output0"]),
        ("2×5×3", ["node:op17", "node:output0"]),
    ],
)
def test_search_goes_from_hit_to_hit(show, text, found):
    page = show(small())
    find(page, text)
    for name in found:
        page.keyboard.press("Enter")
        assert "chosen" in card(page, name).get_attribute("class")
        assert card(page, name).is_visible()
    page.keyboard.press("Shift+Enter")
    assert "chosen" in card(page, found[-2] if len(found) > 1 else found[0]).get_attribute("class")


def test_search_counts_and_says_when_there_is_none(show):
    page = show(small())
    find(page, "relu")
    expect(page.locator("#hits")).to_have_text("4 hits")
    page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_have_text("1 of 4")
    assert page.locator("[data-id].hit").count() == 2  # one of them, and the closed module with the others
    page.keyboard.type("xyz")
    expect(page.locator("#hits")).to_have_text("no hit")
    page.keyboard.press("Escape")
    assert page.locator("#query").input_value() == ""


def test_facts_of_an_op(show):
    page = show(small())
    click(page, "node:op17")
    facts = page.locator("#facts")
    expect(facts.locator("h2")).to_have_text("Head")
    for text in (
        "Fused op",
        "2 × 5 × 3",
        "float32",
        "120 B",
        "axis (1,)",
        "1 µs →",
        "gradient0.0001",
        "head.py:7",
        "Add",
    ):
        assert text in facts.text_content(), text
    assert facts.locator("pre").text_content() == small().nodes["op17"].code
    facts.locator(".link", has_text="layers.2").click()
    expect(facts.locator("h2")).to_have_text("Add")
    assert "chosen" in card(page, "node:op16").get_attribute("class")
    facts.locator(".close").click()
    assert facts.is_hidden()


def test_facts_of_what_an_op_saves(show):
    page = show(small())
    find(page, "linear")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    click(page, "node:op2")
    facts = page.locator("#facts").text_content()
    for text in ("2 × 8", "64 B of its own", "256 FLOP", "time2 ms →  1 ms ←", "gradient100"):
        assert text in facts


def test_colour_by_time(show):
    page = show(small())
    choose(page, "time")
    fills = [fill(page, name) for name in ("module:stem", "module:layers", "node:op17")]
    assert fills == [(78, 86, 109), (254, 232, 56), (0, 34, 78)]  # a third, the most, nearly nothing
    assert page.locator(".marks span").all_text_contents() == ["0", "21 ms"]
    assert page.locator("#cards .unmeasured").count() >= 2
    choose(page, "kind")
    assert page.locator(".measured").count() == 0


def test_colour_by_gradient_is_logarithmic(show):
    page = show(small())
    choose(page, "gradient")
    assert page.locator(".marks span").all_text_contents() == ["0.0001", "100"]
    assert fill(page, "module:layers") == (147, 141, 119)  # 1 is two thirds of the way


def fading():
    """Equal blocks whose gradients are 0.01, 1 and 100."""
    builder = Builder()
    x = builder.add("input", "input", differentiable=False)
    for number, gradient in enumerate((0.01, 1.0, 100.0)):
        x = builder.block(f"layers.{number}", x, gradient)
    builder.graph.outputs = [x]
    return builder.graph


def test_equal_blocks_tell_the_least_and_the_most_of_their_gradients(show):
    page = show(fading(), ("backward", 2))
    assert "|gradient| 0.01…100" in card(page, "module:layers.0").text_content()
    choose(page, "gradient")
    assert page.locator(".marks span").all_text_contents() == ["1"]  # halfway
    click(page, "module:layers.0")
    assert "|gradient| 0.01…100" in card(page, "node:op3").text_content()
    card(page, "module:layers.0").locator(".badge").click()
    assert "|gradient| 0.01" in card(page, "node:op3").text_content()
    assert "…" not in card(page, "node:op3").text_content()


def test_equal_blocks_of_which_one_lost_its_gradient_stand_out(show):
    graph = fading()
    graph.nodes["op8"].gradient = math.nan
    page = show(graph, ("backward", 2))
    choose(page, "gradient")
    assert "…nan" in card(page, "module:layers.0").text_content()
    assert fill(page, "module:layers.0") == (213, 94, 0)


def test_equal_blocks_say_that_their_totals_are_of_each(show):
    page = show(small(), ("forward", 2))
    told = "3 ops · 64 parameters each · 256 FLOP eachkeeps 64 B each · 4 ms →  3 ms ← each"
    assert told in card(page, "module:layers.0").text_content()
    card(page, "module:layers.0").locator(".badge").click()
    assert "each" not in card(page, "module:layers.0").text_content()


def test_a_single_value_is_one_mark_of_the_scale(show):
    page = show(chain(3, gradient=0.132))
    choose(page, "gradient")
    assert page.locator(".marks span").all_text_contents() == ["0.132"]


def test_a_gradient_that_is_no_number_stands_out(show):
    graph = small()
    graph.nodes["op17"].gradient = math.nan
    graph.nodes["op4"].gradient = math.inf
    page = show(graph)
    choose(page, "gradient")
    choose(page, "backward")
    assert fill(page, "node:op17") == (213, 94, 0)
    assert "|gradient| nan" in card(page, "node:op17").text_content()
    assert "|gradient| inf" in card(page, "module:stem").text_content()
    assert page.locator(".broken").is_visible()


@pytest.mark.parametrize("gradient", [0.0, math.nan])
def test_gradients_that_are_all_lost_can_be_seen(show, gradient):
    page = show(chain(3, gradient=gradient))
    choose(page, "gradient")
    assert page.locator(".measured").count() == 3
    assert page.locator(".broken").is_visible() == math.isnan(gradient)


def test_a_measure_without_data_is_off_and_says_why(show):
    page = show(chain(3))
    reasons = {"time": "No time", "saved": "Nothing", "flops": "No FLOPs", "gradient": "No gradients"}
    for value, reason in reasons.items():
        radio = page.locator(f'input[value="{value}"]')
        assert radio.is_disabled()
        assert radio.locator("..").get_attribute("title").startswith(reason)
    assert page.locator('input[value="kind"]').is_enabled()


def test_direction_turns_the_arrows(show):
    page = show(small())
    ends = "all => all.map((arc) => [arc.hasAttribute('marker-start'), arc.hasAttribute('marker-end')])"
    assert page.eval_on_selector_all("#lines path", ends) == [[False, True]] * 4
    assert "|gradient|" not in card(page, "module:stem").text_content()
    choose(page, "backward")
    # no gradient goes to the input
    assert sorted(page.eval_on_selector_all("#lines path", ends)) == [[False, False]] + [[True, False]] * 3
    assert "|gradient| 100" in card(page, "module:stem").text_content()
    choose(page, "both")
    assert sorted(page.eval_on_selector_all("#lines path", ends)) == [[False, True]] + [[True, True]] * 3


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_arrowheads_point_along_their_lines(show, direction):
    """No line begins or ends in one of no length, by which a browser could not turn the head."""
    page = show(small(), (direction, None), viewport={"width": 2400, "height": 4000})
    steps = page.eval_on_selector_all(
        "#lines path",
        """all => all.flatMap((arc) => {
            const places = arc.getAttribute("d").split(/[MLCQ]/).filter(Boolean).map((part) => part.trim().split(" "));
            const ends = places.map((part) => part.slice(-2).map(Number));
            return [[0, 1], [-2, -1]].map(([one, other]) => [ends.at(one), ends.at(other)])
                .map(([[x, y], [across, down]]) => Math.hypot(across - x, down - y));
        })""",
    )
    assert len(steps) > 20
    assert min(steps) > 0


def test_backward_shows_what_is_saved(show):
    page = show(small())
    choose(page, "backward")
    click(page, "module:stem")
    click(page, "module:stem.fc")
    assert "|gradient| 100 · keeps 64 B" in card(page, "node:op2").text_content()
    assert card(page, "node:op2").locator(".saved").count() == 1
    assert card(page, "node:op3").locator(".saved").count() == 0


def test_keys_alone(show):
    page = show(small())
    focused = "document.activeElement.dataset.id ?? document.activeElement.id"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(focused) == "canvas":
            break
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "node:input0"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "module:stem"
    assert page.locator(".card:focus-visible > .face").evaluate("face => getComputedStyle(face).strokeWidth") == "4px"
    page.keyboard.press("Enter")
    assert "module:stem.fc" in ids(page)
    assert page.evaluate(focused) == "module:stem"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "node:op3"
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "module:stem.fc"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "facts"
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "node:op3"
    assert page.locator("#facts").is_hidden()
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "canvas"
    before = card(page, "module:stem").bounding_box()
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(50)
    assert card(page, "module:stem").bounding_box()["y"] == before["y"] - 60
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()


def test_tab_reaches_every_item_and_then_goes_on(show):
    page = show(small())
    page.locator("#open-all").click()
    page.locator("#canvas").focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.dataset.id")
        if name is None:
            break
        seen.append(name)
    # what is around the blocks, twice what is in one, and the box around the folded ones
    assert len(seen) == len(set(seen)) == 3 + 2 * 6 + 1
    assert page.evaluate("document.activeElement.closest('#stage') !== null")


def test_u_unfolds_and_folds(show):
    page = show(small())
    click(page, "module:layers")
    card(page, "module:layers.0").focus()
    page.keyboard.press("u")
    assert "module:layers.2" in ids(page)
    page.keyboard.press("u")
    assert "module:layers.2" not in ids(page)


def test_wheel_keys_and_buttons_zoom(show):
    page = show(small())
    page.mouse.move(640, 400)
    seen = [scale(page)]
    for act in (
        lambda: page.mouse.wheel(0, -100),
        lambda: page.keyboard.press("+"),
        lambda: page.locator("#zoom-in").click(),
    ):
        act()
        page.wait_for_timeout(50)
        seen.append(scale(page))
    assert seen == sorted(set(seen))
    page.keyboard.press("-")
    page.wait_for_timeout(50)
    assert scale(page) == pytest.approx(seen[-2])
    page.locator("#fit").click()
    assert scale(page) == seen[0]


def test_dragging_moves_and_opens_nothing(show):
    page = show(small())
    before = card(page, "module:stem").bounding_box()
    page.mouse.move(before["x"] + 30, before["y"] + 10)
    page.mouse.down()
    page.mouse.move(before["x"] + 130, before["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_timeout(50)
    after = card(page, "module:stem").bounding_box()
    assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((100, 50), abs=1)
    assert card(page, "module:stem").get_attribute("aria-expanded") == "false"


def test_two_fingers_zoom(show):
    page = show(small(), has_touch=True, viewport={"width": 375, "height": 700})
    touch = page.context.new_cdp_session(page)
    before = scale(page)
    for event, left, right in (("touchStart", 150, 200), ("touchMove", 140, 210), ("touchMove", 125, 225)):
        points = [{"x": x, "y": 500, "id": finger} for finger, x in enumerate((left, right))]
        touch.send("Input.dispatchTouchEvent", {"type": event, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(100)
    assert scale(page) == pytest.approx(2 * before, rel=0.1)
    assert card(page, "module:stem").get_attribute("aria-expanded") == "false"


def test_hostile_labels_run_nothing(show):
    builder = Builder(HOSTILE)
    x = builder.add("input", HOSTILE)
    facts = {"settings": {HOSTILE: HOSTILE}, "code": HOSTILE, "source": HOSTILE}
    x = builder.add("op", HOSTILE, HOSTILE.replace(".", ""), (x,), **facts)
    builder.graph.modules = dict.fromkeys(builder.graph.modules, HOSTILE)
    builder.graph.outputs = [x]
    page = show(builder.graph)
    assert page.title().split() == HOSTILE.split()
    assert page.locator("h1").text_content() == HOSTILE
    page.locator("#open-all").click()
    find(page, "onerror")
    for _ in range(3):
        page.keyboard.press("Enter")
    click(page, "node:op1")
    assert page.locator("#facts pre").text_content() == HOSTILE
    assert page.locator("#facts h2").text_content() == HOSTILE
    page.wait_for_timeout(100)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2


def test_the_policy_stops_what_would_run(chromium, tmp_path):
    path = tmp_path / "graph.html"
    path.write_text(html.page(small()), encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    blocked = page.evaluate(
        """async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
            document.body.insertAdjacentHTML("beforeend", "<img src=x: onerror='window.hurt = 1'>");
            const script = document.createElement("script");
            script.textContent = "window.hurt = 1";
            document.body.append(script);
            await fetch("data:,").catch(() => null);
            await new Promise((done) => setTimeout(done, 100));
            return seen.concat(window.hurt ?? []);
        }"""
    )
    page.close()
    assert {"script-src-elem", "script-src-attr", "connect-src", "img-src"} == set(blocked)


def test_five_thousand_nodes(show):
    """Of three times each the best, for others may be busy on the machine."""
    graph = large(1000)
    assert len(graph.nodes) >= 5000
    page = show(graph)
    drawn, opened = [], []
    for _ in range(3):
        page.reload()
        drawn.append(page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        assert page.locator("[data-id]").count() > 2
        opened.append(
            page.evaluate(
                """() => new Promise((done) => {
                    const start = performance.now();
                    document.getElementById("open-all").click();
                    requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
                })"""
            )
        )
    print(f"drawn {min(drawn):.0f} ms, all open {min(opened):.0f} ms")
    assert min(drawn) < 1000
    assert min(opened) < 2000
    assert "node:op3" in ids(page)
    page.locator("#fit").click()
    assert page.locator("[data-id]").count() > 100


def test_five_thousand_nodes_in_a_row(show):
    page = show(chain(5000))
    assert page.locator("[data-id]").count() < 200  # only what is in view, or near
    find(page, "output")
    page.keyboard.press("Enter")
    assert card(page, "node:output0").is_visible()


def test_a_module_that_runs_twice(show):
    builder = Builder()
    x = builder.add("input", "input")
    x = builder.add("op", "First", "shared", (x,))
    x = builder.add("op", "Between", "", (x,))
    x = builder.add("op", "Second", "shared", (x,))
    builder.graph.outputs = [x]
    page = show(builder.graph)
    assert page.locator("#lines path").count() == 4
    page.locator("#open-all").click()
    assert {"node:op1", "node:op2", "node:op3"} < set(ids(page))


def boxes(page):
    script = """all => all.map((card) => {
        const { x, y, width, height } = card.querySelector('.face').getBoundingClientRect();
        return [x, y, x + width, y + height];
    })"""
    return page.eval_on_selector_all("[data-id]:not(.open)", script)


@pytest.mark.parametrize("make", [small, branching])
def test_nothing_overlaps_and_lines_go_down(show, make):
    graph = make()
    page = show(graph, viewport={"width": 2400, "height": 4000})
    page.locator("#fold").uncheck(force=True)
    page.locator("#open-all").click()
    found = boxes(page)
    assert len(found) == len(graph.nodes) + 1
    for one, other in itertools.combinations(found, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    steps = page.eval_on_selector_all(
        "#lines path", "all => all.map((arc) => arc.getPointAtLength(1e6).y - arc.getPointAtLength(0).y)"
    )
    assert min(steps) > 0


@pytest.mark.parametrize("make", [small, branching])
def test_lines_lead_from_item_to_item(show, make):
    """At each end of a line is an item, or another line that goes on through the edge of a box."""
    page = show(make(), viewport={"width": 2400, "height": 4000})
    page.locator("#open-all").click()
    script = """all => all.map((arc) => [0, 1e6].map((at) => {
        const { x, y } = arc.getPointAtLength(at).matrixTransform(arc.getScreenCTM());
        return [x, y];
    }))"""
    lines = page.eval_on_selector_all("#lines path", script)
    bottoms = [((left + right) / 2, bottom) for left, _, right, bottom in boxes(page)]
    tops = [((left + right) / 2, top) for left, top, right, _ in boxes(page)]
    starts, ends = ([line[place] for line in lines] for place in (0, 1))
    assert len(lines) > 10
    assert [start for start in starts if not any(math.dist(start, place) < 2 for place in bottoms + ends)] == []
    assert [end for end in ends if not any(math.dist(end, place) < 2 for place in tops + starts)] == []


def test_the_flow_goes_straight(show):
    page = show(small(), viewport={"width": 1600, "height": 3000})
    page.locator("#open-all").click()
    middles = {name: (box := card(page, name).locator(".face").bounding_box())["x"] + box["width"] / 2 for name in OPS}
    assert max(middles.values()) - min(middles.values()) <= 1


def test_lines_that_need_not_cross_do_not(show):
    """Two pairs that were made crosswise, and the order of the lower ones follows the upper ones."""
    builder = Builder()
    a, b, c = (builder.add("input", name) for name in "abc")
    for name, source in (("C", c), ("B", b), ("A", a)):
        x = builder.add("op", name, "", (source,))
        builder.add("op", name.lower() * 2, "", (x,))
    page = show(builder.graph)
    x = {name: card(page, name).bounding_box()["x"] for name in ids(page)}
    upper, lower = [x["node:input0"], x["node:input1"], x["node:input2"]], [x["node:op7"], x["node:op5"], x["node:op3"]]
    assert (upper == sorted(upper)) == (lower == sorted(lower))
    assert (upper == sorted(upper, reverse=True)) == (lower == sorted(lower, reverse=True))


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_text_stays_inside(show, direction):
    builder = Builder("A model with a very long name indeed " * 3)
    x = builder.add("input", "input with a long name " * 5)
    x = builder.add("op", "OpWithAName" * 12, "module_with_a_long_name" * 4, (x,), tuple(range(1, 12)), gradient=1e-9)
    builder.graph.outputs = [x]
    page = show(builder.graph)
    choose(page, direction)
    page.locator("#open-all").click()
    outside = page.eval_on_selector_all(
        "[data-id]",
        """all => all.map((card) => {
            const [text, face] = [".words", ".face, .head"].map((part) => card.querySelector(part).getBBox());
            return Math.min(text.x - face.x, face.x + face.width - text.x - text.width,
                            text.y - face.y, face.y + face.height - text.y - text.height);
        })""",
    )
    assert len(outside) == 4
    assert min(outside) >= 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_shows_it_all(show):
    page = show(small(), viewport={"width": 375, "height": 700})
    for name in ids(page):
        box = card(page, name).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
        assert box["y"] + box["height"] <= 700
    click(page, "node:op17")
    for part in ("header", "canvas", "facts", "zoom", "legend", "direction", "colour", "folding", "page-buttons"):
        box = page.locator(f"#{part}, {part}").first.bounding_box()
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= 375, part
        assert box["y"] + box["height"] <= 700, part
    assert card(page, "node:op17").is_visible()
    assert card(page, "node:op17").bounding_box()["y"] < page.locator("#facts").bounding_box()["y"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_every_text_can_be_read(show, scheme, direction):
    page = show(small(), (direction, None), color_scheme=scheme, viewport={"width": 2400, "height": 4000})
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert [(text, ratio) for text, ratio in contrasts if ratio < 4.5] == []


def test_dark_and_light(show):
    paper = "getComputedStyle(document.body).backgroundColor"
    page = show(small(), color_scheme="light")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.locator("#theme").click()
    assert page.evaluate(paper) == "rgb(20, 24, 27)"
    assert show(small(), color_scheme="dark").evaluate(paper) == "rgb(20, 24, 27)"


def test_motion_is_for_those_who_want_it(show):
    for wanted, steps in (("reduce", 1), ("no-preference", 3)):
        page = show(small(), reduced_motion=wanted)
        page.keyboard.press("+")
        page.wait_for_timeout(100)
        count = page.evaluate(
            """() => new Promise((done) => {
                const seen = [];
                const observer = new MutationObserver((all) => seen.push(...all));
                observer.observe(document.getElementById("world"), { attributeFilter: ["transform"] });
                document.getElementById("fit").click();
                setTimeout(() => done(seen.length), 300);
            })"""
        )
        assert (count == 1) if steps == 1 else (count >= steps)


def test_an_empty_graph_says_so(show):
    page = show(Graph("Nothing"))
    expect(page.locator("#empty")).to_be_visible()
