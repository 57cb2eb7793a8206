"""`capture`: a function that is recorded once, and replayed from then on."""

from __future__ import annotations

import contextlib
import copy
import functools
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from tinygrad_norm import launch, modes
from tinygrad_norm.forks import free_when_forking
from tinygrad_norm.plan import calls
from tinygrad_norm.plan.entry import Entry, entry_of, known, refused_at_once
from tinygrad_norm.plan.places import line_where_defined
from tinygrad_norm.plan.plan import ChangedError, Plan
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.recorder import Recorder
from tinygrad_norm.plan.signature import signature
from tinygrad_norm.plan.snapshot import Snapshot
from tinygrad_norm.plan.told import plain, telling
from tinygrad_norm.plan.trees import leaves, mapped, taken
from tinygrad_norm.plan.trial import compare, give_back
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.unread import Unread

P = ParamSpec("P")
R = TypeVar("R")

_ARRAYS = (Tensor, np.ndarray)

_PLANS = 8
"""How many plans a function has at most; the one that was used least lately goes."""

_RECORDINGS, _CALLS_EACH = 24, 256
"""So many calls may be recorded, and one more for each so many calls: to record a small step and to try its plan takes
as long as some 100 replays save, and what depends on numbers that change every few calls would stay slower than eager.
"""

_SIGNATURES = 64
"""How many signatures are known to have none."""

_TRIES = 3
"""How often a call is recorded in vain before it is eager for good: the first calls of an optimizer make its state."""

_TRIALS = 1024
"""Each power of 2 up to this number, and each multiple of it, is a call that runs both ways."""


class Captured(Generic[P, R]):
    """A function that is recorded once for each signature, and replayed from then on.

    Attributes:
        function: what it was made of.
        why: why the last call was eager; empty if it was a replay.
    """

    def __init__(self, function: Callable[P, R], strict: bool = False) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function, self.strict = function, strict
        self.why = "it has not been called"
        self._entries: list[Entry] = []
        self._refused: dict[Any, tuple[int, str]] = {}
        """Signatures for which there is no plan: how often that was tried, and why."""
        self._timed = False
        self._lock = free_when_forking(threading.RLock())  # so that the function may fork
        self._running = False
        self._calls = self._recordings = 0

    def reached(self) -> list[Any]:
        """What a function reaches that calls this one."""
        return [self.function]

    @property
    def plans(self) -> list[Plan]:
        """All plans, the one that was used last at the end."""
        return [entry.plan for entry in self._entries]

    @property
    def plan(self) -> Plan | None:
        """The plan that was used last."""
        return self._entries[-1].plan if self._entries else None

    def __repr__(self) -> str:
        state = f"{len(self._entries)} plans" if self._entries else f"eager: {self.why}"
        return f"capture({getattr(self.function, '__qualname__', type(self.function).__name__)}, {state})"

    def __get__(self, instance: Any, owner: Any = None) -> Captured[Any, Any]:
        """The method of an object, which has plans of its own."""
        if instance is None:
            return self
        name = f"_captured_{getattr(self.function, '__name__', '')}_{id(self)}"
        try:
            own = vars(instance)
        except TypeError:
            raise TypeError(
                f"capture: no method of {type(instance).__name__} can be decorated, as its objects have no attributes; "
                "capture a function, or the bound method of one object"
            ) from None
        method = MethodType(self.function, instance)
        if name not in own or own[name].function != method:  # of another object, of which this one is a copy
            own[name] = Captured(method, self.strict)
        found: Captured[Any, Any] = own[name]
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> Captured[P, R]:
        return Captured(copy.deepcopy(self.function, memo), self.strict)

    def __reduce__(self) -> Any:
        """Itself by its name, of a decorated function; else one of the same function, which makes plans of its own."""
        name = getattr(self, "__qualname__", "")
        with contextlib.suppress(AttributeError):
            if name and operator.attrgetter(name)(sys.modules.get(self.__module__)) is self:
                return name
        return Captured, (self.function, self.strict)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Replay, or record, or run as it is."""
        mode = modes.current()
        if not mode.replaying:
            self.why = "eager() asks for it"
            return self.function(*args, **kwargs)
        if launch.watcher() is not None:
            self.why = "it runs inside of another call"
            return self.function(*args, **kwargs)
        if mode.hooks or not self._lock.acquire(blocking=False):
            reason = "hooks see each op" if mode.hooks else "it runs in two threads at once"
            return self._eager(reason, args, kwargs)
        running, self._running = self._running, True
        try:
            if running:
                return self._eager("it is called by itself", args, kwargs)
            given, form = taken(args, kwargs)
            inputs = [each for each in given if isinstance(each, _ARRAYS)]
            self._calls += 1
            key = signature(given, inputs), form, mode, launch.settings()
            for entry in reversed(self._entries):
                if entry.holds(key, inputs):
                    try:
                        return self._replay(entry, inputs, args, kwargs)
                    except ChangedError:
                        continue
            return self._record(key, given, inputs, args, kwargs)
        finally:
            self._running = running
            self._lock.release()

    def profile(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Replay once, and return the plan as a table of its launches with the time that each took.

        Raises:
            RuntimeError: the call was no replay; says why.
        """
        self._timed = True
        try:
            self(*args, **kwargs)
        finally:
            self._timed = False
        if self.why or self.plan is None or self.plan.seconds is None:
            raise RuntimeError(f"profile: the call was no replay: {self.why}")
        return str(self.plan)

    def _eager(self, reason: str, args: Any, kwargs: Any) -> R:
        self.why = reason
        if self.strict:
            raise RuntimeError(f"capture: {reason}, and strict=True allows no eager call")
        return self.function(*args, **kwargs)

    def _replay(self, entry: Entry, inputs: list[Any], args: Any, kwargs: Any) -> R:
        entry.calls += 1
        self.why = ""
        if entry is not self._entries[-1]:
            self._entries.remove(entry)
            self._entries.append(entry)
        calls = entry.calls
        if self._timed or (calls % _TRIALS and (calls > _TRIALS or calls & (calls - 1))):
            found: R = entry.plan(inputs, self._timed)
            return found
        result, difference = compare(
            [self.function, args, kwargs], lambda: entry.plan(inputs), lambda: self.function(*args, **kwargs)
        )
        give_back()
        if difference:
            self._entries.remove(entry)
            self.why = f"replay {calls} gave something else than an eager call: {difference}"
            self._refused[entry.key] = _TRIES, self.why
            if self.strict:
                raise RuntimeError(f"capture: {self.why}")
        same: R = result
        return same

    def _record(self, key: Any, given: list[Any], inputs: list[Any], args: Any, kwargs: Any) -> R:
        """Run eagerly, and make a plan of it if one can be made."""
        if reason := next(_seen_by_others(inputs), ""):
            return self._eager(reason, args, kwargs)
        tries, reason = self._refused.get(key, (0, ""))
        if tries >= _TRIES or self._recordings >= _RECORDINGS + self._calls // _CALLS_EACH:
            often = f"it was recorded {self._recordings} times in {self._calls} calls"
            return self._eager(
                reason or f"{often}: shapes or numbers that it depends on change too often", args, kwargs
            )
        self._recordings += 1
        objects = [each for each in given if not isinstance(each, Tensor | np.ndarray)]
        before, given_before = Snapshot(Reach([self.function, *objects])), Snapshot(Reach([args, kwargs]))
        recorder, line = Recorder(known(before.reach, inputs)), line_where_defined(self.function)
        for reason in refused_at_once(before, inputs):
            recorder.refuse(reason, line)
        if not launch.watch(recorder):
            return self._eager("another thread records a plan", args, kwargs)
        try:
            arrays = any(isinstance(each, np.ndarray) for each in inputs)
            with calls.watched(recorder, arrays), telling((args, kwargs)) as (now, keywords):
                result = plain(self.function(*now, **keywords))
        finally:
            launch.unwatch()
        recorder.line = line
        entry = None if recorder.reason else entry_of(key, recorder, before, given_before, inputs, result)
        self.why = recorder.reason or "it was recorded"
        if entry is None:
            self._refused[key] = tries + 1, self.why
            if len(self._refused) > _SIGNATURES:
                del self._refused[next(iter(self._refused))]
            if self.strict and tries + 1 >= _TRIES:
                raise RuntimeError(f"capture: {self.why}, and strict=True allows no eager call")
        else:
            self._refused.pop(key, None)
            self._entries = [*self._entries[1 - _PLANS :], entry]
        read: R = _read(result)
        return read


