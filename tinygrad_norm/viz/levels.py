"""The levels of a page: what stands in each module, laid out by Graphviz as if all in it were closed.

A line that enters or leaves a module passes a port on its edge, one for each tensor; the page makes room where a module
is open, and joins the levels at their ports. Equal levels share a layout.
"""

from __future__ import annotations

import re
from itertools import starmap
from operator import mul
from typing import Any

from tinygrad_norm.viz import render
from tinygrad_norm.viz.cards import named, written
from tinygrad_norm.viz.formats import width
from tinygrad_norm.viz.graph import Graph
from tinygrad_norm.viz.outline import nested
from tinygrad_norm.viz.parts import Box, Item, items_in

BENDS = 2000
"""The most that the lines of a level may have together, and fewer in one of more items; what would need more is not
laid out, and goes straight. Graphviz takes minutes for what is long and tangled, and no one could follow it."""
STEPS = 8
"""Of a line for each curve of which it is made."""
NEARER = 0.4
"""How much closer than to each other items are to the ports of their level."""
POINTS = 72
"""In an inch. A point of Graphviz is a pixel of the page."""
LEVEL = (
    'digraph{{graph[ranksep=0.42,nodesep=0.36,splines=polyline]node[shape=box,fixedsize=true,label=""]'
    "edge[arrowhead=none,tailport=s,headport=n]{}}}"
)
DRAWN = re.compile(r'<g id="([ne])(\d+)".*?</title>\s*<\w+ [^>]*?(?:points|d)="([^"]*)"', re.DOTALL)
Wires = list[tuple[str, str]]


class Levels:
    """All levels of a graph, from the `root` down, the `things` in them by id, and the `layouts` that they share."""

    def __init__(self, graph: Graph, depth: int | None) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self._graph, self._depth, self._layers = graph, depth, graph.layers
        self._texts: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._codes: dict[tuple[str, str], int] = {}
        parts = nested(graph).parts
        self.root = self._level(parts, graph.wires, [{}] * len(parts))
        self.layouts, self.definitions = lay_out(list(self._texts)), list(self._codes)
        for source, target in graph.wires:
            self._neighbours(source, "to").append(f"node:{target}")
            self._neighbours(target, "from").append(f"node:{source}")

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
            for place in {tail, head} - {None}:
                inside[place or 0].append((source, target))
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
        gates = [part.kind not in ("parameter", "tensor") for part in parts]
        text = _dot(sizes, gates, ports, list(arcs))
        layout = self._texts.setdefault(text, len(self._texts))
        return {"items": items, **ports, "arcs": list(map(self._arc, arcs, arcs.values())), "layout": layout}

    def _part(self, part: Item, wires: Wires, place: dict[str, Any]) -> dict[str, Any]:
        """A part as it is drawn there, with the level in it, and that of all blocks for which it stands."""
        name = self._names.setdefault(part.id, self._name(part))
        thing = self.things.setdefault(name, named(part, self._graph) | place)
        shown = {"id": name, **written(part)}
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

    def _neighbours(self, node: str, side: str) -> list[str]:
        found: list[str] = self.things.get(f"node:{node}", {}).setdefault(side, [])  # what is not drawn has none
        return found

    def _arc(self, ends: tuple[int, int], carried: dict[str, list[str]]) -> list[Any]:
        """The vertices, how wide the line is, whether no gradient comes back, and from where to where it leads."""
        nodes = [self._graph.nodes[source] for source in carried]
        dead = not any(node.differentiable for node in nodes)
        return [*ends, round(width(sum(node.nbytes for node in nodes)), 2), dead, carried]


def _size(thing: dict[str, Any], lines: list[str]) -> tuple[int, int]:
    """About how large a card is, in pixels: the page measures its text, and makes room where this is too little."""
    head = 7.5 * len(thing["title"]) + 6.5 * len(thing["tag"]) + (16 if thing["kind"] == "module" else 0)
    return 2 * round(12 + max([head, *(6.2 * len(line) for line in lines)]) / 2), 32 + 16 * len(lines)


