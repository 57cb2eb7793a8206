"""Equal blocks of a chain are drawn once, and nothing else is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.viz.nets import Block, net, parts
from tinygrad_norm import nn, ops
from tinygrad_norm.models import create_model
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.outline import outline
from tinygrad_norm.viz.parts import Box


@pytest.mark.parametrize("depth", [1, 2, None])
def test_equal_blocks_are_drawn_once(depth):
    found = outline(from_call(net(), (2, 6)), depth, tensors=False)
    (block,) = [part for part in found.root.parts if part.title == "1: Block"]
    assert block.repeats == 3
    assert [part.title for part in found.root.parts] == ["input", "0: Linear", "1: Block", "4: Linear", "output"]
    if depth == 1:
        items = [item.id for item in found.items]
        assert [(link.source, link.target) for link in found.links] == list(pairwise(items))


def test_what_the_last_of_equal_blocks_hands_on_leaves_the_one_that_is_drawn():
    found = outline(from_call(net(), (2, 6)), tensors=False)
    linear, norm, add, last = list(found.items)[2:-1]
    assert [item.title for item in (linear, norm, add, last)] == ["Linear", "LayerNorm", "Add", "Linear"]
    ends = {(link.source, link.target) for link in found.links}
    assert {(linear.id, norm.id), (norm.id, add.id), (add.id, last.id)} <= ends
    assert (add.id, linear.id) not in ends


def test_blocks_that_differ_or_are_joined_otherwise_are_not_folded():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(4) for _ in range(3)])

        def forward(self, x):
            a = self.blocks[0](x)
            b = self.blocks[1](a)
            return self.blocks[2](b) + a  # the first is used twice

    found = outline(from_call(Dense(), (2, 4)), 2)
    assert [item.repeats for item in found.items if item.kind == "module"] == [1, 2]
    wide = nn.Sequential(Block(4), nn.Linear(4, 5), Block(5))
    assert all(item.repeats == 1 for item in outline(from_call(wide, (2, 4)), 1).items)


def test_a_few_parts_that_follow_each_other_again_are_a_block_too():
    layers = [layer for _ in range(3) for layer in (nn.Linear(4, 4), nn.LayerNorm(4))]
    found = outline(from_call(nn.Sequential(nn.Linear(6, 4), *layers, nn.Linear(4, 2)), (2, 6)), 1)
    assert parts(found.root)[1] == [
        "input",
        "0: Linear",
        (" × 3", ["1: Linear", "2: LayerNorm"]),
        "7: Linear",
        "output",
    ]
    items = [item.id for item in found.items]
    assert [(link.source, link.target) for link in found.links] == list(pairwise(items))


def test_one_op_after_another_of_its_kind_is_no_block():
    layers = [nn.Tanh() for _ in range(5)]
    assert len(list(outline(from_call(nn.Sequential(*layers), (2, 6)), 1).items)) == 7


def test_resnet_in_two_levels():
    found = outline(from_call(create_model("resnet18", 10), (2, 3, 32, 32)), 2)
    stages = [part for part in found.root.parts if isinstance(part, Box)]
    assert [parts(stage)[1] for stage in stages] == [
        ["layer1.0: BasicBlock × 2"],
        *[[f"layer{n}.0: BasicBlock", f"layer{n}.1: BasicBlock"] for n in (2, 3, 4)],
    ]


def test_the_first_block_is_folded_though_it_takes_the_input():
    found = outline(from_call(nn.Sequential(*[Block(4) for _ in range(4)]), (2, 4)), 1)
    assert parts(found.root)[1] == ["input", "0: Block × 4", "output"]


def test_ops_that_no_module_holds_are_never_folded():
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = (nn.Parameter(np.ones((1, 4), np.float32)) for _ in range(2))

        def forward(self, x):
            return ops.reshape(self.weight, (1, 4)) * x + ops.reshape(self.bias, (1, 4)) * x

    class Steps(nn.Module):
        def forward(self, x):
            for _ in range(3):
                x = ops.exp(ops.tanh(x))
            return x

    names = [item.title for item in outline(from_call(Affine(), (2, 4))).items if item.kind == "parameter"]
    assert sorted(names) == ["bias", "weight"]
    assert parts(outline(from_call(Steps(), (2, 4))).root)[1] == ["input", *["Tanh", "Exp"] * 3, "output"]


def test_blocks_with_other_parameters_of_the_same_shape_are_not_equal():
    class Scale(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name
            setattr(self, name, nn.Parameter(np.ones(4, np.float32)))

        def forward(self, x):
            return ops.tanh(x * getattr(self, self.name))

    def titles(*names):
        found = outline(from_call(nn.Sequential(*map(Scale, names)), (2, 4)), 1, tensors=False)
        return parts(found.root)[1][1:-1]

    assert titles("weight", "weight") == ["0: Scale × 2"]
    assert titles("weight", "bias") == ["0: Scale", "1: Scale"]


def test_blocks_of_which_one_is_frozen_are_not_equal():
    model = net()
    model[2].linear.weight.requires_grad = False
    found = outline(from_call(model, (2, 6)), 1)
    assert [item.repeats for item in found.items] == [1] * 7


def test_blocks_that_take_different_inputs_are_not_folded():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
            self.gates = nn.ModuleList([Gate() for _ in range(3)])

        def forward(self, x, *gates):
            for gate, given in zip(self.gates, gates, strict=True):
                x = gate(x, given)
            return x

    class Gate(nn.Module):
        def forward(self, x, gate):
            return ops.tanh(x) * gate

    found = outline(from_call(Gated(), *[(2, 4)] * 4), 2)
    assert [item.repeats for item in found.items if item.kind == "module"] == [1, 1, 1]
    assert len([link for link in found.links if link.source.startswith("input")]) == 4


def test_a_block_starts_with_the_layer_before_its_norm():
    layers = [layer for width in (6, 4, 4, 4) for layer in (nn.Linear(width, 4), nn.LayerNorm(4))]
    found = outline(from_call(nn.Sequential(*layers), (2, 6)), 1)
    assert parts(found.root)[1][1:-1] == ["0: Linear", "1: LayerNorm", (" × 3", ["2: Linear", "3: LayerNorm"])]


def test_what_is_drawn_knows_the_others_for_which_it_stands():
    blocks = [nn.Sequential(*[Block(4) for _ in range(2)]) for _ in range(3)]
    graph = from_call(nn.Sequential(*blocks, nn.Linear(4, 2)), (2, 4))
    found = outline(graph, 2)
    assert parts(found.root)[1] == ["input", ("0: Sequential × 3", ["0.0: Block × 2"]), "3: Linear", "output"]
    (block,) = [item for item in found.items if item.title == "0.0: Block"]
    seen = [node.id for nodes in (block.nodes, *block.others) for node in nodes]
    assert sorted(seen) == sorted(node.id for node in graph.ops if node.module != "3")
    assert [len(nodes) for nodes in block.others] == [3] * 5
    linear = next(item for item in found.items if item.title == "3: Linear")
    assert (block.id, linear.id) in {(link.source, link.target) for link in found.links}
