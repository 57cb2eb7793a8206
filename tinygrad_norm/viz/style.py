"""The visual language of all drawings: one colour and shape for each kind of thing, and how figures are written.

The colours are those of Okabe and Ito, which the colour-blind tell apart; what they say is said by shape or text too.
"""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_norm.viz.graph import Node
from tinygrad_norm.viz.outline import Item


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
    "input": Look("input", "parallelogram", "filled", "#007A5A", "#E2F4EE", "#2CC79A", "#0E3328"),
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

SHOWN = ("shape", "dtype", "settings", "parameters", "flops", "saved", "time", "gradient")
"""What can be written on a node."""


def kind_of(item: Item) -> str:
    """The look of an item."""
    return "fused" if item.kind == "op" and item.last.fused else item.kind


def facts(item: Item, show: tuple[str, ...]) -> list[str]:
    """The lines of an item besides its title, of one where several are drawn as one."""
    told = [what for what in SHOWN if what in show and (what, item.kind) != ("parameters", "op")]  # drawn beside it
    found = [_fact(item.nodes, item.last, what) for what in told]
    return [line for line in found if line]


def _fact(nodes: list[Node], last: Node, what: str) -> str:
    if what == "shape":
        return " × ".join(map(str, last.shape)) or "scalar"
    if what == "dtype":
        return last.dtype
    if what == "settings":
        return ", ".join(f"{name} {value}" for name, value in last.settings.items()) if len(nodes) == 1 else ""
    if what == "parameters":
        return f"{total:,} parameters" if (total := sum(node.parameters for node in nodes)) else ""
    if what == "flops":
        return f"{scaled(total)}FLOP" if (total := sum(node.flops for node in nodes)) else ""
    if what == "saved":
        return f"keeps {size(total)}" if (total := sum(node.saved_bytes for node in nodes)) else ""
    if what == "time":
        return _times(nodes)
    return "" if last.gradient is None else f"‖gradient‖ {last.gradient:.3g}"


def _times(nodes: list[Node]) -> str:
    forward = [node.seconds for node in nodes if node.seconds is not None]
    backward = [node.backward_seconds for node in nodes if node.backward_seconds is not None]
    parts = [f"{seconds(sum(times))} {way}" for times, way in ((forward, "→"), (backward, "←")) if times]
    return "  ".join(parts)


def scaled(number: float) -> str:
    """A number with three digits and a prefix: "1.23 G"."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:.3g} "


def size(nbytes: float) -> str:
    """Bytes in a unit that leaves at most three digits before the point."""
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} GB"


def seconds(duration: float) -> str:
    """A time with three digits."""
    for least, unit in ((1.0, "s"), (1e-3, "ms")):
        if duration >= least:
            return f"{duration / least:.3g} {unit}"
    return f"{duration * 1e6:.3g} µs"


def width(nbytes: int) -> float:
    """Of an arrow that carries so many bytes, in points: each factor of ten adds half a point."""
    return 0.8 + 0.5 * max(0.0, len(str(max(nbytes, 1))) - 3)
