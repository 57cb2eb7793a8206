"""The pictures' common parts: panels under a title, axes in percent, and bands over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_norm.experiments.spread import Spread
from tinygrad_norm.figures import INK, Axes, Figure, dress_axes, new_figure


def panels(rows: int, columns: int, title: str, *, width: float = 3.6, **share: Any) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure under a title, and its panels, `width` inches each, row by row."""
    figure = new_figure(width * columns + 0.4, 2.9 * rows + 0.5)
    figure.suptitle(title, color=INK, fontsize=12, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False, **share)
    return figure, [list(row) for row in grid]


def dress(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Add a title and labels, in the small letters of many panels."""
    dress_axes(axes, x, y)
    axes.set_title(title, color=INK, fontsize=10)
    axes.tick_params(which="both", labelsize=9)


def in_percent(axes: Axes, decimals: int | None = None) -> None:
    """Write the values of y, which are shares, in percent."""
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals))


def ranges(axes: Axes, x: Sequence[float], spreads: Sequence[Spread], colour: str, label: str, **style: Any) -> None:
    """Draw a line through the means, and a band from the lowest to the highest seed."""
    style = {"marker": "o", "markersize": 4, **style}
    axes.plot(x, [spread.mean for spread in spreads], color=colour, label=label, **style)
    low, high = [spread.low for spread in spreads], [spread.high for spread in spreads]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
