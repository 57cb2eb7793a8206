"""A plan: launches on fixed memory, in the order in which they ran once.

What a plan finds there (parameters, large inputs) and what somebody keeps afterwards (large outputs, gradients) is
elsewhere each time; the launches that are given it are written anew before a replay. Small inputs are copied into the
plan's memory instead, and small outputs out of it, which takes less time than to write a launch.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import integrity
from tinygrad_norm.launch import Late
from tinygrad_norm.operands import wrap
from tinygrad_norm.plan import report
from tinygrad_norm.plan.memory import ALIGNMENT, Interval, place
from tinygrad_norm.plan.recorder import Array, Buffer, Step, View, views_of
from tinygrad_norm.plan.settled import Settled, settled
from tinygrad_norm.plan.sources import Input, Raw, find
from tinygrad_norm.plan.trees import leaves, mapped
from tinygrad_norm.quiet import enter_quiet, leave_quiet
from tinygrad_norm.tensor import Tensor

_SMALL = 2**15
"""How many bytes are copied sooner than a launch is written anew, which takes 3 µs."""

_NONE: Set[int] = frozenset()

Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Kept:
    """An array that the function returns, and what it makes of it: nothing, or a tensor."""

    view: View
    made: Callable[[Array], Any]


@dataclass(frozen=True, slots=True)
class Same:
    """A tensor that is there before and is returned itself: it, or the number of an input."""

    tensor: Tensor | int


class Effect(NamedTuple):
    """What a tensor has afterwards: an array of its own, or a gradient, or None."""

    tensor: Tensor | int
    """It, or the number of an input."""
    slot: str
    view: View | None


class ChangedError(Exception):
    """An array that is there before has another form than when the plan was made."""


class Plan:
    """What a replay does.

    Args:
        steps, buffers: what was recorded.
        output: what the function returned, with `Kept` or `Same` in the place of its arrays and tensors.
        effects: what is put into tensors at the end.
    """

    def __init__(self, steps: list[Step], buffers: list[Buffer], output: Any, effects: list[Effect]) -> None:
        self.steps, self.output, self.effects = steps, output, effects
        self.seconds: list[float] | None = None
        """What each launch took in the last replay that was timed."""
        self.used = [buffer for buffer in buffers if buffer.used]
        copied = self._choose()
        self.settled = self._settle()
        within = {id(each) for each in copied}
        self.fresh = [each for each in self.used if each.fresh]
        self.outside = [each for each in self.used if each.source is not None and id(each) not in within]
        elsewhere = {id(each) for each in (*self.fresh, *self.outside)}
        self._place([each for each in self.used if id(each) not in elsewhere])
        self._inputs = [
            (each.source.number, self._array(View(each, each.begin, each.shape, each.strides, each.dtype, True)))
            for each in copied
        ]
        self._memory: dict[int, Array] = {}
        """The array of each buffer outside of the arena, in an order of axes in which it is contiguous."""
        self._bound: list[Any] = [None] * len(self.outside)
        self._forms = [(each.shape, each.strides, each.dtype) for each in self.outside]
        numbered = [*enumerate(each.source for each in self.outside)]
        self._tensors = [(number, source.tensor) for number, source in numbered if type(source) is Raw]
        self._others = [(number, source) for number, source in numbered if type(source) is not Raw]
        results = [each.view for each in (*leaves(output), *effects) if isinstance(each, Kept | Effect) and each.view]
        self._results = {id(view): self._array(view) for view in results if view.buffer.offset >= 0}
        """What somebody keeps of what lies in the arena, which is copied, by the id of the view."""
        self._like = [_like(each) for each in self.fresh]
        parameters = {id(each) for each in self.settled.parameters}
        self._parameters = [number for number, each in enumerate(self.outside) if id(each) in parameters]
        self._settled_with: list[tuple[Array, integrity.Snapshot]] | None = None
        """The parameters of which settled steps made what there is, as they were then; None if there is nothing."""
        self._write_calls()

    def _choose(self) -> list[Buffer]:
        """Say which buffers are fresh, and return the inputs that are copied."""
        kept = [each.view.buffer for each in leaves(self.output) if isinstance(each, Kept)]
        kept += [effect.view.buffer for effect in self.effects if effect.view is not None]
        times = Counter(map(id, kept))
        for buffer in kept:
            buffer.last = len(self.steps)
            shared = times[id(buffer)] > 1  # by several, which see what is written to one of them
            buffer.fresh = buffer.source is None and (shared or buffer.nbytes > _SMALL)
        returned = {id(buffer) for buffer in kept}
        copied = []
        for buffer in self.used:
            small = buffer.nbytes <= _SMALL or not buffer.dense
            if type(buffer.source) is Input and small and not buffer.written and id(buffer) not in returned:
                buffer.first = 0
                copied.append(buffer)
        return copied

    def _settle(self) -> Settled:
        """Find the steps that are left out as long as parameters stay as they are."""
        kept = {id(each.view.buffer) for each in leaves(self.output) if isinstance(each, Kept)}
        kept |= {id(effect.view.buffer) for effect in self.effects if effect.view is not None}
        replaced = {id(effect.tensor) for effect in self.effects if effect.slot == "raw"}
        return settled(self.steps, kept, replaced)

    def _write_calls(self) -> None:
        """Write the launches on memory that stays, and note which ones are to be written anew."""
        self._calls: list[Call] = [_NOTHING] * len(self.steps)
        self._of: dict[int, list[int]] = {}
        """The steps that are given a buffer of no fixed place, by its id."""
        for number, step in enumerate(self.steps):
            views = views_of(step)
            for each in {id(view.buffer) for view in views if view.buffer.offset < 0}:
                self._of.setdefault(each, []).append(number)
        self._of_fresh = {number for buffer in self.fresh for number in self._of.get(id(buffer), ())}
        self._anew = sorted(self._of_fresh)
        self._head = min(self._of_fresh, default=len(self.steps))
        """How many steps come before the first that needs a fresh array."""
        self.joined = _joined(self.steps, self._of_fresh)
        """For each launch that is made together with others, the numbers of all of them."""
        elsewhere = {number for numbers in self._of.values() for number in numbers}
        self._write(
            [number for number in range(len(self.steps)) if not elsewhere & {*self.joined.get(number, [number])}]
        )

    def _place(self, own: list[Buffer]) -> None:
        """Give each buffer of the plan's own its place in the arena."""
        lasting, end = {id(each) for each in self.settled.lasting}, len(self.steps)
        alive = [(0, end) if id(each) in lasting else (each.first, each.last) for each in own]
        offsets, size = place([Interval(each.nbytes, *steps) for each, steps in zip(own, alive, strict=True)])
        arena = np.empty(size + ALIGNMENT, np.uint8)
        skip = -arena.__array_interface__["data"][0] % ALIGNMENT
        self.arena = arena[skip : skip + size]
        for buffer, offset in zip(own, offsets, strict=True):
            buffer.offset = offset

    def __call__(self, given: Sequence[Any], timed: bool = False) -> Any:
        """Replay with tensors and arrays, and return what the function did; `timed` notes how long each launch takes.

        Raises:
            ChangedError: an array has another form; nothing ran.
        """
        inputs = [each if isinstance(each, np.ndarray) else each.raw for each in given]
        stale = self._bind(inputs, given)
        for number, fixed in self._inputs:
            np.copyto(fixed, inputs[number])
        calls, steps = self._calls, self.steps
        if stale:
            self._write([number for number in stale if number not in self._of_fresh])
        parameters = self._settled_with
        if self.settled.steps and not self._is_settled():
            parameters = self._unsettle()
        quiet = enter_quiet()
        self._done = 0
        try:
            seconds = self._run(calls[: self._head], timed)  # which forgets old gradients: new ones take their memory
            if self.fresh:
                for buffer, like in zip(self.fresh, self._like, strict=True):
                    self._memory[id(buffer)] = _contiguous(np.empty_like(like))
                for number in self._anew:
                    calls[number] = self._call(steps[number])
                seconds += self._run(calls[self._head :], timed)
            self.seconds = seconds if timed else self.seconds
            self._settled_with = parameters
            return self._returned(self.output, given)
        finally:
            leave_quiet(quiet)
            if self.effects:
                self._put_effects(given)
            for number in (*self._anew, *self.settled.steps):  # what is kept elsewhere is not kept here
                calls[number] = _NOTHING
            for buffer in self.fresh:
                self._memory.pop(id(buffer), None)

    def _is_settled(self) -> bool:
        """Whether what depends on parameters alone is there, and no parameter has changed."""
        return self._settled_with is not None and all(
            self._bound[number] is array and not integrity.is_lent(array) and integrity.unchanged(array, snapshot)
            for number, (array, snapshot) in zip(self._parameters, self._settled_with, strict=True)
        )

    def _unsettle(self) -> list[tuple[Array, integrity.Snapshot]] | None:
        """Have settled steps run; return what they depend on, None if anybody may write to it at any time."""
        self._settled_with = None
        for number in self.settled.steps:
            self._calls[number] = self._call(self.steps[number])
        arrays = [self._bound[number] for number in self._parameters]
        return None if any(map(integrity.is_lent, arrays)) else [(each, integrity.snapshot(each)) for each in arrays]

    def _put_effects(self, given: Sequence[Any]) -> None:
        """Put into tensors what is theirs: after an error what was made before, as an eager call would have."""
        for whose, slot, view in self.effects:
            if view is not None and view.buffer.first >= self._done:
                continue
            tensor = given[whose] if type(whose) is int else whose
            if view is None:
                setattr(tensor, slot, None)
            else:
                setattr(tensor, slot, self._result(view) if slot == "raw" else wrap(self._result(view)))

    def _run(self, calls: list[Call], timed: bool) -> list[float]:
        """Make calls, and count those that are done."""
        if not calls:
            return []
        left = iter(calls)
        try:
            if timed:
                return report.timed(left)
            for run, arguments in left:
                run(*arguments)
        except BaseException:
            self._done -= 1  # the last one failed
            raise
        finally:
            self._done += len(calls) - operator.length_hint(left)
        return []

    def _returned(self, output: Any, given: Sequence[Any]) -> Any:
        if type(output) is Kept:
            return output.made(self._result(output.view))
        if type(output) is Same:
            return given[output.tensor] if type(output.tensor) is int else output.tensor
        made: dict[int, Any] = {}

        def make(each: Any) -> Any:
            if type(each) is Same:
                return given[each.tensor] if type(each.tensor) is int else each.tensor
            if type(each) is not Kept:
                return each
            if id(each) not in made:  # one tensor may be returned several times
                made[id(each)] = each.made(self._result(each.view))
            return made[id(each)]

        return mapped(make, output)

    def _result(self, view: View) -> Array:
        """An array that somebody keeps."""
        array = self._results.get(id(view))
        return self._array(view) if array is None else array.copy("K")

    def _bind(self, inputs: Sequence[Array], given: Sequence[Any]) -> Set[int]:
        """Find the arrays that are there before, and return the steps that are given another one than last time."""
        bound = self._bound
        moved = [(number, tensor.raw) for number, tensor in self._tensors if tensor.raw is not bound[number]]
        for number, source in self._others:
            array = find(source, inputs, given)
            if array is not bound[number]:
                moved.append((number, array))
        if not moved:
            return _NONE
        stale: set[int] = set()
        for number, array in moved:
            if (array.shape, array.strides, array.dtype) != self._forms[number]:
                raise ChangedError
        for number, array in moved:
            bound[number] = array
            key = id(self.outside[number])
            self._memory[key] = _contiguous(array)
            stale.update(self._of.get(key, ()))
        return stale

    def _write(self, numbers: list[int]) -> None:
        """Write launches on the memory that there is now; one that is joined to others, with them."""
        groups = {}
        for number in numbers:
            if (group := self.joined.get(number)) is None:
                self._calls[number] = self._call(self.steps[number])
            else:
                groups[group[0]] = group
        for first, group in groups.items():
            run: Any = self.steps[first].run
            self._calls[first] = run.joined([self._arrays(self.steps[number].arguments) for number in group])

    def _call(self, step: Step) -> Call:
        """A step on the memory that there is now."""
        run, arguments = step.run, self._arrays(step.arguments)
        if any(type(each) is Late for each in leaves(step.arguments)):
            run, arguments = _late, (run, arguments)
        elif (bound := getattr(run, "bound", None)) is not None:
            run, arguments = bound(*arguments)
        if step.results is None:
            return run, arguments
        return _writing(run, arguments, mapped(self._leaf, step.results))

    def _arrays(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            [
                self._array(each)
                if type(each) is View
                else mapped(self._leaf, each)
                if isinstance(each, tuple | list | dict | Late)
                else each
                for each in arguments
            ]
        )

    def _leaf(self, each: Any) -> Any:
        if type(each) is Late:
            return each.mapped(self._leaf)
        return self._array(each) if type(each) is View else each

    def _array(self, view: View) -> Array:
        buffer = view.buffer
        if buffer.offset >= 0:
            array = np.ndarray(view.shape, view.dtype, self.arena, buffer.offset + view.offset, view.strides)
        else:
            memory = self._memory[id(buffer)]
            if view.strides == memory.strides and view.shape == memory.shape and view.dtype is memory.dtype:
                array = memory
            else:
                array = np.ndarray(view.shape, view.dtype, memory, view.offset, view.strides)
        if not view.writeable and array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        return array

    def __repr__(self) -> str:
        return f"<{report.summary(self)}>"

    def __str__(self) -> str:
        return report.table(self)

    def memory(self) -> int:
        """Bytes of the plan's own memory, without arrays that somebody keeps, which each replay makes."""
        return self.arena.nbytes

    def memory_of_parameters(self) -> int:
        """Those of them that hold, from one replay to the next, what depends on parameters alone."""
        return sum(each.nbytes for each in self.settled.lasting)


