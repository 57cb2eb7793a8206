"""The picture of a timeline: what the tape keeps and how long each op takes, op by op, with the modules below."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.figures import COLOURS, GREY, INK, PALE, as_text, new_figure, save_figure
from tinygrad_norm.viz.formats import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinygrad_norm.viz.timeline import Event, Pass, Timeline

T = TypeVar("T")
WIDTH, HEIGHT = 10.0, 5.6
COLOUR: dict[Pass, str] = {"forward": COLOURS[0], "backward": COLOURS[1]}
LETTER, GAP = 0.062, 0.015
"""The width of a letter below the axis, and what parts a module from the next, in inches."""


def draw(timeline: Timeline, path: StrPath) -> None:
    """Draw it as PNG, SVG or PDF, by the suffix.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(WIDTH, HEIGHT)
    memory, seconds = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    _draw_memory(memory, timeline)
    _draw_seconds(seconds, timeline.events)
    for axes in (memory, seconds):
        _dress(axes)
        _mark_phases(axes, timeline.events, named=axes is memory)
    _name_modules(seconds, timeline.events)
    seconds.set_xlim(0, len(timeline.events))
    figure.align_ylabels()
    save_figure(figure, path)


def _draw_memory(axes: Axes, timeline: Timeline) -> None:
    """Live bytes after each op, and the peak."""
    unit, name = _unit(timeline.peak.bytes)
    for phase, begin, end in _phases(timeline.events):
        values = [event.live_bytes / unit for event in timeline.events[begin:end]]
        axes.stairs(values, range(begin, end + 1), fill=True, color=COLOUR[phase], alpha=0.25, linewidth=0)
        axes.stairs(values, range(begin, end + 1), baseline=None, color=COLOUR[phase], linewidth=1.6)
    axes.set_ylabel(f"kept by the tape ({name})", color=INK)
    most, event = timeline.peak
    axes.set_ylim(0, max(1.25 * most / unit, 1e-9))
    if event is None or not most:
        return
    place = timeline.events.index(event) + 0.5
    left = place > len(timeline.events) / 2
    axes.plot([place], [most / unit], marker="v", color=INK, markersize=7, clip_on=False)
    text, box = f"peak {size(most)} after {as_text(str(event), 60)}", {"facecolor": "white", "alpha": 0.8, "pad": 1}
    beside: dict[str, Any] = {"xytext": (-8 if left else 8, 6), "ha": "right" if left else "left"}
    look: dict[str, Any] = {"color": INK, "fontsize": 9, "bbox": {**box, "edgecolor": "none"}}
    axes.annotate(text, (place, most / unit), textcoords="offset points", **beside, **look)


def _draw_seconds(axes: Axes, events: list[Event]) -> None:
    """How long each op took."""
    for phase in COLOUR:
        own = [(place + 0.5, 1e3 * event.seconds) for place, event in enumerate(events) if event.phase == phase]
        if own:
            places, times = zip(*own, strict=True)
            axes.bar(places, times, width=0.8, color=COLOUR[phase])
    axes.set_ylabel("time (ms)", color=INK)


def _dress(axes: Axes) -> None:
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def _mark_phases(axes: Axes, events: list[Event], named: bool) -> None:
    """A dashed line wherever forward becomes backward, or the other way round, and the name of each stretch."""
    for phase, begin, end in _phases(events):
        if begin:
            axes.axvline(begin, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        if named and end - begin > len(events) / 12:
            look: dict[str, Any] = {"color": COLOUR[phase], "fontsize": 11, "fontweight": "bold"}
            at = axes.get_xaxis_transform()
            axes.text((begin + end) / 2, 1.0, phase, transform=at, ha="center", va="bottom", **look)


def _name_modules(axes: Axes, events: list[Event]) -> None:
    """The modules below the axis: upright where one of them is too narrow for its name."""
    inch = (WIDTH - 1) / len(events)  # of one op
    stretches = [
        (as_text(name), begin, end) for name, begin, end in _modules(events) if (end - begin) * inch > 0.12 and name
    ]
    upright = any(len(name) * LETTER > (end - begin) * inch for name, begin, end in stretches)
    below = axes.get_xaxis_transform()
    for name, begin, end in stretches:
        bar: dict[str, Any] = {"color": GREY, "linewidth": 2, "solid_capstyle": "butt", "clip_on": False}
        axes.plot([begin + GAP / inch, end - GAP / inch], [-0.04, -0.04], transform=below, **bar)
        look: dict[str, Any] = {"rotation": 90 if upright else 0, "color": INK, "fontsize": 8}
        axes.text((begin + end) / 2, -0.08, name, transform=below, ha="center", va="top", **look)
    longest = max((len(name) for name, _, _ in stretches), default=0)
    room = 8 + (72 * LETTER * longest if upright else 12 * bool(longest))  # for the names, in points
    axes.set_xlabel(f"{len(events):,} ops in the order they ran", color=INK, labelpad=room)


def _stretches(events: list[Event], key: Callable[[Event], T]) -> Iterator[tuple[T, int, int]]:
    """Stretches of equal events: what their key is, the place of the first op, and that of the op after the last."""
    end = 0
    for value, same in itertools.groupby(events, key):
        begin, end = end, end + len(list(same))
        yield value, begin, end


def _phases(events: list[Event]) -> Iterator[tuple[Pass, int, int]]:
    return _stretches(events, lambda event: event.phase)


def _modules(events: list[Event]) -> list[tuple[str, int, int]]:
    """Stretches of one pass in one module of the first level, or of the second where one module holds nearly all."""
    first = Counter(event.module.split(".")[0] for event in events)
    level = 2 if max(first.values()) > 0.75 * len(events) else 1
    stretches = _stretches(events, lambda event: (event.phase, ".".join(event.module.split(".")[:level])))
    return [(name, begin, end) for (_, name), begin, end in stretches]


def _unit(most: int) -> tuple[float, str]:
    """The unit of the axis: bytes of which there are not too many."""
    units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")]
    return next((unit for unit in units if most >= unit[0]), units[-1])
