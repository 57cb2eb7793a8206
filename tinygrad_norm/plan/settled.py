"""Steps that depend on parameters alone, as the transform of a convolution's filters: most replays leave them out.

A step is settled if all that it is given are parameters, which the plan itself does not change, and what settled steps
made; and if what it writes is memory of the plan's own that is only read after settled steps have written it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import integrity
from tinygrad_norm.plan.recorder import Buffer, Step, View, views_of
from tinygrad_norm.plan.sources import Raw
from tinygrad_norm.plan.trees import leaves

_LARGEST = 2**20
"""The bytes of a result that is kept although it is larger than the parameters that it is made of.

For one image, Winograd's filters of 64 to 64 channels (0.6 MB) kept take 0.96 to 0.99 of the time (ResNet-18,
BaselineCNN, VGG16); those of 128 channels and more (2.4 MB on), or for 8 images, 1.00 to 1.02: to read them, four times
the weight, takes as long as to make them. What is as large as its parameters is kept in any case: ResNet-18 with
standardized weights takes 0.81 of the time, for a copy of all of them. Machine: two cores of an EPYC of Zen 3, with
32 MB of L3.
"""

_PLAIN = (View, int, float, bool, str, type(None), type(Ellipsis), np.dtype, np.generic, np.ufunc, slice)


class Settled(NamedTuple):
    """The steps of a plan that are settled.

    Attributes:
        steps: their numbers.
        parameters: what they are made of.
        lasting: what other steps read of what they make.
    """

    steps: list[int]
    parameters: list[Buffer]
    lasting: list[Buffer]


def settled(steps: list[Step], kept: set[int], replaced: set[int]) -> Settled:
    """Find the settled steps.

    Args:
        steps: of a plan.
        kept: ids of the buffers that are read after the last step.
        replaced: ids of the tensors that have another array after a replay.
    """
    given = [list({id(view.buffer): view.buffer for view in views_of(step)}.values()) for step in steps]
    changed = {id(each) for step, buffers in zip(steps, given, strict=True) if _tells(step) for each in buffers}
    found = [number for number, step in enumerate(steps) if _is_plain(step)]
    while True:
        among = set(found)
        spoilt = changed | {
            id(each)
            for number, buffers in enumerate(given)
            for each in buffers
            if not _is_parameter(each, replaced) and not _is_made(each, number, number in among)
        }
        lasting = _lasting(given, among, kept)
        spoilt |= _too_large(steps, found, lasting)
        fewer = [number for number in found if not any(id(each) in spoilt for each in given[number])]
        if len(fewer) == len(found):
            return Settled(
                found, _once(each for number in found for each in given[number] if each.source is not None), lasting
            )
        found = fewer


def _is_plain(step: Step) -> bool:
    """Whether a step depends on nothing but its arguments: it is no object or closure, and draws nothing."""
    if isinstance(step.run, MethodType | partial) or _has_closure(step.run) or _tells(step):
        return False
    arguments = [*leaves(step.arguments)]
    return bool(arguments) and all(map(_is_constant, arguments))


def _is_constant(each: Any) -> bool:
    if isinstance(each, _PLAIN) or type(each) is np.ndarray or hasattr(each, "bound"):  # a kernel
        return True
    if isinstance(each, FunctionType):
        return not _has_closure(each)
    params: Any = getattr(type(each), "__dataclass_params__", None)
    return params is not None and params.frozen


def _has_closure(run: Any) -> bool:
    return getattr(run, "__closure__", None) is not None


def _tells(step: Step) -> bool:
    return step.run is integrity.mark_changed


def _is_parameter(buffer: Buffer, replaced: set[int]) -> bool:
    return type(buffer.source) is Raw and not buffer.written and id(buffer.source.tensor) not in replaced


def _is_made(buffer: Buffer, number: int, by_settled: bool) -> bool:
    """Whether memory of the plan's own is left alone by this step, unless it is a settled one."""
    if buffer.source is not None or buffer.fresh or buffer.written or buffer.finished is None:
        return False
    return by_settled or number >= buffer.finished


def _lasting(given: list[list[Buffer]], among: set[int], kept: set[int]) -> list[Buffer]:
    made = {id(each) for number in among for each in given[number] if each.source is None}
    others = [each for number, buffers in enumerate(given) if number not in among for each in buffers]
    inside = [each for number in among for each in given[number] if id(each) in kept]
    return _once(each for each in (*others, *inside) if id(each) in made)


def _too_large(steps: list[Step], found: list[int], lasting: list[Buffer]) -> set[int]:
    """The ids of what takes longer to read than to make from smaller parts of parameters, and much memory."""
    of: dict[int, dict[Any, int]] = {}
    for number in found:
        views = views_of(steps[number])
        sources = {(id(each.buffer), each.offset): _nbytes(each) for each in views if each.buffer.source is not None}
        for each in views:
            sources |= of.get(id(each.buffer), {})
        of |= {id(each.buffer): sources for each in views if each.buffer.source is None}
    return {id(each) for each in lasting if each.nbytes > max(_LARGEST, sum(of[id(each)].values()))}


def _nbytes(view: View) -> int:
    return prod(view.shape) * view.dtype.itemsize


def _once(buffers: Iterable[Buffer]) -> list[Buffer]:
    return list({id(each): each for each in buffers}.values())
