"""What a page writes of each part: on its card, in its panel, and the measures that colour it."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_norm.tables import plural
from tinygrad_norm.viz.facts import kept, told, worded
from tinygrad_norm.viz.formats import flops, gradient, line, seconds, size
from tinygrad_norm.viz.graph import Graph, total_flops
from tinygrad_norm.viz.parts import Box, Item
from tinygrad_norm.viz.style import look_of

KINDS = {"fused": "Fused op", "tensor": "Tensor that no op made"}


def card(part: Item, graph: Graph) -> dict[str, Any]:
    """What a part is called, and what is told of it.

    Its kind, its title with the `tag` behind that, and its whole name; the `lines` on its card and those that the way
    `back` adds; the facts in its panel, and the measures that colour it.
    """
    known = told(part)
    words = {what: worded(part, what, text) for what, text in known.items()}
    kind = look_of(part)
    facts: dict[str, Any] = {"kind": KINDS.get(kind, kind.capitalize()), **known}
    shown: dict[str, Any] = {"kind": part.kind, "title": part.title, "tag": "", "name": part.title, "facts": facts}
    lines: list[tuple[str, ...]] = [("shape",)]
    back: list[tuple[str, ...]] = [("gradient", "saved")]
    if isinstance(part, Box):
        words["ops"] = facts["ops"] = plural(len(part.nodes), "op")
        lines, back = [("ops", "parameters", "flops"), ("saved", "time")], [("gradient",)]
        paths = [part.path] if part.path else [each.path for each in part.parts if isinstance(each, Box)]
        ends = dict.fromkeys((paths[0], paths[-1]))
        classes = dict.fromkeys(filter(None, map(graph.modules.get, paths)))
        shown |= {"name": "…".join(ends), "title": "…".join(path.rpartition(".")[2] for path in ends)}
        shown["tag"] = line(" · ".join([*classes, known["shape"]]))
    else:
        facts["size"] = size(part.last.nbytes)
        shown |= {"shape": known["shape"], "name": part.title if part.kind == "output" else part.last.name}
    if part.kind == "op" and part.last.saved:
        facts["keeps"] = kept(part)
    shown |= {"title": line(shown["title"]), "lines": _lines(words, lines), "back": _lines(words, back)}
    return shown | {"measures": _measures(part)}


def _lines(words: dict[str, str], lines: list[tuple[str, ...]]) -> list[str]:
    """Lines of facts, of which some may not be known."""
    return list(filter(None, (" · ".join(words[what] for what in some if what in words) for some in lines)))


def _measures(part: Item) -> dict[str, tuple[float | str, str]]:
    """The values by which a part can be coloured, and how they are written: those of all for which it stands, summed.

    Gradients have one halfway between the least and the most by logarithms, or one that is no finite number above 0;
    JSON knows only finite numbers, so what is none is text.
    """
    values: dict[str, tuple[float | str, str]] = {}
    if part.kind == "output":
        return values
    blocks = [part.nodes, *part.others]
    if part.kind in ("op", "module"):
        nodes = [node for block in blocks for node in block]
        times = [time for node in nodes for time in (node.seconds, node.backward_seconds) if time is not None]
        saved, work = sum(node.saved_bytes for node in nodes), total_flops(nodes)
        values["saved"] = saved, size(saved)
        if times:
            values["time"] = float(f"{sum(times):.3g}"), seconds(sum(times))
        if work is not None:
            values["flops"] = work, flops(work)
    norms = [block[-1].gradient for block in blocks if block[-1].gradient is not None]
    if norms:
        odd = [norm for norm in norms if not 0 < norm < math.inf]
        typical = odd[0] if odd else math.sqrt(min(norms) * max(norms))
        values["gradient"] = typical if math.isfinite(typical) else str(typical), gradient(typical)
    return values
