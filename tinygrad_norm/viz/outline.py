"""What is drawn of a graph: modules as boxes down to a depth, whole modules as one item below it, equal blocks once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tinygrad_norm.viz.graph import Graph, Node


@dataclass
class Item:
    """A node of the drawing: an op or a tensor, a module with all its ops, or an output."""

    id: str
    title: str
    kind: str
    """op, parameter, input, tensor, module or output."""
    nodes: list[Node]
    repeats: int = 1
    others: list[list[Node]] = field(default_factory=list)
    """Its nodes in the other blocks for which that stands in which it is drawn."""

    @property
    def last(self) -> Node:
        """The node whose output is that of the item."""
        return self.nodes[-1]


@dataclass
class Box:
    """A module that is open, with what is in it."""

    id: str
    title: str
    parts: list[Part] = field(default_factory=list)
    repeats: int = 1


Part = Item | Box

_PERIOD = 4
"""The most parts of a block that is no module by itself."""


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
        return _items(self.root)

    def way_back(self) -> Outline:
        """What of it a gradient reaches."""
        return Outline(_only(self.root, self.reached), [link for link in self.links if link.back], self.reached)


def outline(graph: Graph, depth: int | None = None, fold: bool = True, tensors: bool = True) -> Outline:
    """Choose what is drawn.

    Args:
        graph: all there is.
        depth: how many levels of modules are open: deeper ones are single items, and so are layers, modules without
            any in them. None: all are open, layers too.
        fold: whether blocks that follow each other and are equal, in a chain, are drawn once.
        tensors: whether the parameters and other tensors of an op that is drawn by itself are.
    """
    root = _nested(graph, depth)
    twins = {} if not fold or all(map(_is_op, root.parts)) else _Folding(graph).fold(root)
    owners = {node.id: item for item in _items(root) for node in item.nodes}
    _add_others(graph, owners, twins)
    owners |= _add_tensors(graph, root, owners, tensors)
    reached = _reached(graph)
    links = [*_links(graph, owners, twins, reached), *_add_outputs(graph, root, owners, twins, reached)]
    items = {item.id for item in _items(root) if not reached.isdisjoint(node.id for node in item.nodes)}
    return Outline(root, links, items)


def _nested(graph: Graph, depth: int | None) -> Box:
    """The ops in boxes; a module that runs again after others have is another box."""
    root = Box("model", graph.title)
    open_boxes, count = [root], 0
    path: tuple[str, ...] = ()
    parents = {path.rpartition(".")[0] for path in graph.modules}
    for node in graph.ops:
        full = tuple(node.module.split(".")) if node.module else ()
        layer = node.module in graph.modules and node.module not in parents
        closed = depth is not None and (len(full) >= depth or layer)
        wanted = full[:depth] if closed else full
        boxes = wanted[:-1] if closed else wanted
        shared = _shared(path, boxes)
        del open_boxes[shared + 1 :]
        for level in range(shared, len(boxes)):
            name = ".".join(boxes[: level + 1])
            box = Box(f"box{(count := count + 1)}", _title(graph, name))
            open_boxes[-1].parts.append(box)
            open_boxes.append(box)
        parts = open_boxes[-1].parts
        if closed and parts and isinstance(parts[-1], Item) and parts[-1].kind == "module" and path == wanted:
            parts[-1].nodes.append(node)
        elif closed:
            title = _title(graph, ".".join(wanted)) if wanted else graph.title
            parts.append(Item(f"module{(count := count + 1)}", title, "module", [node]))
        else:
            parts.append(Item(node.id, node.name, "op", [node]))
        path = wanted
    return root


def _shared(path: Sequence[str], boxes: Sequence[str]) -> int:
    """How many of the boxes that are open stay so."""
    count = 0
    while count < min(len(path), len(boxes)) and path[count] == boxes[count]:
        count += 1
    return count


def _title(graph: Graph, path: str) -> str:
    return f"{path}: {graph.modules[path]}" if path in graph.modules else path


def _items(part: Part) -> Iterator[Item]:
    if isinstance(part, Item):
        yield part
        return
    for inner in part.parts:
        yield from _items(inner)


def _ops(block: Sequence[Part]) -> list[Node]:
    return [node for part in block for item in _items(part) for node in item.nodes]


class _Folding:
    """Draws equal blocks of a chain once. A block is a module, or a few modules that follow each other."""

    def __init__(self, graph: Graph) -> None:
        self._inputs: dict[str, list[str]] = {name: [] for name in graph.nodes}
        self._users: dict[str, list[str]] = {name: [] for name in graph.nodes}
        self._nodes = graph.nodes
        self._outputs = set(graph.outputs)
        for edge in graph.edges:
            self._inputs[edge.target].append(edge.source)
            self._users[edge.source].append(edge.target)
        self._signatures: dict[str, tuple[object, ...]] = {}
        self._twins: dict[str, str] = {}

    def fold(self, root: Box) -> dict[str, str]:
        """Fold all that can be; return, of each op that is not drawn, which one stands for it."""
        self._fold(root)
        for node in self._nodes:  # what stands for it may itself be folded away, further in
            if node in self._twins:
                twin = self._twins[node]
                self._twins[node] = self._twins.get(twin, twin)
        return self._twins

    def _fold(self, box: Box) -> None:
        kept: list[Part] = []
        at = 0
        while at < len(box.parts):
            first, *others = self._longest(box.parts, at)
            for block in others:
                self._twins.update(zip((n.id for n in _ops(block)), (n.id for n in _ops(first)), strict=True))
            whole = first[0] if len(first) == 1 else Box(f"block_{_ops(first)[0].id}", "", first)
            whole.repeats = 1 + len(others)
            kept.append(whole)
            at += len(first) * whole.repeats
        box.parts = kept
        for part in kept:
            if isinstance(part, Box):
                self._fold(part)

    def _longest(self, parts: list[Part], at: int) -> list[list[Part]]:
        """The equal blocks from there on that are the most parts together; a single part where there are none.

        Those that start a little later win if they are as many and start with more parameters: a layer goes with the
        norm behind it.
        """
        best = [parts[at : at + 1]]
        if _is_op(parts[at]):
            return best
        for period in range(1, _PERIOD + 1):
            blocks = self._chain(parts, at, period)
            if len(blocks) > 1 and (len(best) == 1 or len(blocks) * period > len(best) * len(best[0])):
                best = blocks
        for later in range(1, len(best[0])):
            blocks = self._chain(parts, at + later, len(best[0]))
            if len(blocks) == len(best) and _parameters(blocks[0][0]) > _parameters(best[0][0]):
                return [parts[at : at + 1]]
        return best

    def _chain(self, parts: list[Part], at: int, period: int) -> list[list[Part]]:
        """Blocks of so many modules that are equal, each of which takes what the one before it made."""
        blocks = [parts[at : at + period]]
        if any(map(_is_op, blocks[0])) or len(_ops(blocks[0])) < 2:
            return blocks
        if period > 1 and len({self._of(part) for part in blocks[0]}) == 1:  # one after another of its kind
            return blocks
        while True:
            start = at + period * len(blocks)
            block = parts[start : start + period]
            if not self._equal(block, blocks[0]) or not self._follows(block, blocks):
                return blocks
            blocks.append(block)

    def _equal(self, block: list[Part], other: list[Part]) -> bool:
        if [self._of(part) for part in block] != [self._of(part) for part in other]:
            return False
        return len(block) == 1 or self._signature(block) == self._signature(other)

    def _of(self, part: Part) -> tuple[object, ...]:
        """The signature of a part by itself."""
        if part.id not in self._signatures:
            self._signatures[part.id] = self._signature([part])
        return self._signatures[part.id]

    def _signature(self, block: Sequence[Part]) -> tuple[object, ...]:
        """What a block is, whatever comes before it: its ops, how they are joined, and what they take from outside."""
        ops = _ops(block)
        places = {node.id: place for place, node in enumerate(ops)}
        outside: dict[str, int] = {}
        found: list[object] = [isinstance(part, Box) for part in block]
        for node in ops:
            taken: list[object] = []
            for source in self._inputs[node.id]:
                given = self._nodes[source]
                if source in places:
                    taken.append(places[source])
                elif given.kind in ("op", "input"):
                    taken.append((outside.setdefault(source, len(outside)), given.shape))
                else:
                    taken.append((given.kind, given.shape, given.differentiable, _from(node.module, given.name)))
            settings = tuple(node.settings.items()) if node.name != "Reshape" else ()
            found.append((node.name, node.shape, node.dtype, settings, node.differentiable, tuple(taken)))
        return tuple(found)

    def _follows(self, block: Sequence[Part], chain: list[list[Part]]) -> bool:
        """Whether a block takes all it takes from the one before, which nobody else uses, at the same places."""
        before, own = _ops(chain[-1]), {node.id for node in _ops(block)}
        places = {node.id: place for place, node in enumerate(before)}
        taken = self._outside(block)
        if not taken or any(source not in places for source in taken):
            return False
        for node in before:
            users = [user for user in self._users[node.id] if user not in places]
            if node.id in self._outputs or any(user not in own for user in users):
                return False
        if len(chain) == 1:
            return True
        earlier = [node.id for node in _ops(chain[-2])]
        return [places[source] for source in taken] == [earlier.index(source) for source in self._outside(chain[-1])]

    def _outside(self, block: Sequence[Part]) -> list[str]:
        """The ops and inputs outside of a block from which it takes something, in order."""
        ops = _ops(block)
        own = {node.id for node in ops}
        found = [source for node in ops for source in self._inputs[node.id] if source not in own]
        return list(dict.fromkeys(source for source in found if self._nodes[source].kind in ("op", "input")))


def _parameters(part: Part) -> int:
    return sum(node.parameters for node in _ops([part]))


def _from(module: str, name: str) -> tuple[int, tuple[str, ...]]:
    """A path as it is seen from a module: how many levels up, and then down."""
    here, there = module.split(".") if module else [], name.split(".")
    shared = _shared(here, there)
    return len(here) - shared, tuple(there[shared:])


def _is_op(part: Part) -> bool:
    return isinstance(part, Item) and part.kind == "op"


def _only(box: Box, wanted: set[str]) -> Box:
    """A box without the items that are not wanted, and without boxes that hold none."""
    parts: list[Part] = [_only(part, wanted) if isinstance(part, Box) else part for part in box.parts]
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


def _add_others(graph: Graph, owners: dict[str, Item], twins: dict[str, str]) -> None:
    """Tell each item that stands for others what their nodes are."""
    copies: dict[str, list[Node]] = defaultdict(list)
    for node, twin in twins.items():
        copies[twin].append(graph.nodes[node])
    for item in {owners[twin].id: owners[twin] for twin in copies}.values():
        item.others = [list(nodes) for nodes in zip(*(copies[node.id] for node in item.nodes), strict=True)]


def _add_tensors(graph: Graph, root: Box, owners: dict[str, Item], tensors: bool) -> dict[str, Item]:
    """Items for inputs, before all else, and for the tensors that an op by itself takes, before it in its box."""
    found: dict[str, Item] = {}
    inputs: list[Part] = []
    taken: dict[str, list[Part]] = {}
    for edge in graph.edges:
        node, user = graph.nodes[edge.source], owners.get(edge.target)
        if node.kind == "op" or node.id in found or user is None:
            continue
        if node.kind == "input":
            inputs.append(found.setdefault(node.id, Item(node.id, node.name, "input", [node])))
        elif tensors and user.kind == "op":
            item = found[node.id] = Item(node.id, node.name.removeprefix(f"{node.module}."), node.kind, [node])
            taken.setdefault(user.id, []).append(item)
    for box in _boxes(root):
        box.parts = [each for part in box.parts for each in (*taken.get(part.id, ()), part)]
    root.parts[:0] = inputs
    return found


def _boxes(box: Box) -> Iterator[Box]:
    yield box
    for part in box.parts:
        if isinstance(part, Box):
            yield from _boxes(part)


def _links(graph: Graph, owners: dict[str, Item], twins: dict[str, str], reached: set[str]) -> list[Link]:
    """Arrows between items. What the last of equal blocks hands on leaves the one that stands for all."""
    carried: dict[tuple[str, str], dict[str, int]] = {}
    back = set()
    for edge in graph.edges:
        if edge.target in twins:  # drawn once, with the first
            continue
        source, target = owners.get(twins.get(edge.source, edge.source)), owners.get(edge.target)
        if source is not None and target is not None and source is not target:
            carried.setdefault((source.id, target.id), {})[edge.source] = graph.nodes[edge.source].nbytes
            if edge.source in reached and edge.target in reached:
                back.add((source.id, target.id))
    return [Link(*ends, sum(sizes.values()), ends in back) for ends, sizes in carried.items()]


def _add_outputs(
    graph: Graph, root: Box, owners: dict[str, Item], twins: dict[str, str], reached: set[str]
) -> list[Link]:
    """Items for the results, behind all else, and the arrows to them."""
    links = []
    for place, (node, name) in enumerate(zip(graph.outputs, output_names(graph), strict=True)):
        if (owner := owners.get(twins.get(node, node))) is not None:
            item = Item(f"output{place}", name, "output", [graph.nodes[node]])
            root.parts.append(item)
            links.append(Link(owner.id, item.id, graph.nodes[node].nbytes, node in reached))
    return links


def output_names(graph: Graph) -> list[str]:
    """What the results are called."""
    count = len(graph.outputs)
    names = graph.output_names or ([""] if count == 1 else [str(place) for place in range(count)])
    return [f"output {name}".rstrip() for name in names]
