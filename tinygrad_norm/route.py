"""A backward pass to some tensors alone: it visits what leads to them, and computes no gradient for anything else."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_norm import saved
from tinygrad_norm.operands import Edge

if TYPE_CHECKING:
    from tinygrad_norm.tape import Op


class Route:
    """The ops and leaves between the roots of a backward pass and its targets, both included."""

    def __init__(self, targets: Iterable[Edge | None], roots: Iterable[Edge]) -> None:
        self.targets = set(targets)
        self._between = set(self.targets)
        for op in sorted(ops_behind(roots), key=lambda op: op.number):
            if not self._between.isdisjoint(edge for edge in op.edges if edge is not None):
                self._between.add(op)

    def narrowed(self, op: Op) -> Op | None:
        """`op`, or a twin that goes back along this route alone; None if it is not on it.

        A twin, as another thread may want other gradients of the same op at the same time.
        """
        needs = tuple([edge is not None and edge in self._between for edge in op.edges])
        if needs == op.needs_input_grad:
            return op
        if not any(needs):
            return None
        twin = copy.copy(op)
        twin.needs_input_grad = needs
        twin.edges = tuple([edge if need else None for edge, need in zip(op.edges, needs, strict=True)])
        twin._saved = saved.for_twin(op)
        return twin


def ops_behind(roots: Iterable[Edge]) -> list[Op]:
    """Every op that a gradient can come to from `roots`."""
    seen: set[Edge | None] = set(roots)
    stack: list[Any] = list(seen)
    found: list[Op] = []
    while stack:
        op = stack.pop()
        if hasattr(op, "edges"):  # a leaf has none
            found.append(op)
            fresh = [edge for edge in op.edges if edge is not None and edge not in seen]
            seen.update(fresh)
            stack += fresh
    return found
