"""The picture of the values that share a statistic: a block of numbers, of which one set is coloured.

Source: Wu and He, Group normalization, 2018, figure 2, whose pictures these are.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np

from tinygrad_norm.dtypes import Array

CELL, ASIDE, UP = 24, 13, 10
"""The side of a number, and how far to the right and up the one behind it stands, in pixels."""


def picture(shared: Array, labels: tuple[str, str, str]) -> str:
    """A block of numbers as SVG.

    Args:
        shared: which of them are coloured: [depth, down, across]; a depth of 1 is drawn flat.
        labels: what these axes are called; the first is not told of a flat one.
    """
    depth, down, across = shared.shape
    left, top = 30 + 7 * len(labels[1]), 26 + (UP * depth if depth > 1 else 0)
    width = left + CELL * across + (ASIDE * depth + 8 * len(labels[0]) if depth > 1 else 0) + 20
    height = top + CELL * down + 30
    words = [(left + CELL * across / 2, top + CELL * down + 20, "middle", f"{labels[2]} →")]
    words.append((left - 8, top + CELL * down / 2 + 4, "end", f"{labels[1]} ↓"))
    if depth > 1:
        words.append((left + CELL * across + ASIDE * depth + 2, top - UP * depth / 2 + 14, "start", f"↗ {labels[0]}"))
    texts = [f'<text x="{x:g}" y="{y:g}" text-anchor="{end}">{escape(word)}</text>' for x, y, end, word in words]
    cells = "".join(_cells(shared, left, top))
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    about = escape(
        f"{int(shared.sum())} of {shared.size} values, {', '.join(labels)}: they share a statistic", quote=True
    )
    return f'<svg class="block" {size} role="img" aria-label="{about}">{cells}{"".join(texts)}</svg>'


def _cells(shared: Array, left: float, top: float) -> Iterator[str]:
    """The sides of numbers that are seen: of the front, and, of a deep block, of its top and its right."""
    depth, down, across = shared.shape
    beside, below, behind = np.array([CELL, 0]), np.array([0, CELL]), np.array([ASIDE, -UP])

    def side(kind: str, is_shared: bool, i: int, j: int, k: int, *edges: Array) -> str:
        """The parallelogram of a number at [i, j, k] between two edges, from its nearest corner."""
        corner = np.array([left, top]) + i * behind + j * below + k * beside
        points = (corner, corner + edges[0], corner + edges[0] + edges[1], corner + edges[1])
        text = " ".join(f"{x:g},{y:g}" for x, y in points)
        return f'<polygon class="{kind}{" shared" if is_shared else ""}" points="{text}"/>'

    for j, k in np.ndindex(down, across):
        yield side("front", shared[0, j, k], 0, j, k, beside, below)
    if depth > 1:
        for i, k in np.ndindex(depth, across):
            yield side("top", shared[i, 0, k], i, 0, k, beside, behind)
        for i, j in np.ndindex(depth, down):
            yield side("side", shared[i, j, -1], i, j, across, below, behind)
