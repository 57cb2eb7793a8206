"""The door to all work on elements: what reads or writes them is launched, and its memory is taken here.

Who wants to know what a step does has this file to watch. Of what passes the door a plan is made (`plan/`), so whatever
depends on the elements of an array is decided inside of a launch, and what changes from one step to the next without
being an array comes through `late` and `host`.
"""

from __future__ import annotations

import math
import operator
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_norm.forks import free_when_forking

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


class Watcher(Protocol):
    """Sees what passes the door."""

    def launched(self, run: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Run a launch, and return what it returns."""

    def computed(
        self, compute: Callable[..., Any], again: Callable[..., Any], arguments: tuple[Any, ...], op: Any, method: str
    ) -> Any:
        """Run what launches or computes by itself, and return what it returns; `again` would do the same once more.

        It may be a method of an op.
        """

    def prepared(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Run what makes arrays that nobody writes afterwards, and return what it returns."""

    def hosted(self, run: Callable[..., Any], changed: Any, arguments: tuple[Any, ...]) -> None:
        """Run what changes a dict or an object and no array."""

    def took(self, array: Array) -> None:
        """See an array that was made with anything in it."""

    def wrote(self, array: Array) -> None:
        """See that the array of somebody's tensor is written."""

    def read(self, what: str) -> None:
        """See elements turned into Python's numbers, on which Python may decide."""

    def looked_up(self, mapping: Any, key: Any) -> None:
        """See Python look up a value of which launches may be given another one at each replay."""


active = False
"""Whether anybody watches, this thread or another: all that an eager call looks at."""
_watcher: Watcher | None = None
_thread = 0
_lock = free_when_forking(threading.Lock())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: unwatch())


def watcher() -> Watcher | None:
    """Who watches this thread's work."""
    return _watcher if _watcher is not None and threading.get_ident() == _thread else None


def watch(new: Watcher) -> bool:
    """Let `new` see the work of this thread; False where another one watches already."""
    global active, _watcher, _thread
    with _lock:
        if _watcher is not None:
            return False
        active, _watcher, _thread = True, new, threading.get_ident()
        return True


def unwatch() -> None:
    """Let nobody see it any more."""
    global active, _watcher
    active, _watcher = False, None


_settings: list[Callable[[], Any]] = []


def depends_on(setting: Callable[[], Any]) -> None:
    """Say that what is launched depends on a setting, which this reads."""
    _settings.append(setting)


def settings() -> tuple[Any, ...]:
    """What launches depend on beside their arguments."""
    return tuple([setting() for setting in _settings])


def launch(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call what reads or writes elements: a kernel, or a function of NumPy's, which may return an array of its own.

    Arrays are arguments, alone or in tuples, and nowhere else: not in a closure, where nobody sees them.
    """
    if not active or (here := watcher()) is None:
        return run(*arguments)
    return here.launched(run, arguments)


def compute(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call what makes arrays from arrays, by launches or in NumPy, and changes nothing else."""
    return computed(function, function, *arguments) if active else function(*arguments)


def computed(
    function: Callable[..., Any], again: Callable[..., Any], *arguments: Any, op: Any = None, method: str = ""
) -> Any:
    """The same, where `again` does what it does without changing anything at all; it may be a method of an op."""
    if not active or (here := watcher()) is None:
        return function(*arguments)
    return here.computed(function, again, arguments, op, method)


def prepared(make: Callable[..., Any], *arguments: Any) -> Any:
    """Call what makes arrays that are only read from then on: of parameters alone, a plan makes them once."""
    if not active or (here := watcher()) is None:
        return make(*arguments)
    return here.prepared(make, arguments)


def host(run: Callable[..., Any], changed: Any, *arguments: Any) -> None:
    """Call what changes numbers in `changed`, a dict or an object: run(changed, *arguments).

    Several stand in a list, in which (dict, key) is a dict of which nothing else changes.
    """
    if not active or (here := watcher()) is None:
        run(changed, *arguments)
    else:
        here.hosted(run, changed, arguments)


class Late:
    """An argument of a launch that is evaluated at each replay, from numbers as they are then, or from arrays."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __call__(self) -> Any:
        """The argument as it is now."""
        return self.function(*[each() if type(each) is Late else each for each in self.arguments])

    def mapped(self, function: Callable[[Any], Any]) -> Late:
        """The same of function(each) of what it is computed from."""
        return Late(
            self.function, *[each.mapped(function) if type(each) is Late else function(each) for each in self.arguments]
        )


Number = float | Late
"""A number, or one that is evaluated at each replay."""


def late(function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments) as an argument of a launch: numbers that the next step has otherwise, as a learning rate.

    Arrays may be among what it is computed from, as a count of batches, but in no tuple.
    """
    return function(*arguments) if not active or watcher() is None else Late(function, *arguments)


def item(mapping: Any, key: Any) -> Any:
    """mapping[key] as an argument of a launch, looked up at each replay."""
    return late(lookup if isinstance(mapping, dict) else operator.getitem, mapping, key)


lookup = dict.__getitem__
"""How the items of dicts are found: past what their classes tell of (`looked_up`)."""


def looked_up(mapping: Any, key: Any) -> None:
    """Say that Python looks up mapping[key], other than for a launch."""
    if active and (here := watcher()) is not None:
        here.looked_up(mapping, key)


def read(what: str) -> None:
    """Say that elements become numbers of Python's."""
    if active and (here := watcher()) is not None:
        here.read(what)


def wrote(array: Array) -> None:
    """Say that a launch wrote to the array of somebody's tensor."""
    if active and (here := watcher()) is not None:
        here.wrote(array)


def empty(shape: Shape, dtype: Any) -> Array:
    """An array with anything in it."""
    array = np.empty(shape, dtype)
    if active:
        _took(array)
    return array


def empty_like(x: Array) -> Array:
    """An array with anything in it, with the shape, the dtype and the order of memory of x."""
    array = np.empty_like(x)
    if active:
        _took(array)
    return array


def _took(array: Array) -> None:
    if (here := watcher()) is not None:
        here.took(array)


_kept = threading.local()


def scratch(name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An array for a kernel's own use, with anything in it; each thread has one memory for each name."""
    size = math.prod(shape) * dtype.itemsize
    memory: Any = getattr(_kept, name, None)
    if memory is None or memory.size < size:
        memory = np.empty((size,), np.uint8)
        setattr(_kept, name, memory)
    found: Array = memory[:size].view(dtype).reshape(shape)
    if active:
        _took(found)
    return found


_constants: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()


def constant(array: Array) -> Array:
    """An array that follows from shapes and numbers of Python's alone, and is never written."""
    owner = _owner(array)
    _constants[id(owner)] = owner
    return array


def is_constant(array: Array) -> bool:
    """Whether it is one of those, or a part of one."""
    owner = _owner(array)
    return _constants.get(id(owner)) is owner


def _owner(array: Array) -> Array:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
