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
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import launch, modes
from tinygrad_norm.forks import free_when_forking
from tinygrad_norm.integrity import owner_of
from tinygrad_norm.operands import wrap
from tinygrad_norm.plan import calls
from tinygrad_norm.plan.places import line_where_defined
from tinygrad_norm.plan.plan import ChangedError, Effect, Kept, Plan, Same
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.recorder import Array, Recorder, View
from tinygrad_norm.plan.snapshot import Guards, Snapshot, same_state, state_of
from tinygrad_norm.plan.sources import Fixed, Grad, Input, Item, Raw
from tinygrad_norm.plan.told import plain, telling
from tinygrad_norm.plan.trees import flattened, leaves, mapped
from tinygrad_norm.plan.trial import compare
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.unread import Unread

P = ParamSpec("P")
R = TypeVar("R")

_ARRAYS = (Tensor, np.ndarray)

_PLANS = 8
"""How many plans a function has at most; the one that was used least lately goes."""

_IN_A_ROW = 24
"""How many calls are recorded one after the other before it is eager for good."""

_SIGNATURES = 64
"""How many signatures are known to have none."""

_TRIES = 3
"""How often a call is recorded in vain before it is eager for good: the first calls of an optimizer make its state."""

_TRIALS = 1024
"""Each power of 2 up to this number, and each multiple of it, is a call that runs both ways."""


class Entry:
    """A plan for one signature, and what has to be as it was."""

    def __init__(self, key: Any, plan: Plan, guards: Guards) -> None:
        self.key, self.plan, self.guards = key, plan, guards
        self.calls = 1

    def holds(self, key: Any, inputs: list[Any]) -> bool:
        """Whether the plan is one for this call: no argument is what the function reaches by itself."""
        if self.key != key or not self.guards.hold():
            return False
        given = {id(owner_of(_array(each))) for each in inputs}
        reached = [*(each.raw for each in self.guards.tensors), *self.guards.arrays]
        return given.isdisjoint([id(raw if raw.base is None else owner_of(raw)) for raw in reached])


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
        self._in_a_row = 0
        """How many calls were recorded since the last replay."""

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
            given: list[Any] = []
            form = flattened(args, given), flattened(kwargs, given)
            inputs = [each for each in given if isinstance(each, _ARRAYS)]
            if [each for each in inputs if isinstance(each, Tensor) and each.wants_grad and each.creator is not None]:
                return self._eager(
                    "it is given a tensor with a tape behind it, which a plan does not keep", args, kwargs
                )
            if any(each.grad_hooks for each in inputs if isinstance(each, Tensor)):
                return self._eager("hooks of an argument see its gradient", args, kwargs)
            key = _signature(given, inputs), form, mode, launch.settings()
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
        self.why, self._in_a_row = "", 0
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
        tries, reason = self._refused.get(key, (0, ""))
        if tries >= _TRIES or self._in_a_row >= _IN_A_ROW:
            return self._eager(reason or "what it depends on was another thing at each call", args, kwargs)
        self._in_a_row += 1
        objects = [each for each in given if not isinstance(each, Tensor | np.ndarray)]
        before, given_before = Snapshot(Reach([self.function, *objects])), Snapshot(Reach([args, kwargs]))
        recorder, line = Recorder(_known(before.reach, inputs)), line_where_defined(self.function)
        for reason in _refused_at_once(before, inputs):
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
        entry = None if recorder.reason else _entry(key, recorder, before, given_before, inputs, result)
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


class _Itself:
    """An object that is equal to itself alone, and lives as long as a signature has it."""

    def __init__(self, each: Any) -> None:
        self.each = each

    def __hash__(self) -> int:
        return id(self.each)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.each is self.each


def _signature(given: list[Any], inputs: list[Any]) -> tuple[Any, ...]:
    """What a plan depends on of the arguments: of arrays kind, form and which overlap, of the rest what it is."""
    overlap = _overlap(inputs) if len(inputs) > 1 else ()
    return overlap, *(
        [
            (
                type(each),
                *(each.raw.shape, each.raw.dtype, each.raw.strides),
                *(each.wants_grad, each.is_leaf, each.grad is None),
            )
            if isinstance(each, Tensor)
            else (type(each), each.shape, each.dtype, each.strides)
            if isinstance(each, np.ndarray)
            else (type(each), repr(each) if isinstance(each, _VALUES) else _Itself(each))
            for each in given
        ]
    )


_VALUES = (int, float, complex, str, bytes, bool, type(None), np.generic, slice, range, np.dtype)
"""What is known by what it is, and not as an object."""


