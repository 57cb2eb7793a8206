"""What the cells of the pages draw with: figures of the package's own palette, light or dark as their reader is."""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib.colors import LinearSegmentedColormap

from tinygrad_norm import figures, no_grad, ops
from tinygrad_norm.doctor.norm_units import norms, values_sharing
from tinygrad_norm.figures import COLOURS, GREY, INK, PALE
from tinygrad_norm.nn import Module
from tinygrad_norm.tables import format_table

__all__ = ["BLUE", "COLOURS", "GREEN", "GREY", "INK", "ORANGE", "PALE", "SIGNS", "axes_of", "norm_places", "show"]
BLUE, ORANGE, GREEN = COLOURS[:3]
SIGNS = LinearSegmentedColormap.from_list("signs", [ORANGE, "#ffffff", BLUE])
"""From negative to positive: give it limits that are each other's opposite."""

STYLE = """<style>svg { max-width: 100%; height: auto; color: #333333; --pale: #e6e6e6; }
@media (prefers-color-scheme: dark) { svg { color: #e0e0e0; --pale: #444444; } }</style>"""


class Picture:
    """An SVG, as a notebook shows it."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/svg+xml": self.svg}


def axes_of(rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 3.0, **shared: Any) -> Any:
    """A new figure's axes: one, or an array of them; `axes.figure` is the figure."""
    return figures.new_figure(width, height).subplots(rows, columns, **shared)


def show(axes: Any) -> Picture:
    """The figure that the axes belong to, without a background; ink and grid have the colours of the page."""
    figure = getattr(axes, "flat", [axes])[0].figure
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"#333333|#000000", "currentColor", svg)
    svg = re.sub("#e6e6e6", "var(--pale)", svg, flags=re.IGNORECASE)
    return Picture(re.sub(r"(<svg[^>]*>)", rf"\1{STYLE}", svg, count=1))


def norm_places(net: Module, shape: tuple[int, ...]) -> str:
    """A table of the norms of a net: path, layer, shape of the input, and how many values share their statistics."""
    rows = [("path", "layer", "normalizes", "values")]
    handles = []
    for path, layer in norms(net):

        def note(layer: Any, given: tuple[Any, ...], path: str = path) -> None:
            values, _ = values_sharing(layer, given[0].numpy())
            rows.append((path, type(layer).__name__, " × ".join(map(str, given[0].shape)), f"{values:,}"))

        handles.append(layer.register_forward_pre_hook(note))
    with no_grad():
        net(ops.ones(shape))
    for handle in handles:
        handle.remove()
    return format_table(rows, "<<>")
