"""An outline as Mermaid: small graphs compared exactly, arrows, boxes; a name is text whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.viz.nets import GOLDEN, item, net, node, small_graph
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.mermaid import SHAPES, mermaid
from tinygrad_norm.viz.outline import Link, Outline, outline
from tinygrad_norm.viz.parts import Box
from tinygrad_norm.viz.style import LOOKS


@pytest.mark.parametrize("direction", GOLDEN)
def test_a_small_graph(direction):
    depth, show = GOLDEN[direction]
    expected = Path(__file__).with_name("golden") / f"{direction}.mmd"
    drawn = outline(small_graph(direction), depth, tensors="parameters" in show)
    assert mermaid(drawn, show, direction) == expected.read_text(encoding="utf-8")


def drawn(*parts, links=()):
    return Outline(Box("model", "title", "module", [], parts=list(parts)), list(links))


def test_every_look_has_its_shape():
    assert SHAPES.keys() == LOOKS.keys()


def test_a_gradient_goes_against_the_arrow_where_one_comes_back():
    items = [item(node(name)) for name in ("A", "B", "C")]
    chain = drawn(*items, links=[Link("A0", "B0", 8), Link("B0", "C0", 8, back=False)])
    chain.reached = {"A0", "B0"}
    found = [
        re.findall(r"^  (\w+ -\S+ \w+)$", mermaid(chain, (), way), re.MULTILINE)
        for way in ("forward", "backward", "both")
    ]
    assert found == [
        ["A0 --> B0", "B0 --> C0"],
        ["B0 -.-> A0"],
        ["A0 --> B0", "B0 -.-> A0", "B0 --> C0"],
    ]


def test_what_stands_for_several_says_for_how_many():
    lines = mermaid(outline(from_call(net(), (2, 6)), 1), ("parameters",)).splitlines()
    assert '  module2["1: Block × 3<br/>28 parameters each"]:::module' in lines
    inside = mermaid(outline(from_call(net(), (2, 6)), tensors=False), ()).splitlines()
    start = inside.index('  subgraph box2 ["1: Block × 3"]')
    assert inside[start + 1].startswith("    subgraph box3 [")
    assert [line.strip() for line in inside].count("end") == sum(line.strip().startswith("subgraph") for line in inside)


def test_each_kind_is_coloured_once():
    text = mermaid(outline(small_graph("both")), ("shape",), "both")
    classes = re.findall(r"^  classDef (\w+) fill:(#\w+),stroke:(#\w+),color:#1B1F23$", text, re.MULTILINE)
    assert [name for name, *_ in classes] == ["fused", "parameter", "input", "output", "saved"]
    assert all((fill, line) == (LOOKS[name].fill, LOOKS[name].line) for name, fill, line in classes)
    assert set(re.findall(r":::(\w+)", text)) == {name for name, *_ in classes}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('"] end <b>', "#34;#93; end #60;b#62;"),
        ("a\nb", "a#92;nb"),
        ("#35;%%{x}", "#35;35#59;#37;#37;#123;x#125;"),
        ("größe 0.1, x:y/z-_×", "größe 0.1, x:y/z-_×"),
    ],
)
def test_a_name_is_text_whatever_it_holds(name, written):
    lines = mermaid(drawn(item(node(name, id="op0"))), ()).splitlines()
    assert lines[1] == f'  op0("{written}"):::op'
