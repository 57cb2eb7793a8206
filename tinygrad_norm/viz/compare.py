"""A layer as fused ops beside the same layer as their definitions: what runs, its cost, and how far the two differ."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import tape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.words import counted
from tinygrad_norm.viz.drawing import Drawing, check_how, check_shape
from tinygrad_norm.viz.graph import Edge, Graph, as_input, from_call
from tinygrad_norm.viz.style import scaled, seconds, size

ROUNDS = 9
"""Of which the median time counts."""
SIDES = ("fused", "composed")


class Side(NamedTuple):
    """What one way of computing a layer costs, forward and backward together."""

    ops: int
    saved_bytes: int
    flops: int
    seconds: float

    def __str__(self) -> str:
        ops, flops = counted(self.ops, "op"), f"{scaled(self.flops)}FLOP"
        return f"{ops}, keeps {size(self.saved_bytes)}, {flops}, {seconds(self.seconds)}"


class Comparison(Drawing):
    """The drawing of both sides, with their figures and the largest differences, over the largest values."""

    def __init__(self, graph: Graph, sides: dict[str, Side], differences: dict[str, float], **how: Any) -> None:
        super().__init__(graph, depth=None, fold=True, **how)
        self.sides, self.differences = sides, differences

    def summary(self) -> str:
        """Figures of each side, and how far apart the results are."""
        width = max(map(len, SIDES))
        lines = [*self.graph.title.split("\n"), *(f"{name:{width}}  {side}" for name, side in self.sides.items())]
        return "\n".join([*lines, *(f"{name} differ by {value:.2g}" for name, value in self.differences.items())])


def compare_graphs(
    layer: Module,
    x: Any,
    *,
    direction: str = "forward",
    show: str | Iterable[str] = ("shape", "parameters", "saved"),
) -> Comparison:
    """Draw one layer both ways in one picture: by its fused ops, and by the primitives that define them.

    FLOPs are those of the definition, on both sides: an addition, a product or another function of a number is one,
    and a sum of N numbers N. Times are medians, forward and backward. A gradient is that of random cotangents.

    Args:
        layer: a norm, or any module with fused ops.
        x: its input (N, ...), or the shape of one, for which random numbers are taken.
        direction: as for `draw_graph`.
        show: what is written on nodes, as for `draw_graph`.

    Raises:
        ValueError: the layer has no fused op, so both sides would be the same.
    """
    facts = check_how("compare_graphs", direction, show)
    check_shape("compare_graphs", x)
    x = Tensor(as_input(x, layer), requires_grad=True)
    graphs = {name: from_call(layer, x, gradients=True, composed=name == "composed") for name in SIDES}
    if not any(node.fused for node in graphs["fused"].ops):
        raise ValueError(f"compare_graphs: {type(layer).__name__} runs no fused op, so there is nothing to compare")
    work = sum(_work(graphs["composed"], node.id) for node in graphs["composed"].ops)
    results = {name: _results(layer, x, name == "composed") for name in SIDES}
    sides = {
        name: Side(len(graph.ops), sum(node.saved_bytes for node in graph.ops), work, _time(layer, x, name))
        for name, graph in graphs.items()
    }
    differences = {
        what: float(np.abs(one - other).max(initial=0) / max(np.abs(other).max(initial=0), 1e-300))
        for what, one, other in (
            (what, results["fused"][what], results["composed"][what]) for what in results["composed"]
        )
    }
    apart = max(differences.values())
    shape = " × ".join(map(str, x.shape))
    title = f"{type(layer).__name__}\n{layer!r}\ninput {shape}; the two differ by {apart:.1g} at most"
    graph = beside(title, {f"{name}: {sides[name]}": graphs[name] for name in SIDES})
    return Comparison(graph, sides, differences, direction=direction, show=facts)


def beside(title: str, graphs: dict[str, Graph]) -> Graph:
    """One graph of several, each in a module of that name, which share their inputs."""
    joined = Graph(title)
    for number, (name, graph) in enumerate(graphs.items()):
        box = name.partition(":")[0]
        names = {}
        for node in graph.nodes.values():
            names[node.id] = node.id if node.kind == "input" else f"{node.id}_{number}"
            module = "" if node.kind == "input" else ".".join(filter(None, [box, node.module]))
            joined.nodes[names[node.id]] = replace(node, id=names[node.id], module=module)
        joined.edges += [Edge(names[edge.source], names[edge.target], edge.place) for edge in graph.edges]
        joined.modules |= {box: name.partition(": ")[2], **{f"{box}.{path}": c for path, c in graph.modules.items()}}
        joined.outputs += [names[output] for output in graph.outputs]
    return joined


def _work(graph: Graph, node: str) -> int:
    """The FLOPs of a primitive: one for each number that it takes or makes, whichever are more; moving them is none."""
    op = graph.nodes[node]
    if op.flops or op.family == "shape":
        return op.flops
    taken = [math.prod(graph.nodes[edge.source].shape) for edge in graph.edges if edge.target == node]
    return max(math.prod(op.shape), *taken)


def _results(layer: Module, x: Tensor, composed: bool) -> dict[str, Any]:
    """The output and all gradients, from random cotangents; buffers are as before."""
    names, wanted = zip(("x", x), *layer.named_parameters(), strict=True)
    before = [(buffer, buffer.raw) for buffer in layer.buffers()]
    with tape.composed(composed):
        y = layer(x)
    for buffer, raw in before:
        buffer.raw = raw
    seed = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    found = tape.grad(y, wanted, seed, allow_unused=True)
    gradients = {f"gradients of {name}": g.raw for name, g in zip(names, found, strict=True) if g is not None}
    return {"outputs": y.raw, **gradients}


def _time(layer: Module, x: Tensor, side: str) -> float:
    """The median of several rounds after one that does not count."""
    times = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        _results(layer, x, side == "composed")
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
