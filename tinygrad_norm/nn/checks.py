"""What layers refuse: an input without a shape."""

from __future__ import annotations

from typing import Any


def input_shape(layer: object, x: Any) -> tuple[int, ...]:
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
