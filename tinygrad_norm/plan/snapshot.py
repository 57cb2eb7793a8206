"""What is reached, as it was at one moment: compared before each replay, and put back after one that is a trial."""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Set
from itertools import chain, starmap
from random import Random
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_norm import generation
from tinygrad_norm.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_norm.plan.reach import Reach

_PLAIN = (int, float, complex, str, bytes, np.generic)


_FEW = 64


class OfTensor(NamedTuple):
    """What a tensor holds."""

    tensor: Tensor
    raw: Any
    grad: Tensor | None
    wants_grad: bool
    hooks: Any


class Place(NamedTuple):
    """A dict and what it holds, in order."""

    mapping: dict[Any, Any]
    keys: tuple[Any, ...]
    values: tuple[Any, ...]


class Snapshot:
    """What all containers that are reached hold, and all tensors."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.dicts = [Place(each, (*_keys_of(each),), (*_values_of(each),)) for each in reach.dicts]
        self.lists = [(each, (*each,)) for each in reach.lists]
        self.cells = [(cell, content_of(cell)) for cell in reach.cells]
        self.names = [Place(each, names, tuple(map(each.get, names))) for each, names in reach.names]
        self.tensors = [OfTensor(t, t.raw, t.grad, t.wants_grad, t.grad_hooks) for t in reach.tensors]
        self.classes, self.slots = reach.classes, reach.slots
        self.sizes = [(kind, _size_of(kind)) for kind, _, _ in reach.classes]
        self.groups = [(each, (*each,)) for each in reach.groups]
        self.variables = [(each, each.get(None)) for each in reach.variables]
        self.memories = [(each, bytes(each)) for each in reach.memories]
        self.states = [(generator, state_of(generator)) for generator in reach.generators]
        self._absent = [(mapping, name) for mapping, names in reach.names for name in names if name not in mapping]

    def changed(self) -> Iterator[tuple[Any, Any]]:
        """Each container or tensor that holds something else now, and where in it: a key, a number or a name.

        Arrays and gradients of tensors are left out, which have places of their own in a plan.
        """
        for mapping, keys, values in self.dicts:
            if not _same_keys(mapping, keys):
                more = [key for key in mapping if isinstance(key, str) and key not in keys]
                yield mapping, more[0] if more else "the keys of a dict"
            else:
                for key, value, old in zip(keys, _values_of(mapping), values, strict=True):
                    if not same(value, old):
                        yield mapping, key
        for items, old in self.lists:
            if len(items) != len(old) or not all(map(same, items, old)):
                yield items, "elements"
        for items, old in self.groups:
            if len(items) != len(old) or not all(map(same, items, old)):
                yield items, "elements"
        for of_tensor in self.tensors:
            if of_tensor.tensor.wants_grad is not of_tensor.wants_grad:
                yield of_tensor, "requires_grad"
            if of_tensor.tensor.grad_hooks is not of_tensor.hooks:
                yield of_tensor, "the hooks of a tensor"
        for variable, value in self.variables:
            if not same(variable.get(None), value):
                yield variable, "a context variable"
        for memory, content in self.memories:
            if bytes(memory) != content:
                yield memory, "elements"
        for cell, content in self.cells:
            if not same(content_of(cell), content):
                yield cell, "a variable of an outer function"
        for holder, names, values in (*self.classes, *self.slots):
            for name, value in zip(names, values, strict=True):
                if not same(_attribute(holder, name), value):
                    yield holder, name
        for kind, size in self.sizes:
            if _size_of(kind) != size:
                yield kind, "the attributes of a class"
        for mapping, names, values in self.names:
            for name, value in zip(names, values, strict=True):
                if not same(mapping.get(name), value):
                    yield mapping, name

    def restore(self) -> None:
        """Put everything back, but for the elements of arrays."""
        for mapping, keys, values in self.dicts:
            if not _same_keys(mapping, keys) or not all(map(operator.is_, _values_of(mapping), values)):
                kind = OrderedDict if isinstance(mapping, OrderedDict) else dict
                kind.clear(mapping)
                kind.update(mapping, zip(keys, values, strict=True))
        for items, old in self.lists:
            items[:] = old
        for items, old in self.groups:
            items.clear()
            (items.extend if isinstance(items, deque) else items.update)(old)
        for holder, names, values in self.slots:
            for name, value in zip(names, values, strict=True):
                if _attribute(holder, name) is not value:
                    object.__setattr__(holder, name, value)
        for cell, content in self.cells:
            if content_of(cell) is not content:
                cell.cell_contents = content
        for mapping, names, values in self.names:
            mapping.update(zip(names, values, strict=True))
        for mapping, name in self._absent:
            mapping.pop(name, None)
        for tensor, raw, grad, wants_grad, hooks in self.tensors:
            tensor.raw, tensor.grad, tensor.wants_grad, tensor.grad_hooks = raw, grad, wants_grad, hooks
        for variable, value in self.variables:
            if variable.get(None) is not value:
                variable.set(value)
        for memory, content in self.memories:
            if bytes(memory) != content:
                np.frombuffer(memory, np.uint8)[:] = np.frombuffer(content, np.uint8)
        for generator, state in self.states:
            set_state(generator, state)


class Guards:
    """What has to be as it was for a plan to hold.

    All of it is compared each time, but for the keys of dicts that raise the generation when they change: attributes of
    modules and options of optimizers.

    Args:
        before: what was reached when the plan was recorded.
        own: ids of the containers that the plan changes itself, or of a dict with a key.
        late: dicts and keys that its launches look up; but whether there is 0, as a momentum, is a guard.
        unread: ids of dicts, with keys at which nobody looks.
        known: ids of arrays that nobody but this package reads, as what an optimizer remembers.
    """

    def __init__(
        self,
        before: Snapshot,
        own: set[Any],
        late: list[tuple[Any, Any]],
        unread: Set[Any] = frozenset(),
        known: frozenset[int] = frozenset(),
    ) -> None:
        self.generation = generation.number()
        anew = own | unread | {(id(mapping), key) for mapping, key in late}
        self._zeros: list[tuple[dict[Any, Any], Any, bool]] = []
        self._parts: list[tuple[Place, int]] = []
        """Of dicts of which some values may change: the others, and how many there are in all."""
        told: list[Any] = []
        plain: list[Any] = []
        for mapping, keys, values in before.dicts:
            if id(mapping) in own:
                continue
            kept = [i for i, key in enumerate(keys) if (id(mapping), key) not in anew]
            if len(kept) == len(keys):
                (told if id(mapping) in before.reach.told else plain).append(mapping)
                continue
            self._parts.append((Place(mapping, *(tuple(each[i] for i in kept) for each in (keys, values))), len(keys)))
            self._zeros += [
                (mapping, keys[i], values[i] == 0) for i, key in enumerate(keys) if (id(mapping), key) in anew - unread
            ]
        self._values = Identities([_values_of(each) for each in (*told, *plain)] + before.reach.lists)
        self._keys = Identities([_keys_of(each) for each in plain])
        self._told_keys = Identities([_keys_of(each) for each in told])
        self._cells, self._names = before.cells, [each for each in before.names if each.keys]
        self.tensors = [each.tensor for each in before.tensors]
        self._tensors = [
            (each.tensor, each.wants_grad, each.hooks, None if id(each.tensor) in own else each.grad is None)
            for each in before.tensors
        ]
        slots = [each for each in before.slots if not isinstance(each[0], FunctionType)]
        self._holders, self._sizes = [each for each in (*before.classes, *slots) if each[1]], before.sizes
        self._functions = [
            (each, each.__code__, each.__defaults__, each.__kwdefaults__)
            for each, *_ in before.slots
            if isinstance(each, FunctionType)
        ]
        self._groups, self._variables, self._memories = before.groups, before.variables, before.memories
        self.arrays = [each for each in before.reach.arrays if id(each) not in known]
        self._contents = [each.tobytes() for each in self.arrays]
        checks = (
            (Guards._tensors_hold, self._tensors),
            (Guards._zeros_hold, self._zeros),
            (Guards._groups_hold, self._groups),
            (Guards._attributes_hold, (*self._holders, *self._sizes)),
            (Guards._functions_hold, self._functions),
            (Guards._variables_hold, self._variables),
            (Guards._memories_hold, self._memories),
            (Guards._arrays_hold, self.arrays),
            (Guards._cells_hold, self._cells),
            (Guards._dicts_hold, (*self._parts, *self._names)),
        )
        self._checks = [check for check, things in checks if things]
        """Of those kinds of things that there are."""
        self._objects = [each for each in (self._values, self._keys) if each]

    def hold(self) -> bool:
        """Whether all is as it was."""
        number = generation.number()
        if number != self.generation and not self._told_keys.hold():
            return False
        self.generation = number
        for check in self._checks:
            if not check(self):
                return False
        return all(map(Identities.hold, self._objects))

    def _tensors_hold(self) -> bool:
        for tensor, wants, hooks, without in self._tensors:
            if tensor.wants_grad is not wants or tensor.grad_hooks is not hooks:
                return False
            if without is not None and (tensor.grad is None) is not without:
                return False
        return True

    def _zeros_hold(self) -> bool:
        return all((dict.get(mapping, key) == 0) is zero for mapping, key, zero in self._zeros)

    def _groups_hold(self) -> bool:
        return all(len(items) == len(old) and all(map(same, items, old)) for items, old in self._groups)

    def _functions_hold(self) -> bool:
        for function, code, defaults, keywords in self._functions:
            if function.__code__ is not code or function.__defaults__ is not defaults:
                return False
            if function.__kwdefaults__ is not keywords:
                return False
        return True

    def _attributes_hold(self) -> bool:
        if any(_size_of(kind) != size for kind, size in self._sizes):
            return False
        for holder, names, values in self._holders:
            if not all(same(_attribute(holder, name), value) for name, value in zip(names, values, strict=True)):
                return False
        return True

    def _variables_hold(self) -> bool:
        return all(variable.get(None) is value for variable, value in self._variables)

    def _memories_hold(self) -> bool:
        return all(bytes(memory) == content for memory, content in self._memories)

    def _arrays_hold(self) -> bool:
        return all(array.tobytes() == content for array, content in zip(self.arrays, self._contents, strict=True))

    def _cells_hold(self) -> bool:
        for cell, content in self._cells:
            if (now := content_of(cell)) is not content and not same(now, content):
                return False
        return True

    def _dicts_hold(self) -> bool:
        return all(starmap(_holds, self._parts)) and all(map(_holds, self._names))


class Identities:
    """Whether containers hold the same objects, or the same numbers and texts, in the same order.

    Of many, the addresses are compared at once, which takes half the time.
    """

    def __init__(self, containers: list[Any]) -> None:
        self._filled = [each for each in containers if len(each)]
        self._empty = [each for each in containers if not len(each)]
        self._lengths = [*map(len, self._filled)]
        self._note([*chain.from_iterable(self._filled)])

    def _note(self, objects: list[Any]) -> None:
        self._objects = objects  # which live as long as their addresses are known
        self._addresses = _addresses(objects, len(objects)) if len(objects) > _FEW else None

    def __bool__(self) -> bool:
        return bool(self._filled or self._empty)

    def hold(self) -> bool:
        """Whether they do."""
        if any(self._empty) or [*map(len, self._filled)] != self._lengths:
            return False
        if self._addresses is None:
            if all(map(operator.is_, chain.from_iterable(self._filled), self._objects)):
                return True
        elif _addresses(chain.from_iterable(self._filled), len(self._objects)) == self._addresses:
            return True
        now = [*chain.from_iterable(self._filled)]
        if not all(map(same, now, self._objects)):
            return False
        self._note(now)
        return True


def _addresses(objects: Iterable[Any], count: int) -> bytes:
    return np.fromiter(objects, object, count).tobytes()


def _holds(place: Place, count: int | None = None) -> bool:
    """Whether a dict holds the same under these keys, and has so many in all."""
    mapping, keys, values = place
    if count is not None and len(mapping) != count:
        return False
    now = [dict.get(mapping, key) for key in keys]
    return all(map(operator.is_, now, values)) or all(map(same, now, values))


def _keys_of(mapping: dict[Any, Any]) -> Any:
    """The keys of a dict in its order, past what its class makes of a look at them."""
    return (OrderedDict if isinstance(mapping, OrderedDict) else dict).keys(mapping)


def _values_of(mapping: dict[Any, Any]) -> Any:
    """Its values in the same order."""
    return (OrderedDict if isinstance(mapping, OrderedDict) else dict).values(mapping)


def _same_keys(mapping: dict[Any, Any], keys: tuple[Any, ...]) -> bool:
    """Whether a dict has these keys, in this order: tensors, of which == would be an op, by what they are."""
    return len(mapping) == len(keys) and all(map(same, _keys_of(mapping), keys))


def _size_of(kind: type) -> int:
    """How many attributes a class has of its own: a new one may stand before another class's. Pickling leaves one."""
    return len(vars(kind)) - ("__slotnames__" in vars(kind))


