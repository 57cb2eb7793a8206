"""The parts of a drawing: items, and boxes with parts in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from tinygrad_norm.viz.graph import Node


@dataclass
class Item:
    """A node of the drawing: an op or a tensor, a module with all its ops, or an output."""

    id: str
    title: str
    kind: str
    """op, parameter, input, tensor, module or output."""
    nodes: list[Node]
    """The ops of a module."""
    repeats: int = 1
    """How many equal blocks it stands for."""
    members: list[Item] = field(default_factory=list)
    """The parts of all these blocks, each by itself."""
    others: list[list[Node]] = field(default_factory=list)
    """Its nodes in the other blocks for which that stands in which it is drawn."""

    @property
    def last(self) -> Node:
        """The node whose output is that of the item."""
        return self.nodes[-1]

    @property
    def folded_nodes(self) -> Iterator[str]:
        """The names of nodes that are not drawn themselves, as the item stands for them."""
        return (node.id for nodes in self.others for node in nodes)

    @property
    def all_nodes(self) -> list[str]:
        """The names by which links know the item: of its nodes, and of those for which it stands."""
        return [self.id] if self.kind == "output" else [*(node.id for node in self.nodes), *self.folded_nodes]


@dataclass
class Box(Item):
    """A module that is open, or a block of several, with what is in it."""

    parts: list[Item] = field(default_factory=list)
    path: str = ""
    """The path of the module, "" of a block."""


def items_in(parts: Iterable[Item]) -> Iterator[Item]:
    """The items of some parts, boxes opened, in order."""
    for part in parts:
        if isinstance(part, Box):
            yield from items_in(part.parts)
        else:
            yield part


def copied(part: Item) -> Item:
    """A part of which the copy may stand for others."""
    if isinstance(part, Box):
        return replace(part, others=[*part.others], parts=list(map(copied, part.parts)))
    return replace(part, others=[*part.others])


def shared_length(one: Sequence[str], other: Sequence[str]) -> int:
    """How many names two paths have in common from the start."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
