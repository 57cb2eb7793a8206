"""What is drawn of a graph: modules as boxes down to a depth, whole modules as one item below it, equal blocks once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tinygrad_norm.viz.folding import Folding
from tinygrad_norm.viz.graph import Graph
from tinygrad_norm.viz.parts import Box, Item, items_in, shared_length


@dataclass(frozen=True)
class Link:
    """An arrow between items, the bytes of all tensors that go along it, and whether a gradient comes back."""

    source: str
    target: str
    nbytes: int
    back: bool = True


@dataclass
class Outline:
    """The drawing's parts, nested, its links, and the items to which a gradient comes back."""

    root: Box
    links: list[Link]
    reached: set[str] = field(default_factory=set)

    @property
    def items(self) -> Iterator[Item]:
        """All items, in order."""
        return items_in([self.root])

    def way_back(self) -> Outline:
        """What of it a gradient reaches."""
        return Outline(_only(self.root, self.reached), [link for link in self.links if link.back], self.reached)


def outline(graph: Graph, depth: int | None = None, fold: bool = True, tensors: bool = True) -> Outline:
    """Choose what is drawn, and join it; the arguments are those of `nested`."""
    root = nested(graph, depth, fold, tensors)
    items, reached = list(items_in([root])), _reached(graph)
    owners = {node: item.id for item in items for node in item.all_nodes}
    folded = {node for item in items for node in item.folded_nodes}
    carried: dict[tuple[str, str], dict[str, int]] = {}
    back = set()
    for source, target in graph.wires:
        ends = owners.get(source, ""), owners.get(target, "")
        if target in folded or not all(ends) or ends[0] == ends[1]:  # what is folded away is drawn once, with the first
            continue
        carried.setdefault(ends, {})[source] = graph.nodes[source].nbytes
        if source in reached and (target in reached or target not in graph.nodes):
            back.add(ends)
    links = [Link(*ends, sum(sizes.values()), ends in back) for ends, sizes in carried.items()]
    return Outline(root, links, {item.id for item in items if not reached.isdisjoint(node.id for node in item.nodes)})


def nested(graph: Graph, depth: int | None = None, fold: bool = True, tensors: bool = True) -> Box:
    """What is drawn, in boxes.

    A module that runs again after others have is another box.

    Args:
        graph: all there is.
        depth: how many levels of modules are open: deeper ones are single items, and so are layers, modules without
            any in them. None: all are open, layers too.
        fold: whether blocks that follow each other and are equal, in a chain, are drawn once.
        tensors: whether the parameters and other tensors of an op that is drawn by itself are.
    """
    root = _boxes(graph, depth, tensors)
    if fold:
        root.parts = Folding(graph).fold(root.parts)
    inputs = dict.fromkeys(source for source, _ in graph.wires if graph.nodes[source].kind == "input")
    root.parts[:0] = [Item(name, graph.nodes[name].name, "input", [graph.nodes[name]]) for name in inputs]
    drawn = {node for item in items_in([root]) for node in item.all_nodes}
    for place, (node, title) in enumerate(zip(graph.outputs, output_names(graph), strict=True)):
        if node in drawn:
            root.parts.append(Item(f"output{place}", title, "output", [graph.nodes[node]]))
    return root


def _boxes(graph: Graph, depth: int | None, tensors: bool) -> Box:
    """The ops in boxes, with the tensors that they are the first to take."""
    root = Box("model", graph.title, "module", [])
    open_boxes, count = [root], 0
    path: tuple[str, ...] = ()
    given: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        given[edge.target].append(edge.source)
    placed: set[str] = set()
    layers = graph.layers
    for node in graph.ops:
        full = tuple(node.module.split(".")) if node.module else ()
        closed = depth is not None and (len(full) >= depth or node.module in layers)
        wanted = full[:depth] if closed else full
        boxes = wanted[:-1] if closed else wanted
        shared = shared_length(path, boxes)
        del open_boxes[shared + 1 :]
        for level in range(shared, len(boxes)):
            name = ".".join(boxes[: level + 1])
            box = Box(f"box{(count := count + 1)}", _title(graph, name), "module", [], path=name)
            open_boxes[-1].parts.append(box)
            open_boxes.append(box)
        for box in open_boxes:
            box.nodes.append(node)
        parts = open_boxes[-1].parts
        if closed and parts and parts[-1].kind == "module" and path == wanted:
            parts[-1].nodes.append(node)
        elif closed:
            title = _title(graph, ".".join(wanted)) if wanted else graph.title
            parts.append(Item(f"module{(count := count + 1)}", title, "module", [node]))
        else:
            for each in map(graph.nodes.__getitem__, given[node.id] if tensors else ()):
                if each.kind not in ("op", "input") and each.id not in placed:
                    placed.add(each.id)
                    parts.append(Item(each.id, each.name.removeprefix(f"{each.module}."), each.kind, [each]))
            parts.append(Item(node.id, node.name, "op", [node]))
        path = wanted
    return root


def _title(graph: Graph, path: str) -> str:
    return f"{path}: {graph.modules[path]}" if path in graph.modules else path


def _only(box: Box, wanted: set[str]) -> Box:
    """A box without the items that are not wanted, and without boxes that hold none."""
    parts = [_only(part, wanted) if isinstance(part, Box) else part for part in box.parts]
    return replace(box, parts=[part for part in parts if (part.parts if isinstance(part, Box) else part.id in wanted)])


def _reached(graph: Graph) -> set[str]:
    """The nodes to which a gradient comes back from the outputs."""
    taken = defaultdict(list)
    for edge in graph.edges:
        taken[edge.target].append(edge.source)
    found: set[str] = set()
    ahead = list(graph.outputs)
    while ahead:
        node = ahead.pop()
        if node not in found and graph.nodes[node].differentiable:
            found.add(node)
            ahead += taken[node]
    return found


def output_names(graph: Graph) -> list[str]:
    """What the results are called."""
    count = len(graph.outputs)
    names = graph.output_names or ([""] if count == 1 else [str(place) for place in range(count)])
    return [f"output {name}".rstrip() for name in names]
