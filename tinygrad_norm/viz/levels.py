"""The levels of a page: what stands in each module, and how that is joined.

A line that enters or leaves a module passes a port on its edge, one for each tensor; there the page joins levels.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tinygrad_norm.viz.cards import named, written
from tinygrad_norm.viz.formats import width
from tinygrad_norm.viz.graph import Graph
from tinygrad_norm.viz.layout import described, lay_out
from tinygrad_norm.viz.outline import nested
from tinygrad_norm.viz.parts import Box, Item, items_in

Wires = list[tuple[str, str]]


class Levels:
    """All levels of a graph, from the `root` down, the `things` in them by id, and the `layouts` that they share."""

    def __init__(self, graph: Graph, depth: int | None) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self._graph, self._depth, self._layers = graph, depth, graph.layers
        self._texts: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._codes: dict[tuple[str, str], int] = {}
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
        sizes = [_size(self.things[item["id"]], item["lines"]) for item in items]
        flow = [part.kind not in ("parameter", "tensor") for part in parts]
        text = described(sizes, flow, ports, list(arcs))
        layout = self._texts.setdefault(text, len(self._texts))
        return {"items": items, **ports, "arcs": list(map(self._arc, arcs, arcs.values())), "layout": layout}

    def _part(self, part: Item, wires: Wires, place: dict[str, Any]) -> dict[str, Any]:
        """A part as it is drawn there, with the level in it, and that of all blocks for which it stands."""
        name = self._names.setdefault(part.id, self._name(part))
        thing = self.things.setdefault(name, named(part, self._graph) | place)
        shown = {"id": name, **written(part)}
        if not isinstance(part, Box):
            thing |= self._ends[part.id]
        if part.kind == "op":
            node = part.last
            code = self._codes.setdefault((node.code, node.source), len(self._codes))
            thing |= {"fused": node.fused, "saves": bool(node.saved), "definition": code}
        inside = place
        if isinstance(part, Box):
            layer = part.path in self._layers
            opened = self._depth is None or (part.path.count(".") + 1 < self._depth and not layer)
            thing |= {"open": opened} if part.path else {"open": True, "block": True}
            folded = set(part.folded_nodes)
            kept = [ends for ends in wires if ends[1] not in folded]
            shown["level"] = self._level(part.parts, kept, [{"parent": name}] * len(part.parts))
            inside = place if part.path else {"parent": name}
        if part.members:
            first = len(part.members) // part.repeats
            places = [inside] * first + [inside | {"behind": name}] * (len(part.members) - first)
            shown |= {"repeats": part.repeats, "members": self._level(part.members, wires, places)}
        return shown

    def _name(self, part: Item) -> str:
        if not isinstance(part, Box):
            return f"node:{part.id}"
        name = f"module:{part.path}" if part.path else part.id
        return name if name not in self.things else f"{name} {part.id}"

    def _arc(self, ends: tuple[int, int], carried: dict[str, list[str]]) -> list[Any]:
        """The vertices, how wide the line is, whether no gradient comes back, and from where to where it leads."""
        nodes = [self._graph.nodes[source] for source in carried]
        dead = not any(node.differentiable for node in nodes)
        return [*ends, round(width(sum(node.nbytes for node in nodes)), 2), dead, carried]


def _size(thing: dict[str, Any], lines: list[str]) -> tuple[int, int]:
    """About how large a card is, in pixels: the page measures its text, and makes room where this is too little."""
    head = 7.5 * len(thing["title"]) + 6.5 * len(thing["tag"]) + (16 if thing["kind"] == "module" else 0)
    return 2 * round(12 + max([head, *(6.2 * len(line) for line in lines)]) / 2), 32 + 16 * len(lines)
