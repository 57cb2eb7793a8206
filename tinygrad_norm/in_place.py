"""What `x += y`, its relatives and `x[i] = y` do to a tensor.

The way back needs values as they were, so it depends on what x is:

- a constant (no gradient is wanted) is changed in place, and all who share its memory see it;
- a leaf that wants a gradient is changed in place under `no_grad()`; while ops are recorded that is an error;
- a constant that meets an operand which wants a gradient is an error too: in place the gradient would be lost, and a
  new tensor would leave, say, a list of averages as it was;
- a recorded result is not changed: `y += 1` makes a new tensor, and `y[i] = 1` is an error. So it is in the backward of
  an op, where tensors are shared.

A change is told to `integrity`, so that a backward through the old values is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import dtypes, integrity, modes, operands
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import launch, wrote

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


def update(tensor: Tensor, op: Callable[[Any, Any], Tensor], other: Any) -> Tensor:
    """Return `tensor` after `tensor op= other`: itself, changed, or a new tensor.

    Raises:
        RuntimeError: it is a leaf that wants a gradient, or a constant and `other` wants one, and ops are recorded.
        TypeError: the result has another kind of dtype.
        ValueError: the result has another shape, or the tensor cannot be written.
    """
    _refuse_recorded_leaf(tensor)
    try:
        result = op(tensor, other)
    except OverflowError as error:  # of a Python number
        raise ValueError(f"in place: {error}") from None
    if tensor.creator is not None or (modes.current().shared and not tensor.requires_grad):
        return result
    if result.requires_grad:
        raise RuntimeError(
            "in place: the other operand wants a gradient, which would be lost; change the tensor under "
            "`with no_grad():`, add y.detach(), or give the result a name of its own: z = x + y"
        )
    if result.shape != tensor.shape:
        raise ValueError(
            f"in place: a result of shape {result.shape} does not fit a tensor of shape {tensor.shape}; "
            "give it a name of its own: z = x + y"
        )
    _write(tensor.raw, ..., result.raw)
    return tensor


def assign(tensor: Tensor, key: Any, value: Any) -> None:
    """Do `tensor[key] = value`; the key is NumPy's, without tensors.

    Raises:
        RuntimeError: the tensor is a leaf that wants a gradient or the value wants one, and ops are recorded.
        TypeError: the tensor is a recorded result, or the value has another kind of dtype.
        ValueError: the value has another shape, or the tensor cannot be written.
    """
    if tensor.creator is not None:
        raise TypeError(
            "in place: elements of a recorded result are not assigned, as the tape could not go back through it; "
            "use ops.where(condition, new, old), or assign to a copy off the tape: x.copy()"
        )
    _refuse_recorded_leaf(tensor)
    if modes.is_recording() and getattr(value, "requires_grad", False):
        raise RuntimeError(
            "in place: what is assigned wants a gradient, which would be lost; use ops.where(condition, new, old), "
            "or assign value.detach()"
        )
    if modes.current().shared and not tensor.requires_grad:
        raise TypeError(
            "in place: elements are not assigned in the backward of an op, whose tensors are shared; "
            "use ops.where(condition, new, old)"
        )
    _write(tensor.raw, key, _elements(value, tensor.dtype))


def _refuse_recorded_leaf(tensor: Tensor) -> None:
    if tensor.requires_grad and tensor.creator is None and modes.is_recording():
        raise RuntimeError(
            "in place: this tensor wants a gradient, and ops are recorded, which needs its values as they are; "
            "change it under `with no_grad():`, or give the result a name of its own: z = x + y"
        )


def _elements(value: Any, dtype: np.dtype[Any]) -> Array:
    """Return what is assigned, as an array; a number as one of `dtype`, if it is of that kind."""
    given = value.raw if hasattr(value, "creator") else operands.constant(value)
    if given is None:
        raise TypeError("in place: None is no element; a number, an array or a tensor is")
    if isinstance(given, np.ndarray | float) or np.result_type(dtype, given) != dtype:
        return np.asarray(given)
    try:
        return np.asarray(given, dtype)
    except OverflowError as error:
        raise ValueError(f"in place: {error}") from None


def _write(target: Array, key: Any, array: Array) -> None:
    """Write `array`, or raise and change nothing."""
    first, end = byte_bounds(target)
    if not target.flags.writeable or end - first < target.nbytes:
        raise ValueError(
            "in place: elements of this tensor share one place in memory, or cannot be written, as after broadcast_to; "
            "change a copy: x.copy()"
        )
    if not np.can_cast(array.dtype, target.dtype, "same_kind"):
        raise TypeError(
            f"in place: {array.dtype} does not fit a tensor of {target.dtype}; convert it with astype, "
            "or give the result a name of its own: z = x + y"
        )
    if lost := dtypes.beyond(array, target.dtype):
        raise ValueError(f"in place: the result {lost}; convert it with astype")
    try:
        launch(_assign, target, key, array)
    except ValueError as error:
        raise ValueError(f"in place: {error}") from None
    wrote(target)
    launch(integrity.mark_changed, target)


def _assign(target: Array, key: Any, array: Array) -> None:
    target[key] = array.astype(target.dtype, copy=False)
