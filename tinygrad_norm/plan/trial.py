"""A trial: a replay and an eager call from the same state, compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_norm.plan.reach import Reach
from tinygrad_norm.plan.snapshot import Snapshot, same, same_state, state_of
from tinygrad_norm.plan.trees import leaves
from tinygrad_norm.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]

_GENERATOR = "a generator of random numbers"


def compare(reached: list[Any], replay: Callable[[], Any], eager: Callable[[], Any]) -> tuple[Any, str]:
    """Run both from the state that there is now.

    Args:
        reached: the function and what it is given, from which all that it may change is found.
        replay, eager: what is compared. An error of a replay is left to the eager call, which has it too.

    Returns:
        What `eager` returned, and what was otherwise after the replay: nothing, if it is right.
    """
    reach = Reach(reached)
    before = Snapshot(reach)
    arrays = [(array, array.copy("K")) for array in _arrays(reach)]
    try:
        output, error = replay(), None
    except Exception as raised:
        output, error = None, raised
    replayed = _state(output, Reach(reached))
    before.restore()
    for array, copy in arrays:
        if array.flags.writeable:
            np.copyto(array, copy)
    result = eager()
    if error is not None:
        return result, f"the replay raised {type(error).__name__}: {error}"
    return result, _difference(replayed, _state(result, Reach(reached)))


def _arrays(reach: Reach) -> Iterator[Array]:
    yield from reach.arrays
    for tensor in reach.tensors:
        yield tensor.raw


def _state(output: Any, reach: Reach) -> list[tuple[str, Any]]:
    """Everything that is compared: copies of arrays, numbers, and states of generators."""
    found: list[tuple[str, Any]] = [("what it returns", _copied(each)) for each in leaves(output)]
    for number, tensor in enumerate(reach.tensors):
        found.append((f"tensor {number} of shape {tensor.raw.shape}", tensor.raw.copy()))
        found.append((f"the gradient of a tensor of shape {tensor.raw.shape}", _copied(tensor.grad)))
    found += [(f"an array of shape {array.shape}", array.copy()) for array in reach.arrays]
    for mapping in reach.dicts:
        found += [(repr(key), value) for key, value in mapping.items() if isinstance(value, int | float | str)]
    found += [(_GENERATOR, state_of(generator)) for generator in reach.generators]
    return found


def _copied(each: Any) -> Any:
    array = each.raw if isinstance(each, Tensor) else each
    return array.copy() if isinstance(array, np.ndarray) else array


def _difference(one: list[tuple[str, Any]], other: list[tuple[str, Any]]) -> str:
    if len(one) != len(other):
        return "another number of tensors and numbers"
    for (name, value), (_, expected) in zip(one, other, strict=True):
        if isinstance(value, np.ndarray) and isinstance(expected, np.ndarray):
            alike = value.shape == expected.shape and value.tobytes() == expected.tobytes()
        else:
            alike = same_state(value, expected) if name == _GENERATOR else same(value, expected)
        if not alike:
            return name
    return ""
