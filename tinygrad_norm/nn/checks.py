"""What layers refuse: an input without a shape, and writing in place."""

from __future__ import annotations

from typing import Any


def shape_of(layer: object, x: Any) -> tuple[int, ...]:
    """Return the shape of a layer's input.

    Raises:
        TypeError: it has none, being a list perhaps.
    """
    try:
        shape: tuple[int, ...] = x.shape
    except AttributeError:
        name = type(layer).__name__
        raise TypeError(f"{name}: the input is a Tensor or a NumPy array, got {type(x).__name__}") from None
    return shape


def refuse_inplace(layer: object, inplace: bool) -> None:
    """Raise a ValueError for PyTorch's `inplace=True`; False is what every layer does."""
    if inplace:
        raise ValueError(f"{type(layer).__name__}: a tensor on the tape is not written in place; leave inplace out")