def _attribute(holder: Any, name: str) -> Any:
    if isinstance(holder, type):
        return vars(holder).get(name)
    try:
        return object.__getattribute__(holder, name)
    except AttributeError:
        return None


def same(value: Any, old: Any) -> bool:
    """Whether it is the same object, or the same number or text."""
    if value is old:
        return True
    if type(value) is not type(old):
        return False
    if isinstance(value, tuple):
        return len(value) == len(old) and all(map(same, value, old))
    if isinstance(value, _PLAIN):
        return (bool(value == old) and repr(value) == repr(old)) or bool(value != value and old != old)
    return False


def state_of(generator: Any) -> Any:
    """The state of a generator of random numbers: NumPy's, NumPy's old one, or Python's."""
    if isinstance(generator, Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return _bits_of(generator).state


def set_state(generator: Any, state: Any) -> None:
    """Put it back."""
    if isinstance(generator, Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        _bits_of(generator).state = state


def _bits_of(generator: Any) -> Any:
    return generator if isinstance(generator, np.random.BitGenerator) else generator.bit_generator


def same_state(one: Any, other: Any) -> bool:
    """Whether two states are the same: numbers and tuples of numbers, and dicts that may have arrays."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same_state(one[k], other[k]) for k in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else bool(one == other)


def content_of(cell: Any) -> Any:
    """What a variable of an outer function holds; None if nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return None
