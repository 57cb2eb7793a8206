"""Draws the curves of one run, or of several side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from tinygrad_norm import figures
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.training.history import Record

Runs = Mapping[str, Sequence[Record]]

SPLITS = {"train": ("training", (0, (4, 2))), "val": ("validation", "solid")}


def plot_curves(history: Sequence[Record] | Runs, path: StrPath, title: str = "", *, dpi: float = 150) -> None:
    """Draw loss and accuracy over the epochs, training dashed and validation solid, as PNG, SVG or PDF.

    Args:
        history: what `Trainer.fit` returned, or several of them by name, one colour each.
        path: the picture; its suffix says the format.
        title: a line above the panels.
        dpi: pixels an inch, for PNG.

    Raises:
        ValueError: there is nothing to draw, or the suffix is unknown.
        ImportError: matplotlib is not installed.

    Example:
        >>> import os
        >>> history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.5}]
        >>> training.plot_curves(history, "curves.svg")
        >>> os.path.exists("curves.svg")
        True
    """
    figures.check_format("plot_curves", path)
    runs: Runs = history if isinstance(history, Mapping) else {"": history}
    if not any(runs.values()):
        raise ValueError("plot_curves: the history is empty, train for at least one epoch")
    figures.save_figure(_draw(runs, title), path, dpi)


def _draw(runs: Runs, title: str) -> figures.Figure:
    records = [record for run in runs.values() for record in run]
    names = {name for record in records for name in record}
    metrics = [metric for metric in ("loss", "accuracy") if any(f"{split}_{metric}" in names for split in SPLITS)]
    if not metrics:
        raise ValueError(f"plot_curves: records have a train_loss, a val_loss or an accuracy, got {sorted(names)}")
    figure = figures.new_figure(4.6 * len(metrics), 3.6)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _draw_panel(axes, runs, metric)
    figures.add_title(figure, title)
    return figure


def _draw_panel(axes: figures.Axes, runs: Runs, metric: str) -> None:
    drawn: list[float] = []
    for colour, (name, run) in zip(itertools.cycle(figures.COLOURS), runs.items()):
        for split, (word, style) in SPLITS.items():
            points = [(r["epoch"], r[f"{split}_{metric}"]) for r in run if f"{split}_{metric}" in r]
            if not points:
                continue
            epochs, values = zip(*points, strict=True)
            marker = "o" if len(points) < 16 else ""
            label = f"{figures.as_text(name)}, {word}" if name else word
            axes.plot(epochs, values, color=colour, linestyle=style, marker=marker, markersize=3.5, label=label)
            drawn += values
    _dress(axes, metric, drawn)


def _dress(axes: figures.Axes, metric: str, values: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif min(values) > 0 and max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.dress_axes(axes, "epoch", metric)
    figures.legend(axes)
