"""Where a replay finds an array that was there before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.launch import lookup
from tinygrad_norm.tensor import Tensor

Array = np.ndarray[Any, np.dtype[Any]]


class Input(NamedTuple):
    """An array that a replay is given."""

    number: int


class Raw(NamedTuple):
    """The array of a tensor that is there before."""

    tensor: Tensor


class Grad(NamedTuple):
    """That of its gradient, or, by number, of an input's."""

    tensor: Tensor | int


class Item(NamedTuple):
    """An array under a key of a dict."""

    mapping: dict[Any, Any]
    key: Any


class Fixed(NamedTuple):
    """An array that something holds which does not change, as a variable of an outer function."""

    array: Array


def find(source: Any, inputs: Sequence[Array], given: Sequence[Any]) -> Array:
    """The array that is there now.

    Args:
        source: where to look.
        inputs: the arrays that the replay is given.
        given: what they are arrays of: tensors or the arrays themselves.
    """
    if type(source) is Input:
        return inputs[source.number]
    if type(source) is Fixed:
        return source.array
    if type(source) is Raw:
        return source.tensor.raw
    if type(source) is Item:
        found: Array = lookup(source.mapping, source.key)
        return found
    tensor: Any = given[source.tensor] if type(source.tensor) is int else source.tensor
    grad: Array = tensor.grad.raw
    return grad