def _seen_by_others(inputs: list[Any]) -> Iterator[str]:
    """Why no plan can be made for such arguments: the signature tells them from those of plans."""
    for each in inputs:
        if isinstance(each, Tensor) and each.wants_grad and each.creator is not None:
            yield "it is given a tensor with a tape behind it, which a plan does not keep"
        if isinstance(each, Tensor) and each.grad_hooks:
            yield "hooks of an argument see its gradient"


def _read(result: Any) -> Any:
    """What a function returned, with floats in the place of numbers that nobody has read."""
    if not any(isinstance(each, Unread) for each in leaves(result)):
        return result
    return mapped(lambda each: float(each) if isinstance(each, Unread) else each, result)


@overload
def capture(function: Callable[P, R], *, strict: bool = False) -> Captured[P, R]: ...
@overload
def capture(*, strict: bool = False) -> Callable[[Callable[P, R]], Captured[P, R]]: ...
def capture(function: Callable[..., Any] | None = None, *, strict: bool = False) -> Any:
    """Record a function when it is first called, and replay it from then on: the same bits, without Python.

    A call is eager where Python reads elements, changes what it reaches, makes an array of its own, asks a clock or
    handles errors. All that the function reaches is compared before each replay: closures, globals, defaults,
    attributes, and classes and modules of the user's. Each power of 2 among the calls and each 1,024th runs both ways
    and is compared bit for bit; the `forward` of an op of one's own runs twice there, with what else it does. What can
    still go stale until the next of these: the state of other packages, elements of a given array that C code reads
    untold (`memoryview(array)`, `map(np.asarray, arrays)`), a tensor's memory by `.raw`, and random numbers of a
    generator that the function makes without a seed. What it prints, eager calls alone print.

    Args:
        function: a model, a training step or any function of tensors; it may also be decorated with `@capture`.
        strict: whether a call that cannot be replayed is an error; else it is eager, and `why` says why.

    Returns:
        What is called as the function. `plans` holds what was recorded, one for each signature: the shapes, dtypes and
        orders of memory of what it is given, modes, and the numbers that it reaches.

    Raises:
        TypeError: it cannot be called.

    Example:
        >>> @capture
        ... def double(x):
        ...     return ops.add(x, x)
        >>> [double(Tensor([1.0, number])).tolist() for number in (2.0, 3.0)]
        [[2.0, 4.0], [2.0, 6.0]]
    """
    if function is None:
        return functools.partial(capture, strict=strict)
    if not callable(function):
        raise TypeError(f"capture: a model or a function, got {type(function).__name__}")
    return Captured(function, strict)
