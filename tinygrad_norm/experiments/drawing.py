"""The pictures' common dress, without pyplot, whose figures and backend belong to the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_norm.experiments.spread import Spread
from tinygrad_norm.figures import COLOURS, INK, PALE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "PALE", "dress", "legend", "panels", "ranges"]


def panels(rows: int, columns: int, title: str, *, width: float = 3.6, **share: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of panels, `width` inches each, row by row, under a title."""
    figure = new_figure(width * columns + 0.4, 2.9 * rows + 0.5)
    figure.suptitle(title, color=INK, fontsize=12, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False, **share)
    return figure, [list(row) for row in grid]


def dress(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Labels, a pale grid, and no more frame than is needed."""
    axes.set_title(title, color=INK, fontsize=10)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, which="both", labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def legend(axes: Axes, **options: Any) -> None:
    """What the lines are, without a frame."""
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, **options)


def ranges(axes: Axes, x: Sequence[float], spreads: Sequence[Spread], colour: str, label: str, **style: Any) -> None:
    """A line through the means, and a band from the lowest to the highest seed."""
    style = {"marker": "o", "markersize": 4, **style}
    axes.plot(x, [spread.mean for spread in spreads], color=colour, label=label, **style)
    low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
