"""The graph of a plan: its launches, and what goes from one to the next by way of memory.

Until an array is finished, whoever is given it is taken to write it; afterwards, to read it. So the arrows inside of an
op are one line, and those from op to op are what one makes and the other takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tinygrad_norm import integrity
from tinygrad_norm.nn.module import Parameter
from tinygrad_norm.plan.plan import Kept, Plan
from tinygrad_norm.plan.recorder import Buffer, Step, View, views_of
from tinygrad_norm.plan.report import function_of, launches, summary
from tinygrad_norm.plan.sources import Fixed, Input, Raw
from tinygrad_norm.viz.graph import Arrow, Graph, Kind, Node, code_of


def from_plan(plan: Plan, title: str = "") -> Graph:
    """The graph of a plan, with a node for each launch on arrays, and its time where one was measured."""
    builder = _Builder(title or summary(plan))
    for number, (step, launch) in enumerate(zip(plan.steps, launches(plan), strict=True)):
        if (views := views_of(step)) and step.run is not integrity.mark_changed:  # which computes nothing
            node = builder.add(number, step, launch.name, views)
            node.seconds = None if plan.seconds is None else launch.seconds
            node.settings = {"runs": "once"} if launch.how else {}
    builder.name_outputs(plan)
    return builder.graph


class _Builder:
    """Adds launches, in their order, and knows who wrote to each buffer last."""

    def __init__(self, title: str) -> None:
        self.graph = Graph(title)
        self._wrote: dict[int, str] = {}
        self._counts: Counter[str] = Counter()
        self._counted: set[str] = set()
        """The parameters that a launch before took."""

    def add(self, number: int, step: Step, name: str, views: list[View]) -> Node:
        """A launch, with an arrow from where each of its arrays comes."""
        made = [view for view in views if _writes(view.buffer, number)]
        shown = made[0] if made else views[-1]
        run = function_of(step)
        code, source = code_of(run) if hasattr(run, "__code__") else ("", "")
        node = Node(self._new_id("op"), "op", name, step.scope, shown.shape, str(shown.dtype), code=code, source=source)
        node.family = str(getattr(run, "__module__", None) or "numpy").rpartition(".")[2]
        node.flops, node.differentiable = None, False
        for place, buffer in enumerate({id(view.buffer): view.buffer for view in views}.values()):
            if known := self._maker(buffer, step.scope):
                self.graph.edges.append(Arrow(known, node.id, place))
                if self.graph.nodes[known].kind == "parameter" and known not in self._counted:
                    self._counted.add(known)
                    node.parameters += self.graph.nodes[known].parameters
        self._wrote |= {id(view.buffer): node.id for view in made}
        self.graph.nodes[node.id] = node
        for path in _paths(step.scope):
            self.graph.modules.setdefault(path, "")
        return node

    def name_outputs(self, plan: Plan) -> None:
        """Say which launches make what the function returns, each by its keys and places there."""
        made = [(name, self._wrote.get(id(kept.view.buffer))) for name, kept in _kept_in(plan.output)]
        known = [(name, node) for name, node in made if node is not None]
        self.graph.output_names, self.graph.outputs = [name for name, _ in known], [node for _, node in known]

    def _maker(self, buffer: Buffer, scope: str) -> str | None:
        """The node from which an array comes; None if this launch is the first to see it."""
        if id(buffer) not in self._wrote and buffer.source is not None:
            self._wrote[id(buffer)] = self._add_source(buffer, scope)
        return self._wrote.get(id(buffer))

    def _add_source(self, buffer: Buffer, scope: str) -> str:
        source, kind, name = buffer.source, "tensor", "kept array"
        if type(source) is Input:
            kind, name, scope = "input", f"input {source.number}", ""
        elif type(source) is Raw and isinstance(source.tensor, Parameter):
            kind, name = "parameter", "parameter"
        elif type(source) is Fixed:
            name = "array"
        chosen: Any = kind
        node = Node(self._new_id(chosen), chosen, name, scope, buffer.shape, str(buffer.dtype))
        node.parameters = source.tensor.size if kind == "parameter" else 0
        self.graph.nodes[node.id] = node
        return node.id

    def _new_id(self, kind: Kind) -> str:
        self._counts[kind] += 1
        return f"{kind}{self._counts[kind] - 1}"


def _writes(buffer: Buffer, number: int) -> bool:
    """Whether a launch of that number may write it: it is the plan's own, and not finished before."""
    return buffer.source is None and (buffer.finished is None or number < buffer.finished)


def _paths(scope: str) -> Iterator[str]:
    """A module's path and those of all that it is in."""
    while scope:
        yield scope
        scope = scope.rpartition(".")[0]


def _kept_in(output: Any, path: str = "") -> Iterator[tuple[str, Kept]]:
    if isinstance(output, Kept):
        yield path, output
    parts = output.items() if isinstance(output, Mapping) else ()
    for name, part in parts or (enumerate(output) if isinstance(output, list | tuple) else ()):
        yield from _kept_in(part, f"{path}.{name}" if path else str(name))
