"""Records what passes the door: launches, with each array named by the memory that it lies in.

An array that is given to a launch lies in memory that an earlier launch returned, that was taken at the door, or that
was there before: an input, a parameter, what an optimizer remembers. One that lies nowhere was computed where nobody
sees it, and ends the recording with the reason.
"""

from __future__ import annotations

import dis
import functools
import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import launch, modes
from tinygrad_norm.integrity import owner_of
from tinygrad_norm.plan.places import is_users, users_line
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.snapshot import content_of
from tinygrad_norm.plan.sources import Fixed, Input
from tinygrad_norm.plan.told import Told, plain
from tinygrad_norm.plan.trees import leaves, mapped
from tinygrad_norm.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Buffer:
    """Memory of a plan.

    Attributes:
        like: an array that has the shape, the dtype and the order of memory, and no elements of its own.
        source: where a replay finds it; None for memory of the plan's own.
        first, last: the steps that need it.
        used: whether a launch was given it, or made it.
        written: whether it is a tensor's that was there before, and is changed in place.
        fresh: whether each replay makes it anew, as somebody keeps it afterwards.
        finished: the first step from which on it is only read, unless it is `written`; None if nobody said so.
    """

    def __init__(self, array: Array, source: Any, step: int) -> None:
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.address, end = byte_bounds(array)
        self.nbytes = end - self.address if array.size else 0
        self.begin = array.__array_interface__["data"][0] - self.address
        """Where the first element is: not at the lowest address, where a stride is negative."""
        self.dense = self.nbytes == array.nbytes and self.begin == 0
        """Whether the elements follow each other, in some order of the axes."""
        self.source, self.first, self.last = source, step, step
        self.used = self.fresh = self.written = False
        self.finished: int | None = None
        self.offset = -1
        """In the arena."""


@dataclass(frozen=True, slots=True)
class View:
    """An array, named by the memory that it lies in."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    writeable: bool


class Step(NamedTuple):
    """One launch: what is called, its arguments with a `View` for each array, views of what it returned, and whose."""

    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    results: Any
    scope: str


def _alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that whoever profiles this thread does not see inside: what a replay does anew, and much of it."""

    @functools.wraps(method)
    def run(*args: Any) -> Any:
        profile = sys.getprofile()
        if profile is None or not callable(profile):
            return method(*args)
        sys.setprofile(None)
        try:
            return method(*args)
        finally:
            sys.setprofile(profile)

    return run