def _joined(steps: list[Step], fresh: set[int]) -> dict[int, list[int]]:
    """Small launches of one kernel that follow each other: for each, the numbers of all."""
    groups: list[list[int]] = []
    forms: list[Any] = [None]
    for number, step in enumerate(steps):
        form = None
        if number not in fresh and hasattr(step.run, "joins") and step.run.joins(step.arguments):
            form = step.run, *[view.dtype for view in views_of(step)]
        if form is not None and form == forms[-1]:
            groups[-1].append(number)
        else:
            groups.append([number])
        forms.append(form)
    return {number: group for group in groups if len(group) > 1 for number in group}


def _like(buffer: Buffer) -> Array:
    """An array of a buffer's form, with next to no memory."""
    return np.lib.stride_tricks.as_strided(np.empty(1, buffer.dtype), buffer.shape, buffer.strides, writeable=False)


def _contiguous(array: Array) -> Array:
    """An array with its axes in an order in which its elements follow each other."""
    if array.flags.c_contiguous:
        return array
    return array.transpose(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))


def _late(run: Callable[..., Any], arguments: Any) -> Any:
    return run(*[mapped(_now, each) if isinstance(each, tuple | list | dict) else _now(each) for each in arguments])


def _now(each: Any) -> Any:
    return each() if type(each) is Late else each


