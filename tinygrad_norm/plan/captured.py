"""`capture`: a function that records itself, and is replayed from then on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import numpy as np

from tinygrad_norm import launch, modes
from tinygrad_norm.operands import wrap
from tinygrad_norm.plan.plan import Changed, Effect, Grad, Input, Item, Kept, Plan, Raw
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.recorder import Array, Recorder
from tinygrad_norm.plan.snapshot import Snapshot
from tinygrad_norm.plan.trees import leaves, mapped
from tinygrad_norm.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")

_PLANS = 8
"""How many signatures have a plan."""


class Entry(NamedTuple):
    """A plan, and what has to be as it was."""

    plan: Plan
    guards: Snapshot


class Captured(Generic[P, R]):
    """A function that is recorded once for each signature, and replayed from then on."""

    def __init__(self, function: Callable[P, R], strict: bool = False) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function, self.strict = function, strict
        self.plans: dict[Any, list[Entry]] = {}
        self.why = ""
        self.calls = self.replays = 0

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = [*leaves((args, kwargs))]
        key = self._signature(given, kwargs)
        inputs = [
            each.raw if isinstance(each, Tensor) else each for each in given if isinstance(each, Tensor | np.ndarray)
        ]
        for entry in self.plans.get(key, ()):
            if next(entry.guards.changed(), None) is None:
                try:
                    result = entry.plan(inputs)
                except Changed:
                    continue
                self.replays += 1
                return result
        return self._record(key, args, kwargs, inputs)

    def _signature(self, given: list[Any], kwargs: Any) -> Any:
        return (
            tuple(
                (each.raw.shape, each.raw.dtype, each.raw.strides, each.wants_grad)
                if isinstance(each, Tensor)
                else (each.shape, each.dtype, each.strides)
                if isinstance(each, np.ndarray)
                else (type(each), each)
                for each in given
            ),
            tuple(kwargs),
            modes.current(),
        )

    def _record(self, key: Any, args: Any, kwargs: Any, inputs: list[Array]) -> R:
        reach = Reach([self.function])
        before = Snapshot(reach)
        known = [(array, Input(i)) for i, array in enumerate(inputs)]
        known += _state(reach)
        recorder = Recorder(known)
        launch.watch(recorder)
        try:
            result = self.function(*args, **kwargs)
        finally:
            launch.watch(None)
        if not recorder.reason:
            self._plan(key, recorder, before, result)
        self.why = recorder.reason
        if self.why and self.strict:
            raise RuntimeError(f"capture: {self.why}")
        return result

    def _plan(self, key: Any, recorder: Recorder, before: Snapshot, result: Any) -> None:
        hosted = {id(each) for each in recorder.hosted_objects}
        hosted |= {id(vars(each)) for each in recorder.hosted_objects if hasattr(each, "__dict__")}
        for place, key_of in before.changed():
            if id(place) not in hosted:
                recorder.refuse(f"the function changes {key_of!r}")
                return
        effects = []
        for tensor, raw, grad, _, _ in before.tensors:
            if tensor.raw is not raw:
                effects.append(Effect(tensor, "raw", recorder.view(tensor.raw)))
            if tensor.grad is not grad:
                effects.append(Effect(tensor, "grad", None if tensor.grad is None else recorder.view(tensor.grad.raw)))
        output = mapped(lambda each: _kept(each, recorder), result)
        if recorder.reason:
            return
        plan = Plan(recorder.steps, recorder.buffers, output, effects)
        guards = Snapshot(before.reach)
        guards.leave_out(hosted, recorder.read_late)
        self.plans.setdefault(key, []).append(Entry(plan, guards))


def _state(reach: Reach) -> list[tuple[Array, Any]]:
    known: list[tuple[Array, Any]] = [(each.raw, Raw(each)) for each in reach.tensors]
    known += [(each.grad.raw, Grad(each)) for each in reach.tensors if isinstance(each.grad, Tensor)]
    for mapping in reach.dicts:
        known += [(value, Item(mapping, name)) for name, value in mapping.items() if isinstance(value, np.ndarray)]
    return known


def _kept(each: Any, recorder: Recorder) -> Any:
    if isinstance(each, Tensor):
        if each.wants_grad:
            recorder.refuse("the function returns a tensor that wants a gradient, whose tape a plan does not keep")
            return None
        return Kept(recorder.view(each.raw), wrap)
    if isinstance(each, np.ndarray):
        return Kept(recorder.view(each), _itself)
    return each


def _itself(array: Array) -> Array:
    return array


def capture(function: Callable[P, R], *, strict: bool = False) -> Captured[P, R]:
    """Record a function once, and replay it from then on."""
    return Captured(function, strict)
