"""The memory layouts that arrays come in: the same numbers, other strides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_norm.dtypes import Array

Rearrangement = Callable[[Array], Array]


def _channels_last(array: Array) -> Array:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1) if array.ndim > 2 else array


def in_fortran_order(array: Array) -> Array:
    """Return a copy in which the elements of the first axis lie side by side."""
    return np.array(array, order="F")


def _every_second(array: Array) -> Array:
    """Return a slice of an array twice as wide, with NaN in between for whoever reads that."""
    if not array.ndim:
        return array
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def _backwards(array: Array) -> Array:
    return array[..., ::-1].copy()[..., ::-1] if array.ndim else array


LAYOUTS: dict[str, Rearrangement] = {
    "channels last": _channels_last,
    "in Fortran order": in_fortran_order,
    "of every second element": _every_second,
    "backwards": _backwards,
}

BROADCAST = "of one row broadcast"


def broadcast(cotangent: Array) -> Array:
    """Return the first row in the place of all others, without memory of their own, as the gradient of a sum is."""
    return np.broadcast_to(cotangent[:1], cotangent.shape) if cotangent.ndim else cotangent
