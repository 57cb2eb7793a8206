"""The visual language of all drawings: one colour and shape for each kind of thing, and how figures are written.

The colours are those of Okabe and Ito, which the colour-blind tell apart; what they say is said by shape or text too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

from tinygrad_norm.viz.formats import flops, gradient, seconds, shape, size
from tinygrad_norm.viz.graph import Node, total_flops
from tinygrad_norm.viz.outline import Outline
from tinygrad_norm.viz.parts import Item


class Look(NamedTuple):
    """Of one kind of node: what it is called, its shape in DOT, and colours by light and by dark."""

    title: str
    shape: str
    style: str
    line: str
    fill: str
    dark_line: str
    dark_fill: str


LOOKS = {
    "op": Look("op", "box", "rounded,filled", "#0072B2", "#E6F1F8", "#56B4E9", "#12303F"),
    "fused": Look("fused op", "box", "rounded,filled", "#0072B2", "#E6F1F8", "#56B4E9", "#12303F"),
    "module": Look("module", "box", "filled", "#5F6B76", "#F1F3F5", "#9AA7B3", "#262C31"),
    "parameter": Look("parameter", "ellipse", "filled", "#B97F00", "#FCF3DC", "#E69F00", "#3A2E10"),
    "input": Look("input, output", "parallelogram", "filled", "#007A5A", "#E2F4EE", "#2CC79A", "#0E3328"),
    "output": Look("input, output", "parallelogram", "filled", "#007A5A", "#E2F4EE", "#2CC79A", "#0E3328"),
    "tensor": Look("tensor", "ellipse", "filled,dashed", "#5F6B76", "#FFFFFF", "#9AA7B3", "#14181B"),
    "saved": Look("saved for backward", "box", "filled,dashed", "#A8527F", "#FBEEF5", "#CC79A7", "#3B2030"),
}
FORWARD, BACKWARD = ("#5F6B76", "#9AA7B3"), ("#C04E00", "#F0803C")
"""Of arrows, by light and by dark."""
TEXT, GROUND, BOX = ("#1B1F23", "#E6EAED"), ("#FFFFFF", "#14181B"), ("#B8C0C8", "#4A545D")
DARK = dict([TEXT, GROUND, BOX, FORWARD, BACKWARD])
for _look in LOOKS.values():
    DARK |= {_look.line: _look.dark_line, _look.fill: _look.dark_fill}
"""By dark, what each colour is by light."""
RAMP = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838")
"""Cividis, which colour-blind eyes read alike (Nuñez, Anderton and Renslow, Optimizing colormaps with consideration for
color vision deficiency, 2018), at nine places: from the least to the most of a measure."""
LOST = "#d55e00"
"""What is infinite or no number, beside that."""

SHOWN = ("shape", "dtype", "settings", "parameters", "flops", "saved", "time", "gradient")
"""What can be written on a node."""
UNKNOWN = "FLOPs unknown"
WORDS = {"parameters": "{} parameters", "saved": "keeps {}", "gradient": "|gradient| {}"}
"""Around what does not say by itself what it is."""


def style_sheet() -> str:
    """The palette as variables of a page: its ground and its text, and of each kind the fill and the line."""
    colours = {
        "ground": GROUND,
        "text": TEXT,
        "box": BOX,
        "forward": FORWARD,
        "backward": BACKWARD,
        "lost": (LOST, LOST),
    }
    for kind, look in LOOKS.items():
        colours |= {kind: (look.fill, look.dark_fill), f"{kind}-line": (look.line, look.dark_line)}
    return f":root {{{''.join(f'--{name}:light-dark({light},{dark});' for name, (light, dark) in colours.items())}}}\n"


def kind_of(item: Item) -> str:
    """The look of an item."""
    return "fused" if item.kind == "op" and item.last.fused else item.kind


def keeps(item: Item, direction: str) -> bool:
    """Whether what an item keeps for the way back is drawn beside it: where that is drawn, and it is an op."""
    return direction != "forward" and item.kind == "op" and bool(item.last.saved)


def kept(item: Item) -> list[str]:
    """The lines that tell what it keeps."""
    own = f"{size(item.last.saved_bytes)} of its own" if item.last.saved_bytes else "shared"
    return [*(shape(lengths) for lengths, _ in item.last.saved), own]


def kinds(outline: Outline, direction: str) -> list[str]:
    """The looks that a drawing has."""
    found = {kind_of(item) for item in outline.items}
    if any(keeps(item, direction) for item in outline.items):
        found.add("saved")
    return [kind for kind in LOOKS if kind in found]


def facts(item: Item, show: Collection[str], direction: str) -> list[str]:
    """The lines of an item besides its title, of those facts that are to be shown."""
    beside = ("parameters",) * (item.kind == "op") + ("saved",) * keeps(item, direction)
    return [worded(item, what, text) for what, text in told(item).items() if what in show and what not in beside]


def worded(item: Item, what: str, text: str) -> str:
    """A fact with the words that say what it is, where it does not stand beside its name."""
    costs = what in ("parameters", "flops", "saved", "time") and text != UNKNOWN
    each = " each" if costs and item.repeats > 1 else ""
    return WORDS.get(what, "{}").format(text) + each


def told(item: Item) -> dict[str, str]:
    """The facts that are known of an item; of one that stands for several, from the least to the most of them."""
    last, blocks = item.last, [item.nodes, *item.others]
    times = _total(blocks, "seconds", seconds), _total(blocks, "backward_seconds", seconds)
    gradients = [block[-1].gradient for block in blocks]
    facts = {
        "shape": shape(last.shape),
        "dtype": last.dtype,
        "settings": ", ".join(map(" ".join, last.settings.items())) if len(item.nodes) == 1 else "",
        "parameters": _total(blocks, "parameters", "{:,}".format),
        "flops": UNKNOWN if total_flops(item.nodes) is None else _total(blocks, "flops", flops),
        "saved": _total(blocks, "saved_bytes", size),
        "time": "  ".join(f"{time} {way}" for time, way in zip(times, "→←", strict=True) if time),
        "gradient": _range([value for value in gradients if value is not None], gradient),
    }
    known = SHOWN[:2] if item.kind == "output" else SHOWN  # the rest stands at what made it
    return {what: facts[what] for what in known if facts[what]}


def _total(blocks: list[list[Node]], name: str, write: Callable[[float], str]) -> str:
    """The sum of what the nodes of a block have of something; nothing if they have none."""
    sums = [sum(getattr(node, name) or 0 for node in nodes) for nodes in blocks]
    return _range(sums, write) if any(sums) else ""


def _range(values: list[float], write: Callable[[float], str]) -> str:
    """The least and the most of some values, of which what is no number is the most."""
    ends = sorted(values, key=lambda value: (math.isnan(value), value))[:: max(len(values) - 1, 1)]
    return "…".join(dict.fromkeys(map(write, ends)))
