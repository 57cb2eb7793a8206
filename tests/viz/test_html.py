"""The interactive page as text: it parses, holds the data once, and nothing in a label leaves its place."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tinygrad_norm import nn
from tinygrad_norm.random import manual_seed
from tinygrad_norm.viz import html
from tinygrad_norm.viz.graph import Arrow, Graph, Node, from_call
from tinygrad_norm.viz.style import LOOKS

HOSTILE = "\"'<img onerror=alert(1)></script><script>alert(1)</script><!--<script>\u2028\u2029&lt;\\u003c\0 $data 🂡"
VOID = {"meta", "link", "input"}


class Page(HTMLParser):
    """The elements of a page, with their attributes and text; whatever is not closed in order is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found: list[Any] = []
        self.open: list[Any] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append((tag, self.found[-1]))

    def handle_startendtag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        if self.open:
            self.open[-1][1][2] += text

    def all(self, tag, **attributes):
        return [
            (given, text) for name, given, text in self.found if name == tag and attributes.items() <= given.items()
        ]

    @property
    def data(self):
        ((_, text),) = self.all("script", type="application/json")
        return json.loads(text)


def plain():
    manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4))
    return from_call(model, (2, 3), gradients=True)


def hostile():
    graph = Graph(HOSTILE, modules={HOSTILE: HOSTILE}, outputs=["op0"])
    facts = {"settings": {HOSTILE: HOSTILE}, "code": HOSTILE, "source": HOSTILE}
    graph.nodes["input0"] = Node("input0", "input", HOSTILE, "", (2,), "float32")
    graph.nodes["op0"] = Node("op0", "op", HOSTILE, HOSTILE, (2,), "float32", **facts)
    graph.edges.append(Arrow("input0", "op0", 0))
    return graph


def texts(value):
    """All text in the data of a page."""
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(part)


def test_what_is_hostile_comes_back_as_it_was():
    data = Page(html.page(hostile())).data
    assert data["title"] == HOSTILE
    op = data["root"]["items"][1]["level"]["items"][0]
    assert op["name"] == HOSTILE
    assert op["facts"]["settings"] == f"{HOSTILE} {HOSTILE}"
    assert data["definitions"] == [[HOSTILE, HOSTILE]]


def test_half_letters_are_no_harm():
    graph = plain()
    graph.title = "a\ud800b\udc00"
    graph.nodes["op0"].settings["m\udfff"] = "M"
    text = html.page(graph)
    text.encode()
    assert Page(text).data["title"] == graph.title
    assert any(found.endswith("m\udfff M") for found in texts(Page(text).data["root"]))


def test_the_page_knows_how_to_start():
    data = Page(html.page(plain(), "backward", 2, fold=False)).data
    assert data["start"] == {"direction": "backward", "fold": False}


def test_all_colours_are_written_into_the_page():
    ((_, style),) = Page(html.page(plain())).all("style")
    for kind, look in LOOKS.items():
        assert f"--{kind}:light-dark({look.fill},{look.dark_fill});" in style
    named = set(re.findall(r"var\(--([a-z-]+)\)", style))
    assert named <= set(re.findall(r"--([a-z-]+):", style))
    for name in ("viewer.css", *html.SCRIPTS, html.START):
        value = r"\"#[0-9a-f]{3,8}\"|: *#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|oklch)\(|: *(?:white|black)\b"
        assert re.findall(value, html._read(name), re.IGNORECASE) == []


def test_the_page_holds_one_viewer_and_the_data_once():
    text = html.page(plain())
    page = Page(text)
    assert [attributes["type"] for attributes, _ in page.all("script")] == ["application/json", "module"]
    assert len(page.all("style")) == 1
    assert text.count('"root":{') == 1
    codes = [code for code, _ in page.data["definitions"]]
    assert len(codes) == len(set(codes)) == 2  # of Linear and LayerNorm


@pytest.mark.parametrize("make", [plain, hostile])
def test_two_runs_give_the_same_bytes(make):
    graphs = [make(), make()]
    for graph in graphs:
        for node in graph.nodes.values():
            node.seconds = node.backward_seconds = None  # time passes as it likes
    one, other = (html.page(graph).encode() for graph in graphs)
    assert one == other


def test_hostile_labels_stay_in_the_data():
    text = html.page(hostile())
    assert [tag for tag, _, _ in Page(text).found] == [tag for tag, _, _ in Page(html.page(plain())).found]
    before, after = text.split('id="graph">')
    data = after.split("</script>")[0]
    assert "onerror" not in before
    assert "onerror" in data
    assert [character for character in data if character in "<>&" or not " " <= character <= "~"] == []


def test_everything_that_runs_is_named_by_its_hash_and_nothing_else_may():
    page = Page(html.page(plain()))
    ((policy, _),) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.split(" ", 1) for rule in policy["content"].split("; "))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    for tag, attributes, rule in (("script", {"type": "module"}, "script-src"), ("style", {}, "style-src")):
        ((_, text),) = page.all(tag, **attributes)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_nothing_is_fetched_and_no_handler_is_inline():
    text = html.page(plain())
    fetching = r"https?:|//[a-z]+\.|@import|url\((?!#)|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket"
    assert re.findall(fetching, text) == []
    for tag, attributes, _ in Page(text).found:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")], tag
        assert attributes.get("href", "data:,") == "data:,"


def test_the_viewer_never_reads_text_as_markup():
    (_, script) = Page(html.page(plain())).all("script", type="module")[0]
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_know_are_text(value):
    graph = plain()
    graph.nodes["op0"].gradient = value
    assert str(value) in set(texts(Page(html.page(graph)).data["root"]))


def test_an_empty_graph_is_a_page():
    assert Page(html.page(Graph("Nothing"))).data["root"]["items"] == []


def test_what_is_no_graph_is_refused():
    with pytest.raises(TypeError, match=r"html\.page: graph is a Graph, .*got Linear"):
        html.page(nn.Linear(2, 2))
