"""Small nets, their graphs and parts, and an outline as nested titles."""

from __future__ import annotations

from tinygrad_norm import nn, random
from tinygrad_norm.viz.graph import Node, from_call
from tinygrad_norm.viz.parts import Box, Item
from tinygrad_norm.viz.timeline import Timeline


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return x + self.norm(self.linear(x))


def net():
    """A layer, three equal blocks, a layer."""
    return nn.Sequential(nn.Linear(6, 4), *[Block(4) for _ in range(3)], nn.Linear(4, 2))


def normed():
    """A layer and a norm with an activation: few nodes, of most kinds."""
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1D(4, activation="relu"))


def small_graph(direction):
    """The graph of that net as it is drawn in a direction."""
    random.manual_seed(0)
    return from_call(normed(), (5, 6), gradients=direction != "forward")


GOLDEN = {
    "forward": (None, ("shape", "parameters")),
    "backward": (None, ("shape", "saved")),
    "both": (1, ("shape", "parameters", "saved")),
}
"""How small graphs in `golden/` are drawn: in which direction, to what depth, with which facts."""


def item(*nodes, kind="op", **given):
    """An item of these nodes, or of one op."""
    nodes = list(nodes) or [node()]
    return Item(nodes[0].id, nodes[0].name, kind, nodes, **given)


def node(name="Op", kind="op", **given):
    """A node with an output of 2 × 3 numbers in float32."""
    return Node(
        **{"id": f"{name}0", "kind": kind, "name": name, "module": "", "shape": (2, 3), "dtype": "float32"} | given
    )


def parts(part):
    """Titles, nested; "× n" where several are one."""
    times = f" × {part.repeats}" if part.repeats > 1 else ""
    return (part.title + times, [parts(p) for p in part.parts]) if isinstance(part, Box) else part.title + times


def step(model, x):
    """The timeline of a step of training, to the sum of the output."""
    with Timeline() as timeline:
        model(x).sum().backward()
    return timeline
