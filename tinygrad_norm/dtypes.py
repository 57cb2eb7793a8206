"""The elements that tensors may have, and the refusal of others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.ma import MaskedArray  # at first use NumPy would import it, and a fork meanwhile never end
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
StrPath = str | os.PathLike[str]
AnyArray = Any
"""An array of any module that keeps to the Array API standard, or a tensor: what a definition takes."""
Shape = tuple[int, ...]
Pair = tuple[int, int]
"""One number for the height of an image, and one for its width."""
Axis = int | Sequence[int] | None
DTypeOrNone = DTypeLike | None

SUPPORTED = frozenset(
    np.dtype(name)
    for name in ("float32", "float64", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)
"""In the byte order of this machine."""


def supported(dtype: Any) -> np.dtype[Any]:
    """`dtype` as NumPy's.

    Raises:
        TypeError: there is no such dtype, or tensors cannot have it.
    """
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype: {dtype!r} is no dtype; float32, float64, integers and bool are supported") from None
    if wanted not in SUPPORTED:
        raise TypeError(
            f"dtype: {wanted} is not supported; float32, float64, integers and bool are. Convert the array first"
        )
    return wanted


def plain(array: Array) -> Array:
    """The elements of a NumPy array in NumPy's own class: a matrix, which multiplies in another way, becomes an array.

    Raises:
        TypeError: tensors cannot have its dtype, or it is masked.
    """
    supported(array.dtype)
    if type(array) is np.ndarray:
        return array
    if isinstance(array, MaskedArray):
        raise TypeError("masked array: its mask would be lost; say what stands there with array.filled(value)")
    return np.ndarray.view(array, np.ndarray)


def beyond(array: Array, dtype: Any) -> str | None:
    """What to say of an array some value of which a cast would make infinite, or wrap; None if there is none.

    Args:
        array: floating-point numbers or integers.
        dtype: what it is to be cast to, of the same kind.
    """
    wanted = np.dtype(dtype)
    if np.can_cast(array.dtype, wanted):
        return None
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    lost = np.isinf(cast) & ~np.isinf(array) if wanted.kind == "f" else cast != array
    return f"holds {array[lost].flat[0]}, which is beyond {wanted}" if lost.any() else None
