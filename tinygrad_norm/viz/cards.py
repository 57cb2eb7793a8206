"""What a page writes of each part: on its card, in its panel, and the measures that colour it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from tinygrad_norm.tables import plural
from tinygrad_norm.viz.formats import flops, gradient, line, seconds, shape, size
from tinygrad_norm.viz.graph import Graph, Node, total_flops
from tinygrad_norm.viz.parts import Box, Item
from tinygrad_norm.viz.style import told

KINDS = {
    "op": "Op",
    "parameter": "Parameter",
    "input": "Input",
    "tensor": "Tensor that no op made",
    "output": "Output",
}


class Description:
    """Tells of each part what is so wherever it is drawn; code, which many share, by its place in `definitions`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._places: dict[tuple[str, str], int] = {}
        self._ends: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"from": [], "to": []})
        for source, target in graph.wires:
            self._ends[source]["to"].append(f"node:{target}")
            self._ends[target]["from"].append(f"node:{source}")

    @property
    def definitions(self) -> list[tuple[str, str]]:
        """The code of each definition, and where it stands."""
        return list(self._places)

    def __call__(self, part: Item) -> dict[str, Any]:
        """The kind of a part, its title and what stands behind that, its whole name, its facts and its neighbours."""
        return self._module(part) if isinstance(part, Box) else self._node(part)

    def _module(self, box: Box) -> dict[str, Any]:
        paths = [box.path] if box.path else [part.path for part in box.parts if isinstance(part, Box)]
        classes = list(dict.fromkeys(filter(None, map(self._graph.modules.get, paths))))
        ends = list(dict.fromkeys((paths[0], paths[-1])))
        facts = {
            "Kind": " · ".join(["Module", *classes]),
            "Ops": f"{len(box.nodes):,}",
            "Parameters": f"{sum(node.parameters for node in box.nodes):,}",
            **_costs(box.nodes),
        }
        title = line("…".join(path.rpartition(".")[2] for path in ends))
        tag = line(" · ".join([*classes, shape(box.last.shape)]))
        return {"kind": "module", "title": title, "tag": tag, "name": "…".join(ends), "facts": _known(facts)}

    def _node(self, item: Item) -> dict[str, Any]:
        node, output = item.last, item.kind == "output"
        facts: dict[str, Any] = {"Kind": "Fused op" if item.kind == "op" and node.fused else KINDS[item.kind]}
        if not output:
            facts["Module"] = " · ".join(filter(None, (node.module, self._graph.modules.get(node.module, ""))))
        facts["Shape"] = f"{shape(node.shape)} {node.dtype}, {size(node.nbytes)}"
        if not output:
            facts["Settings"] = [f"{name} = {value}" for name, value in node.settings.items()]
            facts["Parameters"] = f"{node.parameters:,}" if node.parameters else ""
            facts["Keeps arrays"] = [f"{shape(lengths)} {dtype}" for lengths, dtype in node.saved]
            facts |= _costs([node])
        name = item.title if output else node.name
        found: dict[str, Any] = {"kind": item.kind, "title": line(item.title), "tag": "", "name": name}
        found["facts"] = _known(facts)
        found |= self._ends[item.id]
        if item.kind == "op":
            code = self._places.setdefault((node.code, node.source), len(self._places))
            found |= {"fused": node.fused, "saves": bool(node.saved), "definition": code}
        return found


def written(part: Item) -> dict[str, Any]:
    """What stands on a part's card: `lines`, and those that the way `back` adds; and its measures with their texts."""
    facts = told(part)
    if part.kind == "module":
        each = " each" if part.repeats > 1 else ""
        costs = (plural(len(part.nodes), "op"), facts["parameters"], facts["flops"]), (facts["saved"], facts["time"])
        lines = [" · ".join(filter(None, some)) + each for some in costs if any(some)]
        back = f"{facts['gradient']} at its output" if facts["gradient"] else ""
    else:
        lines = [facts["shape"]]
        back = " · ".join(filter(None, (facts["gradient"], facts["saved"]))) if part.kind != "output" else ""
    return {"lines": lines, "back": [back] if back else [], "measures": _measures(part)}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {term: value for term, value in facts.items() if value}


def _costs(nodes: list[Node]) -> dict[str, str]:
    """What nodes cost together, and the gradient at the last of them."""
    work, kept, norm = total_flops(nodes), sum(node.saved_bytes for node in nodes), nodes[-1].gradient
    forward = [node.seconds for node in nodes if node.seconds is not None]
    backward = [node.backward_seconds for node in nodes if node.backward_seconds is not None]
    return {
        "FLOPs": flops(work) if work else "",
        "Keeps": size(kept) if kept else "",
        "Time forward": seconds(sum(forward)) if forward else "",
        "Time backward": seconds(sum(backward)) if backward else "",
        "Gradient norm": "" if norm is None else gradient(norm),
    }


def _measures(part: Item) -> dict[str, tuple[float, str]]:
    """The values by which a part can be coloured, and how they are written: those of all for which it stands, summed.

    Gradients have one halfway between the least and the most by logarithms, or one that is no finite number above 0.
    """
    values: dict[str, tuple[float, str]] = {}
    if part.kind == "output":
        return values
    blocks = [part.nodes, *part.others]
    if part.kind in ("op", "module"):
        nodes = [node for block in blocks for node in block]
        times = [time for node in nodes for time in (node.seconds, node.backward_seconds) if time is not None]
        kept, work = sum(node.saved_bytes for node in nodes), total_flops(nodes)
        values["saved"] = kept, size(kept)
        if times:
            values["time"] = float(f"{sum(times):.3g}"), seconds(sum(times))
        if work is not None:
            values["flops"] = work, flops(work)
    norms = [block[-1].gradient for block in blocks if block[-1].gradient is not None]
    if norms:
        odd = [norm for norm in norms if not 0 < norm < math.inf]
        typical = odd[0] if odd else math.sqrt(min(norms) * max(norms))
        values["gradient"] = typical, gradient(typical)
    return values
