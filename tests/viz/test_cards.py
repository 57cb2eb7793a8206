"""What a page writes of a part: in the words of pictures, with the figures of all for which it stands."""

from __future__ import annotations

import math

import pytest

from tests.viz.nets import net
from tinygrad_norm import nn
from tinygrad_norm.viz.cards import card
from tinygrad_norm.viz.facts import SHOWN, facts
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.outline import nested
from tinygrad_norm.viz.parts import Box


@pytest.fixture
def graph():
    found = from_call(net(), (2, 6), gradients=True)
    for place, node in enumerate(found.ops):
        node.seconds, node.backward_seconds, node.gradient = 1e-3, 2e-3, 10.0**place
    return found


def parts_of(graph, place):
    box = nested(graph).parts[place]
    assert isinstance(box, Box)
    return box.parts


def run_of(graph):
    (run,) = [part for part in nested(graph).parts if part.repeats > 1]
    return run


def test_a_card_says_what_a_picture_says(graph):
    run = run_of(graph)
    found = card(run, graph)
    shown = facts(run, SHOWN, "both")
    assert found["lines"] == ["3 ops · 28 parameters each · 156 FLOP each", "keeps 96 B each · 3 ms →  6 ms ← each"]
    assert found["back"] == ["|gradient| 1e+03…1e+09"]
    for line in (*found["lines"], *found["back"]):
        assert all(fact in shown for fact in line.split(" · ") if not fact.endswith("ops"))


def test_measures_are_of_all_blocks_together(graph):
    measures = card(run_of(graph), graph)["measures"]
    assert measures["time"] == (0.027, "27 ms")
    assert measures["saved"] == (288, "288 B")
    assert measures["flops"] == (468, "468 FLOP")
    assert measures["gradient"] == (pytest.approx(1e6), "1e+06")  # halfway by logarithms


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0.0), (math.nan, "nan"), (math.inf, "inf")])
def test_a_gradient_that_is_lost_in_one_block_is_that_of_all(value, shown, graph):
    graph.nodes["op6"].gradient = value
    assert card(run_of(graph), graph)["measures"]["gradient"][0] == shown


def test_an_op_tells_what_it_keeps_and_an_output_its_shape_alone(graph):
    (first,) = [item for item in parts_of(graph, 1) if item.kind == "op"]
    told = card(first, graph)["facts"]
    assert told["kind"] == "Fused op"
    assert told["keeps"] == ["2 × 6", "4 × 6", "4", "48 B of its own"]
    output = card(nested(graph).parts[-1], graph)
    assert output["facts"] == {"kind": "Output", "shape": "2 × 2", "dtype": "float32", "size": "16 B"}
    assert (output["lines"], output["back"], output["measures"]) == (["2 × 2"], [], {})


def test_a_module_has_its_name_and_its_class(graph):
    found = card(run_of(graph), graph)
    assert [found[what] for what in ("kind", "title", "tag", "name")] == ["module", "1", "Block · 2 × 4", "1"]


def test_a_block_of_several_modules_has_the_names_of_the_first_and_the_last():
    layers = [layer for _ in range(3) for layer in (nn.Linear(4, 4), nn.LayerNorm(4))]
    graph = from_call(nn.Sequential(nn.Sequential(*layers)), (2, 4))
    (block,) = [part for part in parts_of(graph, 1) if part.repeats > 1]
    found = card(block, graph)
    assert (found["title"], found["name"], found["tag"]) == ("0…1", "0.0…0.1", "Linear · LayerNorm · 2 × 4")
