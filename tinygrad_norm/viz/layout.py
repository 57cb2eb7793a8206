"""The layout of a page's levels, each by itself and as if all in it were closed, by Graphviz.

The page makes room where a module is open, and for text that is wider than was thought.
"""

from __future__ import annotations

import re
from itertools import pairwise, starmap
from typing import Any

from tinygrad_norm.viz.render import render

BENDS = 2000
"""The most that the lines of a level may have together, and fewer in one of more items; what would need more is not
laid out, and goes straight. Graphviz takes minutes for what is long and tangled, and no one could follow it."""
STEPS = 8
"""How many steps a line takes along each curve of which it is made."""
NEARER = 0.4
"""How much closer than to each other items are to the ports of their level."""
POINTS = 72
"""In an inch. A point of Graphviz is a pixel of the page."""
LEVEL = (
    'digraph{{graph[ranksep=0.42,nodesep=0.36,splines=polyline]node[shape=box,fixedsize=true,label=""]'
    "edge[arrowhead=none,tailport=s,headport=n]{}}}"
)
DRAWN = re.compile(r'<g id="([ne])(\d+)".*?</title>\s*<\w+ [^>]*?(?:points|d)="([^"]*)"', re.DOTALL)


def as_dot(
    sizes: list[tuple[int, int]], flow: list[bool], ports: dict[str, dict[str, int]], arcs: list[tuple[int, int]]
) -> str:
    """A level as DOT.

    Args:
        sizes: the width and the height of each item, in pixels.
        flow: which of them are on the way from inputs to results, which is to be straight.
        ports: of both sides, "in" and "out", vertices by name; they come after the items.
        arcs: from vertex to vertex.
    """
    lines = [f"n{v}[id=n{v},width={w / POINTS:.4f},height={h / POINTS:.4f}]" for v, (w, h) in enumerate(sizes)]
    for side, rank in (("in", "source"), ("out", "sink")):
        lines += [f"n{vertex}[id=n{vertex},width=0.01,height=0.01]" for vertex in ports[side].values()]
        if ports[side]:
            lines.append(f"{{rank={rank};{';'.join(f'n{vertex}' for vertex in ports[side].values())}}}")
    count = len(sizes)
    spans = [(head if head < count else count) - (tail if tail < count else -1) for tail, head in arcs]
    latest: dict[int, tuple[int, int]] = {}
    for place, (tail, head) in enumerate(arcs):
        made = -1 if tail >= count else tail if flow[tail] else -2
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
    pictures = render("\n#\n".join(texts), "svg").decode().split("</svg>")
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
    """Points along a line that Graphviz wrote as Bézier curves: stretched, it has to bend between corners too."""
    corners = curve[::3]
    if len({x for x, _ in corners}) == 1:
        return [corners[0], corners[-1]]
    shares = [step / STEPS for step in range(STEPS)]
    points = [(x + share * (a - x), y + share * (b - y)) for (x, y), (a, b) in pairwise(corners) for share in shares]
    return [*points, corners[-1]]
