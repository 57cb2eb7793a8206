"""From what was recorded to a plan: what it finds, what it leaves, and what has to be as it was to replay it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_norm.integrity import owner_of
from tinygrad_norm.operands import wrap
from tinygrad_norm.plan.places import lines_of_stores
from tinygrad_norm.plan.plan import Effect, Kept, Plan, Same
from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.recorder import Array, Recorder, View
from tinygrad_norm.plan.signature import VALUES, array_of
from tinygrad_norm.plan.snapshot import Guards, Snapshot, same_state, state_of
from tinygrad_norm.plan.sources import Fixed, Grad, Input, Item, Raw
from tinygrad_norm.plan.trees import leaves, mapped
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.unread import Unread


class Entry:
    """A plan for one signature, and what has to be as it was."""

    def __init__(self, key: Any, plan: Plan, guards: Guards) -> None:
        self.key, self.plan, self.guards = key, plan, guards
        self.calls = 1

    def holds(self, key: Any, inputs: list[Any]) -> bool:
        """Whether the plan is one for this call: no argument is what the function reaches by itself."""
        if self.key != key or not self.guards.hold():
            return False
        given = {id(owner_of(array_of(each))) for each in inputs}
        for tensor in self.guards.tensors:
            raw = tensor.raw
            if id(raw if raw.base is None else owner_of(raw)) in given:
                return False
        return given.isdisjoint([id(owner_of(each)) for each in self.guards.arrays])


def known(reach: Reach, inputs: list[Any]) -> Iterator[tuple[Array, Any]]:
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
        yield array_of(each), Input(number)


def refused_at_once(before: Snapshot, inputs: list[Any]) -> Iterator[str]:
    """Why there can be no plan, before anything ran."""
    for each in before.reach.iterators:
        yield f"it reaches a {type(each).__name__}, and nobody sees how far that is"
    owners = [id(owner_of(each.raw)) for each in before.reach.tensors]
    if len({*owners}) < len(owners):
        yield "two tensors that it reaches share their memory"
    owners += [id(owner_of(each)) for each in before.reach.arrays]
    if {id(owner_of(array_of(each))) for each in inputs}.intersection(owners):
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
    if (place := next(_unseen(given_before, recorder), None)) is not None:
        line = lines_of_stores(recorder.codes, place)
        recorder.refuse(f"it changes {place!r} of what it is given, which a replay would not", line)


def entry_of(
    key: Any, recorder: Recorder, before: Snapshot, given_before: Snapshot, inputs: list[Any], result: Any
) -> Entry | None:
    """A plan of what was recorded; None, and a reason, where there can be none."""
    effects = [*_effects_on_inputs(recorder, given_before, inputs)]
    for generator, state in before.states:
        if not same_state(state_of(generator), state) and id(generator) not in recorder.drawn:
            recorder.refuse("it draws random numbers outside of an op")
    if (place := next(_unseen(before, recorder), None)) is not None:
        recorder.refuse(f"it changes {place!r}, which a replay would not", lines_of_stores(recorder.codes, place))
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
    unread = {
        (id(each), name) for each in before.reach.watched for name in dict.keys(each)
    } - recorder.read_early.keys()
    held = {
        id(value)
        for mapping, names, values in before.dicts
        for name, value in zip(names, values, strict=True)
        if id(mapping) in own or (id(mapping), name) in unread
    }
    return Entry(key, plan, Guards(before, own, late, unread, frozenset(held) - before.reach.again))


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
    if not isinstance(each, VALUES):
        recorder.refuse(f"it returns a {type(each).__name__}, in which a plan does not look for tensors")
    return each


def _itself(array: Array) -> Array:
    return array
