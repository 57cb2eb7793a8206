"""What is drawn: depth, modules that run again, tensors, the way back."""

from __future__ import annotations

import pytest

from tests.viz.nets import net, parts
from tinygrad_norm import nn, ops
from tinygrad_norm.models import create_model
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.outline import Link, outline
from tinygrad_norm.viz.parts import Item


def test_all_levels():
    found = outline(from_call(net(), (2, 6)), fold=False, tensors=False)
    block = [("{}.linear: Linear", ["Linear"]), ("{}.norm: LayerNorm", ["LayerNorm"]), "Add"]
    expected = ["input", ("0: Linear", ["Linear"])]
    for name in "123":
        inner = [(t[0].format(name), t[1]) if isinstance(t, tuple) else t for t in block]
        expected.append((f"{name}: Block", inner))
    assert parts(found.root) == ("Sequential, training", [*expected, ("4: Linear", ["Linear"]), "output"])


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, ["input", "Sequential, training", "output"]),
        (1, ["input", "0: Linear", "1: Block", "2: Block", "3: Block", "4: Linear", "output"]),
    ],
)
def test_whole_modules_below_a_depth(depth, expected):
    found = outline(from_call(net(), (2, 6)), depth, fold=False)
    assert parts(found.root)[1] == expected
    assert [item.kind for item in found.items] == ["input", *["module"] * (len(expected) - 2), "output"]


def test_a_module_has_the_totals_of_its_ops():
    graph = from_call(net(), (2, 6))
    block = list(outline(graph, 1, fold=False).items)[2]
    assert [node.name for node in block.nodes] == ["Linear", "LayerNorm", "Add"]
    assert sum(node.parameters for node in block.nodes) == 4 * 4 + 4 + 8
    assert block.last.name == "Add"


def test_a_module_that_runs_again_is_drawn_again():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.linear = nn.Tanh(), nn.Linear(4, 4)

        def forward(self, x):
            return self.act(self.linear(self.act(x)))

    found = outline(from_call(Twice(), (2, 4)), 1)
    assert [item.title for item in found.items] == ["input", "act: Tanh", "linear: Linear", "act: Tanh", "output"]
    assert len({item.id for item in found.items}) == 5


def test_parameters_stand_in_the_box_of_their_op():
    found = outline(from_call(net(), (2, 6)), fold=False)
    assert parts(found.root.parts[1])[1] == ["weight", "bias", "Linear"]


def test_arrows_tell_how_many_bytes_go_along():
    found = outline(from_call(nn.Linear(6, 4), (2, 6)), tensors=False)
    assert found.links == [Link("input0", "op0", 2 * 6 * 4, back=False), Link("op0", "output0", 2 * 4 * 4)]


def test_the_way_back_holds_only_what_a_gradient_reaches():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.linear, self.aside = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.frozen.requires_grad_(False)

        def forward(self, x):
            x = self.frozen(x)
            self.aside(x)
            return self.linear(x)

    found = outline(from_call(Model(), (2, 6), gradients=True))
    back = found.way_back()
    assert parts(back.root)[1] == [("linear: Linear", ["weight", "bias", "Linear"]), "output"]
    assert [link.target for link in back.links] == ["op2", "op2", "output0"]
    assert all(link.back for link in back.links)
    assert len(list(found.items)) == 11


def test_outputs_are_drawn_by_their_names():
    class Two(nn.Module):
        def forward(self, x):
            return {"mean": ops.mean(x), "twice": [2 * x]}

    graph = from_call(Two(), (2, 4))
    found = outline(graph)
    assert [item.title for item in found.items if item.kind == "output"] == ["output mean", "output twice.0"]
    assert {link.target for link in found.links} >= {"output0", "output1"}


def test_items_have_ids_of_their_own():
    items = list(outline(from_call(create_model("efficientnet_b0", 10), (2, 3, 32, 32)), 3).items)
    assert len({item.id for item in items}) == len(items)
    assert all(isinstance(item, Item) for item in items)
