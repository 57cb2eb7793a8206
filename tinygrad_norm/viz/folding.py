"""Folding: equal blocks of a chain are drawn once. A block is a module, or a few modules that follow each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from tinygrad_norm.viz.graph import Graph, Node
from tinygrad_norm.viz.parts import Box, Item, copied, shared_length

PERIOD = 4
"""The most parts of a block that is no module by itself."""


class Folding:
    """Folds the parts of a drawing of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._nodes, self._outputs = graph.nodes, set(graph.outputs)
        self._inputs: dict[str, list[str]] = {name: [] for name in graph.nodes}
        self._users: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for edge in graph.edges:
            self._inputs[edge.target].append(edge.source)
            self._users[edge.source].append(edge.target)
        self._signatures: dict[tuple[str, ...], tuple[object, ...]] = {}

    def fold(self, parts: list[Item]) -> list[Item]:
        """The parts with one that stands for them all in place of equal blocks; and so in each box."""
        kept: list[Item] = []
        at = 0
        while at < len(parts):
            first, *others = self._longest(parts, at)
            kept.append(_standing_for(first, others) if others else first[0])
            at += len(first) * (1 + len(others))
        for part in kept:
            for box in (part, *part.members):
                if isinstance(box, Box):
                    box.parts = self.fold(box.parts)
        return kept

    def _longest(self, parts: list[Item], at: int) -> list[list[Item]]:
        """The equal blocks from there on that are the most parts together; a single part where there are none.

        Those that start a little later win if they are as many and start with more parameters: a layer goes with the
        norm behind it.
        """
        best = [parts[at : at + 1]]
        if parts[at].kind != "module":
            return best
        for period in range(1, PERIOD + 1):
            blocks = self._chain(parts, at, period)
            if len(blocks) > 1 and (len(best) == 1 or len(blocks) * period > len(best) * len(best[0])):
                best = blocks
        for later in range(1, len(best[0])):
            blocks = self._chain(parts, at + later, len(best[0]))
            if len(blocks) == len(best) and _parameters(blocks[0][0]) > _parameters(best[0][0]):
                return [parts[at : at + 1]]
        return best

    def _chain(self, parts: list[Item], at: int, period: int) -> list[list[Item]]:
        """Blocks of so many modules that are equal, each of which takes what the one before it made."""
        first = parts[at : at + period]
        blocks = [first]
        if any(part.kind != "module" for part in first) or len(_ops(first)) < 2:
            return blocks
        if period > 1 and len({self._signature([part]) for part in first}) == 1:  # one after another of its kind
            return blocks
        for start in range(at + period, len(parts), period):
            block = parts[start : start + period]
            if self._signature(block) != self._signature(first) or not self._follows(block, blocks):
                break
            blocks.append(block)
        return blocks

    def _signature(self, block: Sequence[Item]) -> tuple[object, ...]:
        """What a block is, whatever comes before it: its ops, how they are joined, and what they take from outside."""
        key = tuple(part.id for part in block)
        if key in self._signatures:
            return self._signatures[key]
        ops = _ops(block)
        places = {node.id: place for place, node in enumerate(ops)}
        outside: dict[str, int] = {}
        found: list[object] = [(isinstance(part, Box), len(part.nodes)) for part in block]
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
        return self._signatures.setdefault(key, tuple(found))

    def _follows(self, block: Sequence[Item], before: list[list[Item]]) -> bool:
        """Whether a block takes all it takes from the last one before, which nobody else uses, at the same places."""
        made, own = [node.id for node in _ops(before[-1])], {node.id for node in _ops(block)}
        users = {user for node in made for user in self._users[node]} - {*made}
        taken = self._outside(block)
        if not taken or not {*taken} <= {*made} or not users <= own or not self._outputs.isdisjoint(made):
            return False
        if len(before) == 1:
            return True
        earlier = [node.id for node in _ops(before[-2])]
        return list(map(made.index, taken)) == list(map(earlier.index, self._outside(before[-1])))

    def _outside(self, block: Sequence[Item]) -> list[str]:
        """The ops and inputs outside of a block from which it takes something, in order."""
        own = {node.id for node in _ops(block)}
        found = dict.fromkeys(source for node in _ops(block) for source in self._inputs[node.id] if source not in own)
        return [source for source in found if self._nodes[source].kind in ("op", "input")]


def _standing_for(first: list[Item], others: list[list[Item]]) -> Item:
    """A copy of the first of equal blocks that knows the others."""
    copies = list(map(copied, first))
    rows = [[*_inside(block)] for block in (copies, *others)]
    if len({len(row) for row in rows}) > 1:  # a tensor that several take stands in the first alone
        rows = [[part for part in row if part.kind in ("op", "module")] for row in rows]
    for one, *same in zip(*rows, strict=True):
        one.others += [nodes for other in same for nodes in (other.nodes, *other.others)]
    whole = copies[0]
    if len(copies) > 1:
        ops = _ops(copies)
        whole = Box(f"block_{ops[0].id}", "", "module", ops, parts=copies)
        whole.others = [list(chain(*nodes)) for nodes in zip(*(part.others for part in copies), strict=True)]
    whole.repeats, whole.members = 1 + len(others), [*first, *chain(*others)]
    return whole


def _inside(parts: Sequence[Item]) -> Iterator[Item]:
    """All parts and what is in them."""
    for part in parts:
        yield part
        if isinstance(part, Box):
            yield from _inside(part.parts)


def _ops(block: Sequence[Item]) -> list[Node]:
    return [node for part in block for node in part.nodes if node.kind == "op"]


def _parameters(part: Item) -> int:
    return sum(node.parameters for node in part.nodes)


def _from(module: str, name: str) -> tuple[int, tuple[str, ...]]:
    """A path as it is seen from a module: how many levels up, and then down."""
    here, there = module.split(".") if module else [], name.split(".")
    shared = shared_length(here, there)
    return len(here) - shared, tuple(there[shared:])