def _overlap(inputs: list[Any]) -> tuple[tuple[int, ...], ...]:
    """The pairs of inputs that share memory, how many bytes one begins after the other, and whether they are one."""
    arrays = [_array(each) for each in inputs]
    owners = [owner_of(each) for each in arrays]
    return tuple(
        [
            (i, j, byte_bounds(arrays[j])[0] - byte_bounds(arrays[i])[0], inputs[i] is inputs[j])
            for j in range(1, len(arrays))
            for i in range(j)
            if owners[i] is owners[j] and np.may_share_memory(arrays[i], arrays[j])
        ]
    )


def _array(each: Any) -> Array:
    array: Array = each.raw if isinstance(each, Tensor) else each
    return array


def _known(reach: Reach, inputs: list[Any]) -> Iterator[tuple[Array, Any]]:
    """The arrays that are there before a call, and where the next call finds them; what comes last is found first."""
    for array in reach.arrays:
        yield array, Fixed(array)
    for mapping in reach.dicts:
        for name, value in mapping.items():
            if isinstance(value, np.ndarray):
                yield value, Item(mapping, name)
    for tensor in reach.tensors:
        yield tensor.raw, Raw(tensor)
    for tensor in reach.tensors:
        if isinstance(tensor.grad, Tensor):  # which is reached as well, but is another one the next time
            yield tensor.grad.raw, Grad(tensor)
    for number, each in enumerate(inputs):
        if isinstance(each, Tensor) and isinstance(each.grad, Tensor):
            yield each.grad.raw, Grad(number)
        yield _array(each), Input(number)


def _refused_at_once(before: Snapshot, inputs: list[Any]) -> Iterator[str]:
    """Why there can be no plan, before anything ran."""
    for each in before.reach.iterators:
        yield f"it reaches a {type(each).__name__}, and nobody sees how far that is"
    owners = [id(owner_of(each.raw)) for each in before.reach.tensors]
    if len({*owners}) < len(owners):
        yield "two tensors that it reaches share their memory"
    owners += [id(owner_of(each)) for each in before.reach.arrays]
    if {id(owner_of(_array(each))) for each in inputs}.intersection(owners):
        yield "it is given a tensor or an array that it also reaches by itself"
    for each in inputs:
        if isinstance(each, np.ndarray) and type(each) is not np.ndarray:
            yield f"it is given a {type(each).__name__}, of which nobody sees what is read: give np.asarray of it"
    if any(each.wants_grad and not each.is_leaf for each in before.reach.tensors):
        yield "it reaches a tensor with a tape behind it, which a plan does not keep"


def _effects_on_inputs(recorder: Recorder, given_before: Snapshot, inputs: list[Any]) -> Iterator[Effect]:
    """The gradients that inputs have afterwards; nothing else of what is given may change."""
    known = {id(each.tensor): each for each in given_before.tensors}
    for number, each in enumerate(inputs):
        if isinstance(each, Tensor):
            was = known[id(each)]
            if each.wants_grad is not was.wants_grad:
                recorder.refuse("it asks for the gradient of an argument, or no longer")
            if each.raw is not was.raw:
                recorder.refuse("it puts another array into an argument")
            if each.grad is not was.grad:
                yield _effect(number, each.grad, recorder)
    if next(_unseen(given_before, recorder), None) is not None:
        recorder.refuse("it changes a list, a dict or an object that it is given")


def _entry(
    key: Any, recorder: Recorder, before: Snapshot, given_before: Snapshot, inputs: list[Any], result: Any
) -> Entry | None:
    """A plan of what was recorded; None, and a reason, where there can be none."""
    effects = [*_effects_on_inputs(recorder, given_before, inputs)]
    for generator, state in before.states:
        if not same_state(state_of(generator), state) and id(generator) not in recorder.drawn:
            recorder.refuse("it draws random numbers outside of an op")
    if (place := next(_unseen(before, recorder), None)) is not None:
        recorder.refuse(f"it changes {place!r}, which a replay would not")
        return None
    own = recorder.changed_by_hosts()
    late = _late(own, recorder, before)
    for tensor, raw, grad, _, _ in before.tensors:
        if tensor.raw is not raw:
            effects.append(Effect(tensor, "raw", recorder.view(tensor.raw)))
        if tensor.grad is not grad:
            effects.append(_effect(tensor, tensor.grad, recorder))
    there = {id(each.tensor): Same(each.tensor) for each in before.tensors}
    there |= {id(each): Same(number) for number, each in enumerate(inputs) if isinstance(each, Tensor)}
    kept: dict[int, Any] = {}  # by the id of what is returned, which may be so several times
    for each in leaves(result):
        if id(each) not in kept:
            kept[id(each)] = _kept(each, recorder, there)
    output = mapped(lambda each: kept[id(each)], result)
    if recorder.reason:
        return None
    views = [each.view for each in leaves(output) if type(each) is Kept]
    if not all(isinstance(view, View) and view.buffer.dense for view in views):
        recorder.refuse("it returns a constant, or a part of an argument whose elements do not follow each other")
        return None
    plan = Plan(recorder.steps, recorder.buffers, output, effects)
    held = {id(array) for mapping in before.dicts if id(mapping.mapping) in own for array in mapping.values}
    return Entry(key, plan, Guards(before, own, late, frozenset(held)))


