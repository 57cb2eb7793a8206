"""The levels of a page: what stands in each, how they are joined, and where Graphviz puts it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.viz.nets import net
from tinygrad_norm import nn
from tinygrad_norm.models import create_model
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.levels import Levels
from tinygrad_norm.viz.outline import outline


def every(level):
    """All items of a level and of those in it."""
    for item in level["items"]:
        yield item
        for inner in ("level", "members"):
            if inner in item:
                yield from every(item[inner])


@pytest.mark.parametrize(("name", "runs"), [("vgg16", 3), ("resnet18", 1)])
def test_a_page_folds_what_a_picture_folds(name, runs):
    graph = from_call(create_model(name, 10), (2, 3, 32, 32))
    drawn = [part for part in _parts(outline(graph, 2).root) if part.repeats > 1]
    found = [item for item in every(Levels(graph, 2).root) if "repeats" in item]
    assert [item["repeats"] for item in found] == [part.repeats for part in drawn]
    assert len(found) == runs
    for item, part in zip(found, drawn, strict=True):
        inside = {each["id"] for each in every(item["members"])}
        nodes = {f"node:{node.id}" for nodes in (part.nodes, *part.others) for node in nodes}
        assert nodes <= inside


def _parts(part):
    yield part
    for inner in getattr(part, "parts", ()):
        yield from _parts(inner)


def test_a_run_has_the_level_of_its_first_block_and_that_of_all():
    (run,) = [item for item in every(Levels(from_call(net(), (2, 6)), 0).root) if "members" in item]
    assert run["id"] == "module:1"
    assert [item["id"] for item in run["level"]["items"]] == ["module:1.linear", "module:1.norm", "node:op3"]
    assert [item["id"] for item in run["members"]["items"]] == ["module:1", "module:2", "module:3"]


def things(found):
    """The items of all levels by id, each as it is drawn first."""
    return {item["id"]: item for item in reversed(list(every(found.root)))}


def test_what_is_folded_away_knows_behind_which_it_is():
    known = things(Levels(from_call(net(), (2, 6)), 0))
    assert {name: thing["behind"] for name, thing in known.items() if "behind" in thing} == {
        "module:2": "module:1",
        "module:3": "module:1",
    }
    assert known["node:op1"]["parent"] == "module:1.linear"
    assert known["module:1.linear"]["parent"] == "module:1"


def test_a_block_of_several_modules_holds_them_whether_folded_or_not():
    layers = [layer for _ in range(3) for layer in (nn.Linear(4, 4), nn.LayerNorm(4))]
    found = Levels(from_call(nn.Sequential(nn.Linear(6, 4), *layers), (2, 6)), 0)
    (block,) = [item for item in found.root["items"] if "members" in item]
    known = things(found)
    assert [item["id"] for item in block["members"]["items"]] == [f"module:{k}" for k in range(1, 7)]
    assert {known[f"module:{k}"]["parent"] for k in range(1, 7)} == {block["id"]}
    assert [k for k in range(1, 7) if "behind" in known[f"module:{k}"]] == [3, 4, 5, 6]
    assert block["title"] == "1…2"
    assert block["tag"] == "Linear · LayerNorm · 2 × 4"


def test_arcs_join_items_and_ports():
    root = Levels(from_call(net(), (2, 6)), 0).root
    ends = [tuple(arc[:2]) for arc in root["arcs"]]
    assert ends == [(0, 1), (1, 2), (2, 3), (3, 4)]  # input, layer, run, layer, output
    (run,) = [item for item in root["items"] if "members" in item]
    level = run["level"]
    assert list(level["in"]) == ["op0"]
    assert list(level["out"]) == ["op9"]  # what the last of the blocks hands on
    ports = level["in"]["op0"], level["out"]["op9"]
    assert {tuple(arc[:2]) for arc in level["arcs"]} == {(ports[0], 0), (0, 1), (1, 2), (ports[0], 2), (2, ports[1])}
    assert root["arcs"][2][4] == {"op9": ["op10"]}


def test_a_result_that_no_op_takes_or_makes_is_not_drawn():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(np.ones(2, np.float32))

        def forward(self, x):
            return {"twice": 2 * x, "given": x, "weight": self.weight}

    root = Levels(from_call(Model(), (3, 2)), 0).root
    assert [item["id"] for item in root["items"]] == ["node:input0", "node:op0", "node:output0", "node:output1"]
    assert root["in"] == root["out"] == {}
    assert [arc[:2] for arc in root["arcs"]] == [[0, 1], [1, 2], [0, 3]]


def test_equal_levels_share_a_layout():
    found = Levels(from_call(net(), (2, 6)), 0)
    (run,) = [item for item in found.root["items"] if "members" in item]
    inner = [item["level"]["layout"] for item in run["members"]["items"]]
    assert len(set(inner)) == 1
    assert len(found.layouts) == len({item["level"]["layout"] for item in every(found.root) if "level" in item}) + 2


@pytest.mark.parametrize(("depth", "opened"), [(0, 0), (1, 0), (2, 3), (3, 3), (None, 11)])
def test_as_many_levels_are_open_as_asked_for(depth, opened):
    assert sum(bool(thing.get("open")) for thing in things(Levels(from_call(net(), (2, 6)), depth)).values()) == opened
