"""A trial: a replay and an eager call from the same state, compared bit for bit."""

from __future__ import annotations

import ctypes
import os
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
    replayed = [(what, whose, _copied(each)) for what, whose, each in _state(output, Reach(reached))]
    before.restore()
    for array, copy in arrays:
        if array.flags.writeable:
            np.copyto(array, copy)
    result = eager()
    if error is not None:
        return result, f"the replay raised {type(error).__name__}: {error}"
    reach = Reach(reached)
    return result, _difference(replayed, _state(result, reach), reach)


def give_back() -> None:
    """Give freed memory back to the system, where malloc is GNU's.

    A trial takes that of an eager call and of copies beside the plan's, which malloc would keep, and no replay needs.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _arrays(reach: Reach) -> Iterator[Array]:
    yield from reach.arrays
    for tensor in reach.tensors:
        yield tensor.raw


def _state(output: Any, reach: Reach) -> list[tuple[str, Any, Any]]:
    """Everything that is compared: what it is, whose, and arrays, numbers, and states of generators."""
    found: list[tuple[str, Any, Any]] = [("what it returns", None, _plain(each)) for each in leaves(output)]
    gradients = {id(tensor.grad) for tensor in reach.tensors}  # which are reached as well
    for tensor in reach.tensors:
        if id(tensor) not in gradients:
            found += [("", tensor, tensor.raw), ("the gradient of ", tensor, _plain(tensor.grad))]
    found += [("", array, array) for array in reach.arrays]
    for mapping in reach.dicts:
        found += [(repr(key), None, value) for key, value in mapping.items() if isinstance(value, int | float | str)]
    found += [(_GENERATOR, None, state_of(generator)) for generator in reach.generators]
    return found


def _name_of(whose: Any, reach: Reach) -> str:
    """A tensor by its path in the largest net that has it; an array by its key, and by the tensor whose state it is."""
    if isinstance(whose, Tensor):
        named = (pair for net in reach.nets for pair in (*net.named_parameters(), *net.named_buffers()))
        return max((path for path, each in named if each is whose), key=len, default=f"a tensor of shape {whose.shape}")
    for mapping in reach.dicts:
        for name, array in mapping.items():
            if array is whose:
                owners = [key for each in reach.dicts for key, value in each.items() if value is mapping]
                of = [_name_of(each, reach) for each in owners if isinstance(each, Tensor)]
                return " of ".join([f"the array {name!r}", *of])
    return f"an array of shape {whose.shape}"


def _plain(each: Any) -> Any:
    return each.raw if isinstance(each, Tensor) else each


def _copied(each: Any) -> Any:
    return each.copy() if isinstance(each, np.ndarray) else each


def _have_same_bits(one: Array, other: Array) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.hasobject or not (one.flags.c_contiguous and other.flags.c_contiguous):
        return one.tobytes() == other.tobytes()
    return bool(np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8)))


def _difference(one: list[tuple[str, Any, Any]], other: list[tuple[str, Any, Any]], reach: Reach) -> str:
    if len(one) != len(other):
        return "another number of tensors and numbers"
    for (what, _, value), (_, whose, expected) in zip(one, other, strict=True):
        if isinstance(value, np.ndarray) and isinstance(expected, np.ndarray):
            alike = _have_same_bits(value, expected)
        else:
            alike = same_state(value, expected) if what == _GENERATOR else same(value, expected)
        if not alike:
            return what if whose is None else what + _name_of(whose, reach)
    return ""