def _writing(run: Callable[..., Any], arguments: Any, results: Any) -> Call:
    """A call that writes what a launch returns."""
    if isinstance(results, np.ndarray):
        if run in _COPIES:
            given = arguments[0]
            if results.size == given.size and results.flags.c_contiguous:
                return _copy, (results.reshape(given.shape), given)
        if run in _FILLS:
            return results.fill, (_FILLS[run](arguments),)
        if isinstance(run, np.ufunc) and len(arguments) == run.nin:
            return run, (*arguments, results)
    return _copied, (run, arguments, [*leaves(results)])


_COPIES = {np.ascontiguousarray, np.ndarray.reshape, np.ndarray.ravel, np.ndarray.astype}
_FILLS: dict[Any, Callable[[Any], Any]] = {
    np.zeros: lambda _: 0,
    np.ones: lambda _: 1,
    np.full: lambda arguments: arguments[1],
}


def _copy(target: Array, given: Array) -> None:
    np.copyto(target, given, "unsafe")


def _copied(run: Callable[..., Any], arguments: Any, results: list[Any]) -> None:
    for target, each in zip(results, leaves(run(*arguments)), strict=True):
        if target is not None:
            if each.shape != target.shape:  # which would be stretched
                found = f"an array of shape {each.shape}, where it was recorded with {target.shape}"
                raise ValueError(f"capture: a launch returned {found}; shapes that depend on values are not captured")
            np.copyto(target, each, "unsafe")


def _nothing() -> None:
    """In the place of a call that is made anew."""


_NOTHING: Call = (_nothing, ())
