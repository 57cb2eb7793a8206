"""A layer as fused ops beside the same layer as their definitions: what runs, its cost, and how far the two differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tables import plural
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.viz.drawing import Drawing, check_how
from tinygrad_norm.viz.formats import flops, line, seconds, shape, size
from tinygrad_norm.viz.graph import Arrow, Graph, as_input, from_call, mode_of, state_kept, tensors_in, total_flops

ROUNDS = 9
"""How often each side is timed; the median counts."""
SIDES = ("fused", "composed")


class Side(NamedTuple):
    """What one way of computing a layer costs: FLOPs forward, time forward and backward together."""

    ops: int
    saved_bytes: int
    flops: int
    seconds: float

    def __str__(self) -> str:
        ops = plural(self.ops, "op")
        return f"{ops}, keeps {size(self.saved_bytes)}, {flops(self.flops)}, {seconds(self.seconds)}"


class Comparison(Drawing):
    """The drawing of both sides, with their figures and the largest differences, over the largest values.

    Example:
        >>> comparison = viz.compare_graphs(nn.RMSNorm(4), (2, 4))
        >>> print(comparison.summary().splitlines()[0])
        RMSNorm, training
    """

    def __init__(self, graph: Graph, sides: dict[str, Side], differences: dict[str, float], **how: Any) -> None:
        super().__init__(graph, depth=None, fold=False, **how)
        self.sides, self.differences = sides, differences

    def summary(self) -> str:
        """Figures of each side, and how far apart the results are."""
        width = max(map(len, SIDES))
        lines = map(line, self.graph.title.split("\n"))
        sides = (f"{name:{width}}  {side}" for name, side in self.sides.items())
        apart = (f"{line(name)} differ by {value:.2g}" for name, value in self.differences.items())
        return "\n".join([*lines, *sides, *apart])


def compare_graphs(
    layer: Module, x: Any, *, direction: str = "forward", show: str | Iterable[str] = ("shape", "parameters", "saved")
) -> Comparison:
    """Draw one layer both ways in one picture: by its fused ops, and by the primitives that define them.

    It is drawn in the mode in which it is, training or inference, and the title says which.
    FLOPs are those of the definition: an addition, a product or another function of a number is one, and a sum of N
    numbers N; that of a convolution adds partial sums to 0, so it has more than the convolution. Times are medians,
    forward and backward. A gradient is that of random cotangents. Random numbers, as of dropout, are the same on both
    sides, and the layer and the random generator are left as they were.

    Args:
        layer: a norm, or any module with fused ops.
        x: its input (N, ...), or the shape of one, for which random numbers are taken; or a list of several.
        direction: as for `draw_graph`.
        show: what is written on nodes, as for `draw_graph`.

    Raises:
        ValueError: the layer has no fused op, so both sides would be the same; no gradient comes back; an unknown
            direction or fact; a shape with a negative length.

    Example:
        >>> print(viz.compare_graphs(nn.LayerNorm(4), (2, 4)).summary().splitlines()[0])
        LayerNorm, training
    """
    facts = check_how("compare_graphs", direction, show)
    first, *others = [as_input(given, layer) for given in (x if isinstance(x, list) else [x])]
    x = Tensor(first, requires_grad=True)
    graphs = {name: from_call(layer, x, *others, gradients=True, composed=name == "composed") for name in SIDES}
    if not any(node.fused for node in graphs["fused"].ops):
        raise ValueError(f"compare_graphs: {type(layer).__name__} runs no fused op, so there is nothing to compare")
    run = _Run(layer, x, others)
    differences, times = run.differences(), run.times()
    sides = {name: _side(graph, times[name]) for name, graph in graphs.items()}
    apart = max(differences.values())
    figures = f"input {shape(x.shape)}; the two differ by {apart:.1g} at most"
    title = f"{type(layer).__name__}, {mode_of(layer)}\n{layer!r}\n{figures}"
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
        joined.edges += [Arrow(names[edge.source], names[edge.target], edge.place) for edge in graph.edges]
        joined.modules |= {box: name.partition(": ")[2], **{f"{box}.{path}": c for path, c in graph.modules.items()}}
        joined.outputs += [names[output] for output in graph.outputs]
        joined.output_names += [f"{box} {name}".rstrip() for name in graph.output_names]
    return joined


def _side(graph: Graph, duration: float) -> Side:
    ops = graph.ops
    return Side(len(ops), sum(node.saved_bytes for node in ops), total_flops(ops) or 0, duration)


class _Run:
    """A layer that goes forward and back, each time from the same state, the same input and the same cotangents."""

    def __init__(self, layer: Module, x: Tensor, others: list[Any]) -> None:
        self._layer, self._inputs = layer, (x, *others)
        self._wanted = {"x": x} | {name: each for name, each in layer.named_parameters() if each.requires_grad}
        rng = np.random.default_rng(1)
        with state_kept(layer):
            made = [y for _, y in tensors_in(layer(*self._inputs)) if y.requires_grad]
        self._seeds = [Tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in made]

    def differences(self) -> dict[str, float]:
        """The largest difference of each output and gradient on the two sides, over the largest value."""
        fused, composed = ({name: array.astype(np.float64) for name, array in self._results(side)} for side in SIDES)
        return {
            name: float(np.abs(fused[name] - other).max(initial=0) / max(np.abs(other).max(initial=0), 1e-300))
            for name, other in composed.items()
        }

    def times(self) -> dict[str, float]:
        """The median time of each side. They take turns; the first round does not count."""
        rounds = [{side: self._go(side)[2] for side in SIDES} for _ in range(ROUNDS + 1)]
        return {side: statistics.median(times[side] for times in rounds[1:]) for side in SIDES}

    def _results(self, side: str) -> Iterator[tuple[str, Any]]:
        outputs, gradients, _ = self._go(side)
        for path, y in tensors_in(outputs):
            yield f"outputs {path}".rstrip(), y.raw
        for (name, tensor), gradient in zip(self._wanted.items(), gradients, strict=True):
            yield f"gradients of {name}", np.zeros(tensor.shape) if gradient is None else gradient.raw

    def _go(self, side: str) -> tuple[Any, tuple[Tensor | None, ...], float]:
        """What the layer returns, all gradients, and how long both took."""
        wanted = list(self._wanted.values())
        with state_kept(self._layer), modes.composed(side == "composed"):
            started = time.perf_counter()
            outputs = self._layer(*self._inputs)
            reached = [y for _, y in tensors_in(outputs) if y.requires_grad]
            gradients = tape.grad(reached, wanted, self._seeds, allow_unused=True)
            return outputs, gradients, time.perf_counter() - started