def _dot(
    sizes: list[tuple[int, int]], gates: list[bool], ports: dict[str, dict[str, int]], arcs: list[tuple[int, int]]
) -> str:
    """A level as DOT; `gates` tells which parts are on the way from inputs to results, which is to be straight."""
    lines = [f"n{v}[id=n{v},width={w / POINTS:.4f},height={h / POINTS:.4f}]" for v, (w, h) in enumerate(sizes)]
    for side, rank in (("in", "source"), ("out", "sink")):
        lines += [f"n{vertex}[id=n{vertex},width=0.01,height=0.01]" for vertex in ports[side].values()]
        if ports[side]:
            lines.append(f"{{rank={rank};{';'.join(f'n{vertex}' for vertex in ports[side].values())}}}")
    count = len(sizes)
    spans = [(head if head < count else count) - (tail if tail < count else -1) for tail, head in arcs]
    latest: dict[int, tuple[int, int]] = {}
    for place, (tail, head) in enumerate(arcs):
        made = -1 if tail >= count else tail if gates[tail] else -2
        latest[head] = max(latest.get(head, (-2, -1)), (made, place))
    left = BENDS - max(count - BENDS, 0)
    for place in sorted(range(len(arcs)), key=spans.__getitem__):
        left -= max(spans[place] - 1, 0)
        if left < 0:
            break
        tail, head = arcs[place]
        weight = ",weight=50" if latest[head][1] == place else ""
        lines.append(f"n{tail}->n{head}[id=e{place}{weight}]")
    return LEVEL.format("".join(lines))


def lay_out(texts: list[str]) -> list[dict[str, Any]]:
    """Lay out levels that are DOT: of each the `boxes` by vertex, as middle, size and size, and the `lines` by arc.

    Raises:
        NoRendererError: Graphviz is not installed.
        TimeoutError, OSError: it took too long, or failed.
    """
    pictures = render.render("\n#\n".join(texts), "svg").decode().split("</svg>")
    return [_read(picture) for picture, _ in zip(pictures, texts, strict=False)]


def _read(svg: str) -> dict[str, Any]:
    """Where a picture has its nodes and its edges, from its top left corner; ports are close to what is inside."""
    found: dict[str, dict[int, list[tuple[float, float]]]] = {"n": {}, "e": {}}
    for kind, number, points in DRAWN.findall(svg):
        values = list(map(float, re.findall(r"-?[\d.]+", points)))
        found[kind][int(number)] = list(zip(values[::2], values[1::2], strict=True))
    corners = [(*map(min, *points), *map(max, *points)) for _, points in sorted(found["n"].items())]
    across = [x for points in (*found["n"].values(), *found["e"].values()) for x, _ in points] or [0.0]
    left, top = min(across), min((corner[1] for corner in corners), default=0.0)
    inner = [corner for corner in corners if corner[2] - corner[0] > 1] or [(0.0, 0.0, 0.0, 0.0)]
    first, last = min(corner[1] for corner in inner), max(corner[3] for corner in inner)

    def moved(x: float, y: float) -> tuple[float, float]:
        near = NEARER * (min(y, first) - top) + NEARER * max(y - last, 0)
        return round(x - left, 1), round(near + min(max(y, first), last) - first, 1)

    boxes = [
        (*moved((x + right) / 2, (y + down) / 2), round(right - x), round(down - y)) for x, y, right, down in corners
    ]
    lines = {place: list(starmap(moved, _along(curve))) for place, curve in found["e"].items()}
    return {"boxes": boxes, "lines": lines, "width": round(max(across) - left)}


def _along(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points along a chain of Bézier curves: where it is stretched, no smooth curve goes around what it went around."""
    if len({x for x, _ in curve}) == 1:
        return [curve[0], curve[-1]]
    points = curve[:1]
    for at in range(0, len(curve) - 1, 3):
        for step in range(1, STEPS + 1):
            t, u = step / STEPS, 1 - step / STEPS
            weights = u**3, 3 * u * u * t, 3 * u * t * t, t**3
            x, y = (sum(map(mul, weights, axis)) for axis in zip(*curve[at : at + 4], strict=True))
            points.append((x, y))
    return points
