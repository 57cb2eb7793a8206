"""The visual language of all drawings: one colour and shape for each kind of thing.

The colours are those of Okabe and Ito, which the colour-blind tell apart; what they say is said by shape or text too.
"""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_norm.viz.facts import keeps
from tinygrad_norm.viz.outline import Outline
from tinygrad_norm.viz.parts import Item


class Look(NamedTuple):
    """The look of one kind of node: what it is called, its shape in DOT, and colours by light and by dark."""

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
"""The colours of arrows, by light and by dark."""
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
ON_LIGHT, ON_DARK = "#10151a", "#ffffff"
"""Words on a light and on a dark place of that, whatever the page's own ground."""
FOCUS, SHADE = ("#0057d9", "#ffd24a"), "rgb(0 0 0 / 0.4)"
"""What has the keyboard's focus, by light and by dark; and what lies over a page behind a dialog."""


def style_sheet() -> str:
    """All colours as variables of a page: its ground and its text, and of each kind the fill and the line."""
    colours = {
        "ground": GROUND,
        "text": TEXT,
        "box": BOX,
        "forward": FORWARD,
        "backward": BACKWARD,
        "lost": (LOST, LOST),
        "on-light": (ON_LIGHT, ON_LIGHT),
        "on-dark": (ON_DARK, ON_DARK),
        "focus": FOCUS,
        "shade": (SHADE, SHADE),
    }
    for kind, look in LOOKS.items():
        colours |= {kind: (look.fill, look.dark_fill), f"{kind}-line": (look.line, look.dark_line)}
    return f":root {{{''.join(f'--{name}:light-dark({light},{dark});' for name, (light, dark) in colours.items())}}}\n"


def dark_rules() -> str:
    """By dark, the colours of what was drawn by light."""
    return " ".join(
        f'[fill="{light}" i] {{ fill: {dark}; }} [stroke="{light}" i] {{ stroke: {dark}; }}'
        for light, dark in DARK.items()
    )


def look_of(item: Item) -> str:
    """The look of an item."""
    return "fused" if item.kind == "op" and item.last.fused else item.kind


def kinds(outline: Outline, direction: str) -> list[str]:
    """The looks that a drawing has."""
    found = {look_of(item) for item in outline.items}
    if any(keeps(item, direction) for item in outline.items):
        found.add("saved")
    return [kind for kind in LOOKS if kind in found]
