"""Where Graphviz puts what stands in each level of a page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.viz.nets import net
from tinygrad_norm import Tensor
from tinygrad_norm.models import create_model
from tinygrad_norm.viz import layout, render
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.levels import Levels


def every(level):
    """All items of a level and of those in it."""
    for item in level["items"]:
        yield item
        for inner in ("level", "members"):
            if inner in item:
                yield from every(item[inner])


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_nothing_overlaps_and_lines_lead_down_from_item_to_item(name):
    found = Levels(from_call(create_model(name, 10), (2, 3, 32, 32)), 0)
    rows = [found.root, *(item["level"] for item in every(found.root) if "level" in item)]
    for level in rows:
        drawn = found.layouts[level["layout"]]
        boxes = drawn["boxes"][: len(level["items"])]
        for (x, y, wide, high), (across, down, other, tall) in itertools.combinations(boxes, 2):
            assert abs(x - across) >= (wide + other) / 2 or abs(y - down) >= (high + tall) / 2
        for place, (tail, head, *_) in enumerate(level["arcs"]):
            (x, y), *_, (across, down) = drawn["lines"][place]
            (start, above, _, high), (end, below, _, tall) = drawn["boxes"][tail], drawn["boxes"][head]
            assert (x, across) == pytest.approx((start, end), abs=1)
            assert (y, down) == pytest.approx((above + high / 2, below - tall / 2), abs=2)
            assert down > y


def test_the_way_from_input_to_result_is_straight():
    found = Levels(from_call(create_model("resnet18", 10), (2, 3, 32, 32)), 0)
    (block,) = [item for item in every(found.root) if item["id"] == "module:layer1.0" and "members" in item]
    boxes = found.layouts[block["level"]["layout"]]["boxes"]
    assert len({x for x, *_ in boxes}) == 1


def test_lines_that_would_bend_too_often_are_not_laid_out(monkeypatch):
    y = x = Tensor(np.ones(2), requires_grad=True)
    for _ in range(6):
        y = y * x
    graph = y.graph().graph
    whole = Levels(graph, 0).layouts[0]["lines"]
    monkeypatch.setattr(layout, "BENDS", 8)
    some = Levels(graph, 0).layouts[0]["lines"]
    assert len(whole) > len(some) > 6


def test_without_graphviz_a_page_says_what_to_install(monkeypatch):
    monkeypatch.setattr(render, "_commands", lambda kind: [])
    with pytest.raises(render.NoRendererError, match=r"pip install 'tinygrad-norm\[viz\]'"):
        Levels(from_call(net(), (2, 6)), 0)