def _late(own: set[Any], recorder: Recorder, before: Snapshot) -> list[tuple[Any, Any]]:
    """The dicts and keys whose values may be others at each replay, as launches alone look them up.

    What Python looks up as well has to be as it was, and may not be what the plan changes itself.
    """
    reached, late = {id(each.mapping) for each in before.dicts}, {(id(each), key) for each, key in recorder.read_late}
    for (mapping, key), (_, line) in recorder.read_early.items():
        if mapping in own or (mapping, key) in own:
            recorder.refuse(f"it looks up {key!r}, which it also changes", line)
        elif (mapping, key) in late and mapping not in reached:
            recorder.refuse(f"it looks up {key!r} where nobody sees it change", line)
    return [(each, key) for each, key in recorder.read_late if (id(each), key) not in recorder.read_early]


def _unseen(before: Snapshot, recorder: Recorder) -> Iterator[Any]:
    """The places in containers that hold something else now, though nothing that passed the door put it there."""
    own = recorder.changed_by_hosts()
    for container, place in before.changed():
        if id(container) not in own and (id(container), place) not in own:
            yield place


def _effect(tensor: Tensor | int, grad: Tensor | None, recorder: Recorder) -> Effect:
    """A gradient that a tensor, or an input by its number, has afterwards."""
    if grad is not None and grad.wants_grad:
        recorder.refuse("it leaves a gradient that can be differentiated, and a plan keeps no tape")
    return Effect(tensor, "grad", None if grad is None else recorder.view(grad.raw))


def _kept(each: Any, recorder: Recorder, there: dict[int, Same]) -> Any:
    if id(each) in there:
        return there[id(each)]
    if isinstance(each, Tensor):
        if each.wants_grad:
            recorder.refuse(
                "it returns a tensor that wants a gradient, and a plan keeps no tape: return loss.detach(), or call it "
                "under no_grad()"
            )
            return None
        if each.grad is not None:
            recorder.refuse("it returns a tensor with a gradient of its own")
        return Kept(recorder.view(each.raw), wrap)
    if isinstance(each, np.ndarray):
        return Kept(recorder.view(each), _itself)
    if isinstance(each, Unread):
        return Kept(recorder.view(each.array), float)
    if not isinstance(each, _VALUES):
        recorder.refuse(f"it returns a {type(each).__name__}, in which a plan does not look for tensors")
    return each


def _read(result: Any) -> Any:
    """What a function returned, with floats in the place of numbers that nobody has read."""
    if not any(isinstance(each, Unread) for each in leaves(result)):
        return result
    return mapped(lambda each: float(each) if isinstance(each, Unread) else each, result)


def _itself(array: Array) -> Array:
    return array


@overload
def capture(function: Callable[P, R], *, strict: bool = False) -> Captured[P, R]: ...
@overload
def capture(*, strict: bool = False) -> Callable[[Callable[P, R]], Captured[P, R]]: ...
def capture(function: Callable[..., Any] | None = None, *, strict: bool = False) -> Any:
    """Record a function when it is first called, and replay it from then on: the same bits, without Python.

    Args:
        function: a model, a training step or any function of tensors; it may also be decorated with `@capture`.
        strict: whether a call that cannot be replayed is an error; else it is eager, and `why` says why.

    Returns:
        What is called as the function. `plans` holds what was recorded, one for each signature: the shapes, dtypes and
        orders of memory of what it is given, modes, and the numbers that it reaches.

    Raises:
        TypeError: it cannot be called.
    """
    if function is None:
        return functools.partial(capture, strict=strict)
    if not callable(function):
        raise TypeError(f"capture: a model or a function, got {type(function).__name__}")
    return Captured(function, strict)
