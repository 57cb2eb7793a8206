"""What layers refuse: an input without a shape."""

from __future__ import annotations

from typing import Any

from tinygrad_norm.checks import described


def input_shape(layer: object, x: Any) -> tuple[int, ...]:
    """Return the shape of a layer's input.

    Raises:
        TypeError: it has none, being a list perhaps.
    """
    shape = getattr(x, "shape", None)
    if not isinstance(shape, tuple):  # a class has a shape that is none
        name, got = type(layer).__name__, described(x) if isinstance(x, type) else type(x).__name__
        raise TypeError(f"{name}: the input is a Tensor or a NumPy array, got {got}")
    return shape
