"""What is reached, as it was at one moment: compared before each replay, and put back after one that is only a trial."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.tensor import Tensor

_PLAIN = (int, float, complex, str, bytes, np.generic)


class _OfTensor(NamedTuple):
    tensor: Tensor
    raw: Any
    grad: Any
    wants_grad: bool
    hooks: Any


class _Without:
    """A dict without some of its keys, as far as a snapshot looks at it."""

    def __init__(self, mapping: dict[Any, Any], own: list[tuple[Any, Any]]) -> None:
        self.mapping, self.names, self.left_out = mapping, [key for key, _ in own], len(mapping) - len(own)

    def __len__(self) -> int:
        return len(self.mapping) - self.left_out

    def __iter__(self) -> Iterator[Any]:
        return iter(self.names)

    def values(self) -> list[Any]:
        """The values that are looked at."""
        return [self.mapping.get(name) for name in self.names]


class Snapshot:
    """The values in all containers that are reached, and the arrays of all tensors.

    Args:
        reach: what is reached.
        free: ids of containers whose numbers may change, as a plan changes them itself.
    """

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.dicts = [(each, (*each,), (*each.values(),)) for each in reach.dicts]
        self.lists = [(each, (*each,)) for each in reach.lists]
        self.cells = [(cell, _content(cell)) for cell in reach.cells]
        self.names = [(globals_, names, tuple(globals_[name] for name in names)) for globals_, names in reach.names]
        self.tensors = [_OfTensor(t, t.raw, t.grad, t.wants_grad, t.grad_hooks) for t in reach.tensors]
        self.states = [(generator, generator.bit_generator.state) for generator in reach.generators]

    def leave_out(self, containers: set[int], items: list[tuple[Any, Any]]) -> None:
        """Compare no longer what is in these containers, by their ids, nor what these dicts have under these keys."""
        late = {(id(mapping), key) for mapping, key in items}
        kept = []
        for mapping, keys, values in self.dicts:
            if id(mapping) not in containers:
                own = [(key, value) for key, value in zip(keys, values, strict=True) if (id(mapping), key) not in late]
                kept.append((mapping, keys, values) if len(own) == len(keys) else (_Without(mapping, own), *zip(*own)))
        self.dicts = kept

    def changed(self) -> Iterator[tuple[Any, Any]]:
        """Each container that holds something else now, and what tells where in it: a key, a number or a name."""
        for mapping, keys, values in self.dicts:
            if len(mapping) != len(keys) or not all(map(operator.is_, mapping, keys)):
                yield mapping, next((key for key in mapping if key not in keys), next(iter(keys), None))
            elif not all(map(operator.is_, mapping.values(), values)):
                for key, value, old in zip(keys, mapping.values(), values, strict=True):
                    if not same(value, old):
                        yield mapping, key
        for items, old in self.lists:
            if len(items) != len(old) or not all(map(same, items, old)):
                yield items, None
        for cell, content in self.cells:
            if not same(_content(cell), content):
                yield cell, None
        for globals_, names, values in self.names:
            for name, value in zip(names, values, strict=True):
                if not same(globals_.get(name), value):
                    yield globals_, name

    def restore(self) -> None:
        """Put everything back, but for the elements of arrays."""
        for mapping, keys, values in self.dicts:
            if (*mapping,) != keys or not all(map(operator.is_, mapping.values(), values)):
                mapping.clear()
                dict.update(mapping, zip(keys, values, strict=True))
        for items, old in self.lists:
            items[:] = old
        for cell, content in self.cells:
            cell.cell_contents = content
        for globals_, names, values in self.names:
            globals_.update(zip(names, values, strict=True))
        for tensor, raw, grad, wants_grad, hooks in self.tensors:
            tensor.raw, tensor.grad, tensor.wants_grad, tensor.grad_hooks = raw, grad, wants_grad, hooks
        for generator, state in self.states:
            generator.bit_generator.state = state


def same(value: Any, old: Any) -> bool:
    """Whether it is the same object, or the same number or text."""
    if value is old:
        return True
    if type(value) is not type(old):
        return False
    if isinstance(value, tuple):
        return len(value) == len(old) and all(map(same, value, old))
    if isinstance(value, _PLAIN):
        return bool(value == old) or (value != value and old != old)
    return False


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None
