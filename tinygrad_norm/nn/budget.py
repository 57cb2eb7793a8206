"""A limit on the parameters of a net, for one that is built from what a file says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array

_left: ContextVar[tuple[int, int] | None] = ContextVar("arrays and elements that may still be made", default=None)


class TooManyParametersError(ValueError):
    """A layer would take a net over the limit of `at_most`."""


@contextmanager
def at_most(arrays: int, elements: int) -> Iterator[None]:
    """Within it, layers make no more arrays of weights than so many, with so many elements all together."""
    token = _left.set((arrays, elements))
    try:
        yield
    finally:
        _left.reset(token)


def blank(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return memory for a weight or a bias, which is filled next.

    Raises:
        TooManyParametersError: it is more than `at_most` leaves; no memory was taken.
    """
    if (left := _left.get()) is not None:
        arrays, elements = left[0] - 1, left[1] - math.prod(shape)
        if arrays < 0 or elements < 0:
            raise TooManyParametersError(
                f"{left[0]:,} arrays of {left[1]:,} elements are left for one of shape {shape}"
            )
        _left.set((arrays, elements))
    return np.empty(shape, dtype)
