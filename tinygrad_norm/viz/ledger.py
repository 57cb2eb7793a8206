"""The memory that the tape keeps for the way back, at this moment."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.integrity import owner_of
from tinygrad_norm.nn.module import Parameter
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor


class Ledger:
    """Counts the bytes of what entries of the tape saved, until each is freed or dropped.

    Memory that several entries share counts once, until the last of them lets go. A view counts for the whole array
    that it keeps alive. What is exempt, as parameters are, does not count.
    """

    def __init__(self) -> None:
        self.live = 0
        self._held: dict[int, list[int]] = {}  # by an array's id: its bytes, and how many hold it
        self._entries: dict[int, tuple[weakref.ref[Op], set[int]]] = {}  # and what it holds
        self._exempt: dict[int, weakref.ref[Array]] = {}
        self._seen: weakref.WeakSet[Op] = weakref.WeakSet()  # entries whose parameters are exempt

    def exempt(self, array: Array) -> None:
        """Count this array never."""
        owner = owner_of(array)
        self._exempt[id(owner)] = weakref.ref(owner)

    def exempt_parameters(self, inputs: Iterable[Any]) -> None:
        """Never count the parameters among an op's inputs, nor those of which they may be views, made before."""
        tensors = [given for given in inputs if isinstance(given, Tensor)]
        stack: list[Any] = [x if x.creator is None else x.creator for x in tensors]
        while stack:
            entry = stack.pop()
            if isinstance(entry, Parameter):
                self.exempt(entry.raw)
            elif isinstance(entry, Op) and entry not in self._seen:
                self._seen.add(entry)
                stack.extend(edge for edge in entry.edges if edge is not None)

    def add(self, op: Op) -> int:
        """Begin to count what an entry saved; return the bytes that no other holds."""
        if getattr(op, "freed", True):  # not recorded, or gone back already
            return 0
        self._seen.add(op)
        owners = {id(owner): owner for owner in map(owner_of, _arrays(op)) if not self._is_exempt(owner)}
        if not owners:
            return 0
        before, key, ledger = self.live, id(op), weakref.ref(self)
        for name, owner in owners.items():
            held = self._held.setdefault(name, [owner.nbytes, 0])
            held[1] += 1
            self.live += held[0] * (held[1] == 1)
        # Through a weak reference, so that ledger and entries make no cycle.
        dropped = weakref.ref(op, lambda _: None if (mine := ledger()) is None else mine._release(key))
        self._entries[key] = dropped, set(owners)
        return self.live - before

    def settle(self, op: Op) -> None:
        """Strike an entry off if it was freed since."""
        if op.freed:
            self._release(id(op))

    def settle_all(self) -> None:
        """Strike off all that were freed since."""
        for entry, _ in list(self._entries.values()):
            if (op := entry()) is not None:
                self.settle(op)

    def _release(self, key: int) -> None:
        for name in self._entries.pop(key, (None, set()))[1]:
            held = self._held[name]
            held[1] -= 1
            if not held[1]:
                self.live -= held[0]
                del self._held[name]

    def _is_exempt(self, owner: Array) -> bool:
        known = self._exempt.get(id(owner))
        return known is not None and known() is owner


def _arrays(op: Op) -> list[Any]:
    return [array for array in op.saved_arrays if isinstance(array, np.ndarray)]