class Recorder:
    """Watches one run of a function.

    Args:
        known: arrays that are there before it runs, and where a replay finds each.

    Attributes:
        reason: why no plan can be made of it; empty if one can.
    """

    def __init__(self, known: Iterable[tuple[Array, Any]]) -> None:
        self.steps: list[Step] = []
        self.buffers: list[Buffer] = []
        self.hosted_objects: list[Any] = []
        self.reason = ""
        self.drawn: set[int] = set()
        """The ids of generators that launches drew from."""
        self.read_late: list[tuple[Any, Any]] = []
        """Dicts and keys whose values launches find anew."""
        self.read_early: dict[tuple[int, Any], tuple[Any, str]] = {}
        """By the id of a dict and a key: the dict, and the line that looked the value up and may decide on it."""
        self._owners: dict[int, tuple[weakref.ref[Array], list[Buffer]]] = {}
        self.codes: dict[Any, None] = {}
        """The code of the user's that ran, in this order."""
        self.line = ""
        """What a reason names, of which no line that runs is to blame."""
        self._taker = "it returns or leaves"
        self._inside = self._hosting = 0
        self._gaps: list[str] | None = None
        """Reasons for which what runs now has to be one launch as a whole; None where nothing could be."""
        for array, source in known:
            self._add(array, source)

    def refuse(self, reason: str, line: str = "") -> None:
        """Give up, for this reason and at this line, or at the one to blame, unless there is one already."""
        self.reason = self.reason or f"{reason} ({line or self.line or users_line()})"
        self.steps.clear()

    def _unknown(self, reason: str) -> None:
        if self._gaps is None:
            self.refuse(reason)
        else:
            self._gaps.append(reason)

    def changed_by_hosts(self) -> set[Any]:
        """What replays change by themselves: the ids of dicts, of objects' attributes, and of what is in lists.

        Of a dict that stands in a list with a key, the id and that key.
        """
        found: set[Any] = set()
        for each in self.hosted_objects:
            found |= {id(each), id(getattr(each, "__dict__", None))}
            for one in each if isinstance(each, list) else ():
                found.add((id(one[0]), one[1]) if isinstance(one, tuple) else id(one))
        return found

    def view(self, array: Array) -> Any:
        """An array by its memory; itself if it is a constant; None, and a reason, if nobody made it."""
        buffer = self._find(array)
        if buffer is None:
            if launch.is_constant(owner_of(array)) or array.size == 0:
                return array
            what = f"{_who()}{self._taker} an array of shape {array.shape} that no launch made"
            self._unknown(f"{what}: make it of tensors by ops, or outside, or give it as an argument")
            return None
        if buffer.source is not None and not buffer.dense and (buffer.written or type(buffer.source) is not Input):
            self.refuse(f"{_who()}reads an array of shape {array.shape} whose elements do not follow each other")
            return None
        buffer.used, buffer.last = True, max(buffer.last, len(self.steps))
        address = array.__array_interface__["data"][0]
        return View(buffer, address - buffer.address, array.shape, array.strides, array.dtype, array.flags.writeable)

    # What it sees as a watcher

    @_alone
    def launched(self, run: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Run a launch and write it down."""
        now = mapped(_at_door, arguments)
        if self._inside or self.reason:
            return run(*now)
        self._inside += 1
        try:
            result = run(*now)
        except BaseException as error:
            self.refuse(f"{_who()}raised {type(error).__name__}, which it may catch")
            raise
        finally:
            self._inside -= 1
        self.drawn |= {id(each) for each in leaves(now) if isinstance(each, np.random.Generator)}
        if isinstance(result, np.generic):
            result = np.asarray(result)
        array = getattr(run, "__self__", None)
        if isinstance(array, np.ndarray):
            run, arguments = getattr(np.ndarray, run.__name__), (array, *arguments)
        self._write(run, arguments, result)
        return result

    @_alone
    def computed(
        self, compute: Callable[..., Any], again: Callable[..., Any], arguments: tuple[Any, ...], op: Any, method: str
    ) -> Any:
        """Run what launches by itself, or is to be one launch as it makes arrays in another way.

        A method of an op of the user's is one launch as well, as it may decide by values what it launches.
        """
        steps, buffers = len(self.steps), len(self.buffers)
        whole = op is not None and is_users(getattr(type(op), method).__module__)
        if whole and not (self._inside or self.reason):
            self._check_held(op, method, arguments)
        outer, self._gaps = self._gaps, []
        try:
            result = compute(*(mapped(_at_door, arguments) if whole else plain(arguments)))
        finally:
            gaps, self._gaps = self._gaps, outer
        if self._inside or self.reason:
            return result
        arrays = [each for each in leaves(result) if isinstance(each, np.ndarray)]
        if gaps or whole or not all((buffer := self._find(each)) and (buffer.used or buffer.source) for each in arrays):
            del self.steps[steps:]
            self._forget(buffers)
            if whole and not self._is_plain(getattr(type(op), method), leaves(result[0])):
                self.refuse(f"{op.name}.{method} returns an array that it is given, and may decide by values on which")
            self._write(again, arguments, result)
        return result

    def _check_held(self, op: Any, method: str, arguments: tuple[Any, ...]) -> None:
        """Refuse an op of the user's that holds arrays where a replay does not look for them."""
        named = {id(each) for each in leaves(arguments)}
        held = [value for value in vars(op).values() if id(getattr(value, "raw", value)) not in named]
        cells = [cell for each in vars(type(op)).values() for cell in getattr(each, "__closure__", None) or ()]
        reach = Reach([held, *map(content_of, cells)])
        hidden = [*reach.arrays, *(each.raw for each in reach.tensors)]
        for each in hidden:
            if id(each) not in named and not ((buffer := self._find(each)) and type(buffer.source) is Fixed):
                self.refuse(
                    f"{op.name} uses an array of shape {each.shape} that it is not given and that is none of its "
                    "attributes, where a replay would not look for it"
                )

    def _is_plain(self, method: Any, returned: Iterable[Any]) -> bool:
        """Whether a method returns new arrays, or what it is given without a choice."""
        given = [each for each in returned if isinstance(each, np.ndarray) and self._find(each) is not None]
        return not given or not any("JUMP" in each.opname for each in dis.get_instructions(method))

    def prepared(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Run what makes arrays, and know that these are finished."""
        first = len(self.buffers)
        result = make(*arguments)
        for buffer in self.buffers[first:]:
            if buffer.finished is None:
                buffer.finished = len(self.steps)
        return result

    @_alone
    def hosted(self, run: Callable[..., Any], changed: Any, arguments: tuple[Any, ...]) -> None:
        """Run what changes numbers, and write it down."""
        self._hosting += 1
        try:
            run(changed, *arguments)
        finally:
            self._hosting -= 1
        if not (self._inside or self.reason):
            first = all(isinstance(step.run, _Host) for step in self.steps)
            if first or not (isinstance(changed, list) and changed and isinstance(changed[0], Tensor)):
                self.hosted_objects.append(changed)  # gradients that are forgotten later were there before
            self.steps.append(Step(_Host(run, changed, arguments), (), None, modes.current_scope()))

    def took(self, array: Array) -> None:
        """Know an array that was made with anything in it."""
        if not (self._inside or self.reason):
            self._add(array, None)

    def wrote(self, array: Array) -> None:
        """Know that somebody else sees what is written here."""
        if not (self._inside or self.reason) and (buffer := self._find(array)):
            buffer.written = True

    def read(self, what: str) -> None:
        """Give up: Python may decide on what it reads."""
        if not self._inside:
            self.refuse(f"{what} reads elements of a tensor")

    def looked_up(self, mapping: Any, key: Any) -> None:
        """Know what Python may decide on, other than in what each replay does anew."""
        if not (self._inside or self._hosting):
            self.read_early.setdefault((id(mapping), key), (mapping, users_line()))

    def decided(self, reason: str, line: str = "") -> None:
        """Give up, as Python may decide on something, unless that is in what each replay does anew."""
        if not (self._inside or self._hosting or self._gaps is not None):
            self.refuse(reason, line)

    # Memory

    def _write(self, run: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> None:
        self._taker = f"{name_of(run)} takes"
        given = mapped(self._view_of, arguments)
        self._taker = "it returns or leaves"
        if self.reason or self._gaps:
            return
        self.read_late += _items(each for each in leaves(arguments) if type(each) is launch.Late)
        made = [each for each in leaves(result) if isinstance(each, np.ndarray) and self._find(each) is None]
        for each in made:
            if self._find(each) is None:
                self._add(owner_of(each), None)
        if any(isinstance(each, float | np.generic) for each in leaves(result)):
            self.refuse(f"{_who()}{name_of(run)} returns a number, which Python may decide on")
            return
        new = {id(each) for each in made}
        results = mapped(lambda each: self._written(each) if id(each) in new else None, result) if made else None
        if made or run not in _VIEWS:
            self.steps.append(Step(run, given, results, modes.current_scope()))

    def _written(self, array: Array) -> Any:
        """The view of what a launch returned, which a replay writes, though it may be a stretched one."""
        view = self.view(array)
        return view and replace(view, writeable=True)

    def _view_of(self, each: Any) -> Any:
        if type(each) is launch.Late:
            return each.mapped(self._view_of)
        return self.view(each) if isinstance(each, np.ndarray) else each

    def _add(self, array: Array, source: Any) -> None:
        owner = owner_of(array)
        buffer = Buffer(array, source, len(self.steps))
        reference, buffers = self._owners.get(id(owner), (None, []))
        if reference is None or reference() is not owner:
            buffers = []
        buffers.append(buffer)
        self._owners[id(owner)] = weakref.ref(owner), buffers
        self.buffers.append(buffer)

    def _forget(self, first: int) -> None:
        """Know the buffers no longer that were made from that one on."""
        gone = {id(each) for each in self.buffers[first:]}
        del self.buffers[first:]
        for key, (reference, buffers) in self._owners.items():
            self._owners[key] = reference, [each for each in buffers if id(each) not in gone]

    def _find(self, array: Array) -> Buffer | None:
        owner = owner_of(array)
        reference, buffers = self._owners.get(id(owner), (None, []))
        if reference is None or reference() is not owner:
            return None
        first, end = byte_bounds(array)
        for buffer in reversed(buffers):
            if buffer.address <= first and end <= buffer.address + max(1, buffer.nbytes):
                return buffer
        return None


def views_of(step: Step) -> list[View]:
    """The views that a launch is given, and those of what it returned."""
    found = []
    waiting = [*leaves((step.arguments, step.results))]
    while waiting:
        each = waiting.pop()
        if isinstance(each, View):
            found.append(each)
        elif type(each) is launch.Late:
            waiting += each.arguments
    return found


def _items(values: Iterable[Any]) -> list[tuple[Any, Any]]:
    """The dicts and keys that late arguments look up."""
    found = []
    for each in values:
        if type(each) is launch.Late:
            found += _items(each.arguments)
            if each.function is launch.lookup:
                found.append(each.arguments)
    return found


def _at_door(each: Any) -> Any:
    """An argument as a launch is given it: late ones as they are now, arrays in NumPy's own class."""
    if type(each) is launch.Late:
        return each()
    return np.ndarray.view(each, np.ndarray) if type(each) is Told else each


class _Host:
    """What changes numbers, at its place among the launches."""

    def __init__(self, run: Callable[..., Any], changed: Any, arguments: tuple[Any, ...]) -> None:
        self.run, self.changed, self.arguments = run, changed, arguments

    def __call__(self) -> None:
        self.run(self.changed, *self.arguments)


_VIEWS = {np.ascontiguousarray, np.ndarray.reshape, np.ndarray.ravel, np.ndarray.astype, np.asarray, np.broadcast_to}
"""What computes nothing where it returns a view."""


def name_of(run: Any) -> str:
    """What a launch calls: a kernel or a function of NumPy's."""
    run = getattr(run, "run", run)
    return str(getattr(getattr(run, "serial", run), "__name__", type(run).__name__)).strip("_")


def _who() -> str:
    scope = modes.current_scope()
    return f"{scope}: " if scope else ""
