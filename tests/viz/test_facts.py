"""The facts of an item: which there are, in which words, and of several blocks from the least to the most."""

from __future__ import annotations

import math

import pytest

from tests.viz.nets import item, node
from tinygrad_norm import nn
from tinygrad_norm.viz.facts import SHOWN, UNKNOWN, facts, keeps, kept, told, worded
from tinygrad_norm.viz.graph import from_call
from tinygrad_norm.viz.outline import outline

LINEAR = {
    "settings": {"activation": "relu", "eps": "0.1"},
    "parameters": 1234,
    "flops": 1_500_000,
    "saved": [((2, 3), "float32"), ((), "float64")],
    "saved_bytes": 1500,
    "seconds": 2e-3,
    "backward_seconds": 5e-6,
    "gradient": 0.25,
}
TOLD = {
    "shape": "2 × 3",
    "dtype": "float32",
    "settings": "activation relu, eps 0.1",
    "parameters": "1,234",
    "flops": "1.5 MFLOP",
    "saved": "1.5 kB",
    "time": "2 ms →  5 µs ←",
    "gradient": "0.25",
}


def test_all_facts_of_an_op_in_the_order_in_which_they_are_asked_for():
    found = told(item(node(**LINEAR)))
    assert found == TOLD
    assert tuple(found) == SHOWN


def test_what_is_not_known_is_not_told():
    assert told(item(node())) == {"shape": "2 × 3", "dtype": "float32"}
    assert told(item(node(flops=None)))["flops"] == UNKNOWN
    assert told(item(node(backward_seconds=1.0)))["time"] == "1 s ←"
    assert told(item(node(gradient=0.0)))["gradient"] == "0"


def test_an_output_tells_its_shape_and_its_dtype_alone():
    assert told(item(node(**LINEAR), kind="output")) == {"shape": "2 × 3", "dtype": "float32"}


def test_a_module_tells_the_sums_of_its_ops_and_the_output_of_the_last():
    last = node("Last", shape=(7,), parameters=6, flops=500_000, gradient=3.0, settings={"axis": "1"})
    found = told(item(node(**LINEAR), last, kind="module"))
    assert (found["shape"], found["parameters"], found["flops"]) == ("7", "1,240", "2 MFLOP")
    assert (found["gradient"], found["time"]) == ("3", TOLD["time"])
    assert "settings" not in found
    assert told(item(node(flops=5), node(flops=None), kind="module"))["flops"] == UNKNOWN


def test_of_several_blocks_the_least_and_the_most_are_told():
    blocks = [[node(gradient=value, saved_bytes=nbytes)] for value, nbytes in ((2.0, 8), (0.5, 8), (7.0, 8))]
    found = item(*blocks[0], kind="module", repeats=3, others=blocks[1:])
    assert (told(found)["gradient"], told(found)["saved"]) == ("0.5…7", "8 B")
    assert facts(found, ("saved", "gradient"), "forward") == ["keeps 8 B each", "|gradient| 0.5…7"]


@pytest.mark.parametrize(("values", "text"), [((0.0, 2.0), "0…2"), ((math.nan, 1.0), "1…nan"), ((0.0, 0.0), "0")])
def test_a_gradient_that_is_lost_is_told(values, text):
    one, other = (node(gradient=value) for value in values)
    assert told(item(one, repeats=2, others=[[other]]))["gradient"] == text


def test_words_say_what_a_fact_is_and_that_costs_are_of_each_block():
    several = item(node(**LINEAR), repeats=2)
    words = [worded(several, what, text) for what, text in TOLD.items()]
    assert words[:3] == [TOLD[what] for what in SHOWN[:3]]
    assert words[3:] == [
        "1,234 parameters each",
        "1.5 MFLOP each",
        "keeps 1.5 kB each",
        "2 ms →  5 µs ← each",
        "|gradient| 0.25",
    ]
    assert worded(several, "flops", UNKNOWN) == UNKNOWN
    assert worded(item(node()), "flops", "1 FLOP") == "1 FLOP"


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_what_stands_beside_an_op_is_not_told_by_it_again(direction):
    op, module = (item(node(**LINEAR), kind=kind) for kind in ("op", "module"))
    back = direction != "forward"
    assert (keeps(op, direction), keeps(module, direction), keeps(item(node()), direction)) == (back, False, False)
    assert facts(op, ("parameters", "saved"), direction) == ([] if back else ["keeps 1.5 kB"])
    assert facts(module, ("parameters", "saved"), direction) == ["1,234 parameters", "keeps 1.5 kB"]
    assert facts(op, (), direction) == []


def test_what_an_op_keeps_is_its_own_or_shared():
    assert kept(item(node(**LINEAR))) == ["2 × 3", "scalar", "1.5 kB of its own"]
    assert kept(item(node(saved=[((4,), "float32")]))) == ["4", "shared"]


# Of a net


def blocks():
    """The items of five equal blocks whose gradients fade, and the norms at each Tanh and each Linear."""
    net = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)])
    for linear in (layer for layer in net.modules() if isinstance(layer, nn.Linear)):
        linear.weight.raw *= 0.2
    graph = from_call(net, (3, 4), gradients=True)
    norms = [[node.gradient for node in graph.ops if node.name == name] for name in ("Tanh", "Linear")]
    return graph, *norms


def test_equal_blocks_tell_the_least_and_the_most_of_their_gradients():
    graph, norms, _ = blocks()
    (block,) = [each for each in outline(graph, 1).items if each.repeats == 5]
    found = facts(block, ("gradient", "parameters"), "forward")
    assert found == ["20 parameters each", f"|gradient| {min(norms):.3g}…{max(norms):.3g}"]
    assert min(norms) < 0.1 * max(norms)


def test_inside_equal_blocks_an_op_tells_the_gradients_of_all():
    graph, _, norms = blocks()
    (linear,) = [each for each in outline(graph).items if each.title == "Linear"]
    assert facts(linear, ("gradient",), "forward") == [f"|gradient| {min(norms):.3g}…{max(norms):.3g}"]
