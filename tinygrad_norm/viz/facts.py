"""The facts of an item: what they are, and in which words they stand in a picture and on a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from tinygrad_norm.viz.formats import flops, gradient, seconds, shape, size
from tinygrad_norm.viz.graph import Node, total_flops
from tinygrad_norm.viz.parts import Item

SHOWN = ("shape", "dtype", "settings", "parameters", "flops", "saved", "time", "gradient")
"""What can be written on a node."""
UNKNOWN = "FLOPs unknown"
WORDS = {"parameters": "{} parameters", "saved": "keeps {}", "gradient": "|gradient| {}"}
"""Around what does not say by itself what it is."""


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


def keeps(item: Item, direction: str) -> bool:
    """Whether what an item keeps for the way back is drawn beside it: where that is drawn, and it is an op."""
    return direction != "forward" and item.kind == "op" and bool(item.last.saved)


def kept(item: Item) -> list[str]:
    """The lines that tell what it keeps."""
    own = f"{size(item.last.saved_bytes)} of its own" if item.last.saved_bytes else "shared"
    return [*(shape(lengths) for lengths, _ in item.last.saved), own]
