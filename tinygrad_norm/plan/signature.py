"""The signature of a call: what a plan depends on of the arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm.dtypes import Array
from tinygrad_norm.integrity import owner_of
from tinygrad_norm.tensor import Tensor

VALUES = (int, float, complex, str, bytes, bool, type(None), np.generic, slice, range, np.dtype)
"""What is known by what it is, and not as an object."""


class _Itself:
    """An object that is equal to itself alone, and lives as long as a signature has it."""

    def __init__(self, each: Any) -> None:
        self.each = each

    def __hash__(self) -> int:
        return id(self.each)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and other.each is self.each


def signature(given: list[Any], inputs: list[Any]) -> tuple[Any, ...]:
    """What a plan depends on of the arguments: of arrays kind, form and which overlap, of the rest what it is."""
    overlap = _overlap(inputs) if len(inputs) > 1 else ()
    return overlap, *[_form_of(each) for each in given]


def _form_of(each: Any) -> tuple[Any, ...]:
    if isinstance(each, Tensor):
        raw, hooked = each.raw, bool(each.grad_hooks)
        form = raw.shape, raw.dtype, raw.strides
        return type(each), form, each.wants_grad, each.creator is None, each.grad is None, hooked
    if isinstance(each, np.ndarray):
        return type(each), each.shape, each.dtype, each.strides, each.flags.writeable
    return type(each), repr(each) if isinstance(each, VALUES) else _Itself(each)


def _overlap(inputs: list[Any]) -> tuple[tuple[int, ...], ...]:
    """The pairs of inputs that share memory, how many bytes one begins after the other, and whether they are one."""
    arrays = [array_of(each) for each in inputs]
    owners = [owner_of(each) for each in arrays]
    if len({*map(id, owners)}) == len(owners):
        return ()
    return tuple(
        [
            (i, j, byte_bounds(arrays[j])[0] - byte_bounds(arrays[i])[0], inputs[i] is inputs[j])
            for j in range(1, len(arrays))
            for i in range(j)
            if owners[i] is owners[j] and np.may_share_memory(arrays[i], arrays[j])
        ]
    )


def array_of(each: Any) -> Array:
    """The array of a tensor, or what is one."""
    array: Array = each.raw if isinstance(each, Tensor) else each
    return array
