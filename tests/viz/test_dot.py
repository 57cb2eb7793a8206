"""An outline as DOT: small graphs compared exactly, arrows, titles and the legend; a name is text whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.viz.nets import GOLDEN, item, net, node, small_graph
from tinygrad_norm import Tensor, nn
from tinygrad_norm.output import printable
from tinygrad_norm.viz.dot import dot
from tinygrad_norm.viz.formats import LONGEST
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.outline import Link, Outline, outline
from tinygrad_norm.viz.parts import Box


@pytest.mark.parametrize("direction", GOLDEN)
def test_a_small_graph(direction):
    depth, show = GOLDEN[direction]
    expected = Path(__file__).with_name("golden") / f"{direction}.dot"
    drawn = outline(small_graph(direction), depth, tensors="parameters" in show)
    assert dot(drawn, show, direction) == expected.read_text(encoding="utf-8")


def drawn(*parts, links=(), title="title"):
    return Outline(Box("model", title, "module", [], parts=list(parts)), list(links))


def arrows(text):
    """The attributes of each arrow, by its ends."""
    return {
        (source, target): dict(re.findall(r'(\w+)="?([^" \]]+)', rest))
        for source, target, rest in re.findall(r"(\w+) -> (\w+) \[(.*)\]", text)
    }


@pytest.fixture
def chain():
    """One arrow of 100 bytes along which a gradient comes back, and one of 10,000 along which none does."""
    items = [item(node(name)) for name in ("A", "B", "C")]
    return drawn(*items, links=[Link("A0", "B0", 100), Link("B0", "C0", 10_000, back=False)])


def test_an_arrow_is_as_wide_as_its_bytes_and_a_gradient_goes_against_it(chain):
    forth, both = (arrows(dot(chain, (), direction)) for direction in ("forward", "both"))
    assert {ends: arrow["penwidth"] for ends, arrow in forth.items()} == {("A0", "B0"): "0.8", ("B0", "C0"): "1.8"}
    assert {(arrow["class"], arrow["style"], arrow["constraint"]) for arrow in forth.values()} == {
        ("forward", "solid", "true")
    }
    assert [(ends, arrow["class"], arrow["style"], arrow["constraint"]) for ends, arrow in both.items()] == [
        (("A0", "B0"), "forward", "solid", "true"),
        (("B0", "C0"), "forward", "solid", "true"),
        (("B0", "A0"), "backward", "dashed", "false"),
    ]


def test_the_way_back_by_itself_ranks_what_it_holds(chain):
    chain.reached = {"A0", "B0"}
    text = dot(chain, (), "backward")
    assert arrows(text).keys() == {("B0", "A0")}
    assert arrows(text)["B0", "A0"]["constraint"] == "true"
    assert "C0 [" not in text
    assert "C0 [" in dot(chain, (), "both")


def test_the_legend_has_a_row_for_each_look_and_each_arrow():
    def rows(direction):
        text = dot(outline(small_graph(direction)), ("shape",), direction)
        (legend,) = re.findall(r"legend \[label=<(<TABLE.*</TABLE>)>", text)
        return re.findall(r"<TD ALIGN=\"LEFT\">([^<]*)</TD>", legend)

    kinds = ["fused op", "parameter", "input, output"]
    assert rows("forward") == [*kinds, "tensor; wider: more bytes"]
    arrows = ["tensor; wider: more bytes", "gradient; wider: more bytes"]
    assert rows("both") == [*kinds, "saved for backward", *arrows]


def test_a_fused_op_has_two_borders():
    text = dot(drawn(item(node("One", fused=True)), item(node("Two"))), ())
    assert re.findall(r"(\w+)0 \[.*peripheries=(\d)", text) == [("One", "2"), ("Two", "1")]


def test_what_stands_for_several_says_for_how_many():
    text = dot(outline(from_call(net(), (2, 6)), 1), ("shape", "parameters"))
    assert "<B>1: Block  × 3</B>" in text
    assert '<FONT POINT-SIZE="9">28 parameters each</FONT>' in text
    inside = dot(outline(from_call(net(), (2, 6))), ())
    assert '<B>1</B><BR ALIGN="RIGHT"/><FONT POINT-SIZE="9">Block  × 3</FONT>' in inside
    assert inside.count("subgraph cluster_") == 2 + 1 + 2 + 1  # layers, the block, layers in it, the legend


def test_the_first_line_of_a_title_is_its_heading():
    text = dot(drawn(title="one\ntwo & three"), ())
    assert 'label=<<B>one</B><BR/><FONT POINT-SIZE="9">two &amp; three</FONT>>' in text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("<b>&\"'", "<B>&lt;b&gt;&amp;&quot;&#x27;</B>"),
        ("\\N", r"<B>\\N</B>"),
        ("", "<B> </B>"),
        ("a\nb\x1b", r"<B>a\\nb\\x1b</B>"),
        ("n" * 200, f"<B>{printable('n' * 200, LONGEST)}</B>"),
    ],
)
def test_a_name_is_text_whatever_it_holds(name, written):
    assert written in dot(drawn(item(node(name, id="op0"))), ())


def test_ids_are_those_of_the_outline_and_no_name():
    class Model(nn.Module):
        def forward(self, x):
            return {"a -> b": x["c -> d"] * 2}

    text = dot(outline(from_call(Model(), {"c -> d": Tensor([1.0, 2.0])})), ())
    assert arrows(text).keys() == {("input0", "op0"), ("op0", "output0")}
