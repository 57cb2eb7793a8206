"""What ops ask of their arguments, and the name that an error begins with.

Nets call an op with operands of the same shapes over and over: what was checked of them is cached.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from tinygrad_norm import dtypes, modes
from tinygrad_norm.dtypes import Shape

ShapeDtype = tuple[Shape, Any]
"""The shape and the dtype of an operand; None for the dtype of a number, which takes that of what it meets."""

F = TypeVar("F", bound=Callable[..., Any])


def without_gradient(name: str, what: str, value: Any) -> Any:
    """Return the array of an argument through which no gradient goes.

    Raises:
        RuntimeError: it wants a gradient, which it would not get, and ops are recorded.
    """
    if getattr(value, "requires_grad", False) and modes.is_recording():
        raise RuntimeError(f"{label(name)}: no gradient goes through {what}, but it wants one; give {what}.detach()")
    return getattr(value, "raw", value)


def shape_dtype_of(x: Any) -> ShapeDtype:
    """Return the kind of a tensor, an array, a number or nested lists.

    Raises:
        TypeError: it is an array of a dtype that no tensor has, or masked.
    """
    array = getattr(x, "raw", x)
    if not isinstance(array, np.ndarray):
        if isinstance(array, int | float | np.generic):
            return (), None
        array = np.asarray(array)
        if array.dtype == np.float64:
            return array.shape, np.dtype(np.float32)  # which a tensor makes of a list
    if array is x:  # which no tensor has checked
        dtypes.plain(array)
    return array.shape, array.dtype


def shape_dtypes_of(*operands: Any) -> list[Any]:
    """Return the kind of each operand; None for one that is not given."""
    return [None if x is None else shape_dtype_of(x) for x in operands]


def cached(check: F) -> F:
    """Return a function of kinds and options that runs once for each set of them, unless it raises.

    It tells 1 from True and 1.0, but not inside of a tuple: `check` returns nothing made of the numbers in one.
    """
    known = functools.lru_cache(maxsize=1024, typed=True)(check)

    @functools.wraps(check)
    def cached_check(*arguments: Any) -> Any:
        try:
            return known(*arguments)
        except TypeError:  # of the check, which raises it again; or an argument is a list and has no hash
            pass
        return check(*arguments)

    return cast(F, cached_check)


def label(name: str) -> str:
    """Return the op, or the layer that calls it and wants to be named, and the path of the running module if any."""
    scope, name = modes.current_scope(), modes.current_layer() or name
    return f"{name} in {scope}" if scope else name


def check_dtypes(name: str, **kinds: ShapeDtype | None) -> None:
    """Refuse operands that are not of one floating dtype.

    Raises:
        TypeError: one is no float, or they differ.
    """
    given = {key: kind[1] for key, kind in kinds.items() if kind is not None and kind[1] is not None}
    first, *others = given.values() or [np.dtype(np.float32)]
    if first.kind != "f" or any(dtype != first for dtype in others):
        listed = ", ".join(f"{key} {dtype}" for key, dtype in given.items())
        raise TypeError(
            f"{name}: one floating dtype is needed throughout, but given are {listed}; "
            "convert the input with x.astype('float32'), or the module with module.astype('float64')"
        )


def check_images(name: str, x: Any) -> Shape:
    """Return the shape (N, C, H, W) of images of floats.

    Raises:
        TypeError: they hold no floats.
        ValueError: they have another number of axes, or hold no pixel (an empty batch is one).
    """
    kind = shape, _ = shape_dtype_of(x)
    check_dtypes(name, input=kind)
    if len(shape) != 4 or 0 in shape[1:]:
        raise ValueError(f"{name}: the input has shape (N, C, H, W), not empty, got {shape}")
    return shape
