"""The levels of a page: what stands in each module, and how that is joined.

A line that enters or leaves a module passes a port on its edge, one for each tensor; there the page joins levels.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tinygrad_norm.viz.cards import card
from tinygrad_norm.viz.formats import width
from tinygrad_norm.viz.graph import Graph
from tinygrad_norm.viz.layout import as_dot, lay_out
from tinygrad_norm.viz.outline import nested
from tinygrad_norm.viz.parts import Box, Item, items_in

Wires = list[tuple[str, str]]


class Levels:
    """All levels of a graph, from the `root` down; the `layouts` that equal ones share, and `definitions` of ops."""

    def __init__(self, graph: Graph, depth: int | None) -> None:
        self._graph, self._depth, self._layers = graph, depth, graph.layers
        self._texts: dict[str, int] = {}
        self._codes: dict[tuple[str, str], int] = {}
        self._first: dict[str, str] = {}
        self._ends: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"from": [], "to": []})
        for source, target in graph.wires:
            self._ends[source]["to"].append(f"node:{target}")
            self._ends[target]["from"].append(f"node:{source}")
        parts = nested(graph).parts
        known = {part.id for part in parts} | set(graph.nodes)  # a result that no op takes or makes is not drawn
        wires = [ends for ends in graph.wires if ends[1] in known]
        self.root = self._level(parts, wires, [{}] * len(parts))
        self.layouts, self.definitions = lay_out(list(self._texts)), list(self._codes)

    def _level(self, parts: list[Item], wires: Wires, places: list[dict[str, Any]]) -> dict[str, Any]:
        """Some parts, the ports of the module around them, and the arcs from vertex to vertex: parts, and then ports.

        Args:
            parts: what is in the module, or in all blocks of a run.
            wires: the ends of each edge that touches one of them.
            places: where each of them is: its `parent`, and `behind` which other it is not seen while that is folded.
        """
        owner = {node: place for place, part in enumerate(parts) for i in items_in([part]) for node in i.all_nodes}
        folded = {node for item in items_in(parts) for node in item.folded_nodes}
        inside: list[Wires] = [[] for _ in parts]
        ports: dict[str, dict[str, int]] = {"in": {}, "out": {}}
        arcs: dict[tuple[int, int], dict[str, list[str]]] = {}
        for source, target in wires:
            tail, head = owner.get(source), owner.get(target)
            for place in {tail, head}:
                if place is not None:
                    inside[place].append((source, target))
            if target in folded or tail == head:
                continue
            vertex = len(parts) + len(ports["in"]) + len(ports["out"])
            if tail is None:
                tail = ports["in"].setdefault(source, vertex)
            if head is None:
                head = ports["out"].setdefault(source, vertex)
            arcs.setdefault((tail, head), {}).setdefault(source, []).append(target)
        items = list(map(self._part, parts, inside, places))
        flow = [part.kind not in ("parameter", "tensor") for part in parts]
        text = as_dot(list(map(_size, items)), flow, ports, list(arcs))
        layout = self._texts.setdefault(text, len(self._texts))
        return {"items": items, **ports, "arcs": list(map(self._arc, arcs, arcs.values())), "layout": layout}

    def _part(self, part: Item, wires: Wires, place: dict[str, Any]) -> dict[str, Any]:
        """A part as it is drawn there, with the level in it, and that of all blocks for which it stands."""
        shown = {"id": self._name(part), **place, **card(part, self._graph)}
        if part.kind == "op":
            node = part.last
            code = self._codes.setdefault((node.code, node.source), len(self._codes))
            shown |= {"fused": node.fused, "saves": bool(node.saved), "definition": code}
        if isinstance(part, Box):
            layer = part.path in self._layers
            opened = self._depth is None or (part.path.count(".") + 1 < self._depth and not layer)
            shown |= {"open": opened} if part.path else {"open": True, "block": True}
            folded = set(part.folded_nodes)
            kept = [ends for ends in wires if ends[1] not in folded]
            shown["level"] = self._level(part.parts, kept, [{"parent": shown["id"]}] * len(part.parts))
        else:
            shown |= self._ends[part.id]
        if part.members:
            inside = {"parent": shown["id"]} if "block" in shown else place
            first = len(part.members) // part.repeats
            places = [inside] * first + [inside | {"behind": shown["id"]}] * (len(part.members) - first)
            shown |= {"repeats": part.repeats, "members": self._level(part.members, wires, places)}
        return shown

    def _name(self, part: Item) -> str:
        """Return a name that a part shares with its copy that stands for others."""
        if not isinstance(part, Box):
            return f"node:{part.id}"
        runs_again = part.path and self._first.setdefault(part.path, part.id) != part.id
        return f"module:{part.path}" if part.path and not runs_again else part.id

    def _arc(self, ends: tuple[int, int], carried: dict[str, list[str]]) -> list[Any]:
        """The vertices, how wide the line is, whether no gradient comes back, and from where to where it leads."""
        nodes = [self._graph.nodes[source] for source in carried]
        dead = not any(node.differentiable for node in nodes)
        return [*ends, round(width(sum(node.nbytes for node in nodes)), 2), dead, carried]


def _size(item: dict[str, Any]) -> tuple[int, int]:
    """About how large a card is, in pixels: the page measures its text, and makes room where this is too little."""
    head = 7.5 * len(item["title"]) + 6.5 * len(item["tag"]) + (16 if item["kind"] == "module" else 0)
    widest = max([head, *(6.2 * len(line) for line in item["lines"])])
    return 2 * round(12 + widest / 2), 32 + 16 * len(item["lines"])
