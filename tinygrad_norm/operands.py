"""What an op is called with: tensors, arrays, numbers or None; and where the gradient of each goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Union

import numpy as np

from tinygrad_norm import dtypes, integrity
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import launch

if TYPE_CHECKING:
    from tinygrad_norm.tape import Op
    from tinygrad_norm.tensor import Tensor


Edge = Union["Op", "Tensor"]
"""Where a gradient goes: the node that made an input, or a leaf tensor that wants a gradient."""

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_Tensor: type[Tensor]
_new = object.__new__


def register_tensor(cls: type[Tensor]) -> None:
    """Make `cls` the type that ops take and hand back. tensor.py calls this, once."""
    global _Tensor
    _Tensor = cls


def wrap(array: Array, creator: Edge | None = None) -> Tensor:
    """A tensor on `array` itself, without a copy, whose gradient goes to `creator`."""
    tensor = _new(_Tensor)
    tensor.raw = array
    tensor.creator = creator
    tensor.wants_grad = creator is not None
    tensor.grad = tensor.grad_hooks = None
    return tensor


def as_tensor(value: Any) -> Tensor:
    """`value` itself, if it is a tensor, else a tensor of its elements."""
    return value if isinstance(value, _Tensor) else _Tensor(value)


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor."""
    return isinstance(value, _Tensor)


def edge_of(value: Any) -> Edge | None:
    """Where the gradient of `value` goes, or None if it wants none."""
    if not (isinstance(value, _Tensor) and value.wants_grad):
        return None
    return value if value.creator is None else value.creator


def unwrap(inputs: tuple[Any, ...]) -> tuple[list[Any], list[Edge | None], bool, list[Array]]:
    """The arrays of `inputs`, where the gradient of each goes, whether any goes, and which arrays are the caller's.

    A number stays one, so that it widens no dtype; unless there are only numbers.
    """
    arrays: list[Any] = []
    edges: list[Edge | None] = []
    borrowed: list[Array] = []
    wanted, only_numbers = False, True
    for value in inputs:
        edge = None
        if isinstance(value, _Tensor):
            array, only_numbers = value.raw, False
            if value.wants_grad:
                edge, wanted = value if value.creator is None else value.creator, True
        else:
            array = constant(value)
            if isinstance(array, np.ndarray):
                borrowed.append(array)
                only_numbers = False
        arrays.append(array)
        edges.append(edge)
    if only_numbers:
        arrays = [None if value is None else _Tensor(value).raw for value in arrays]
    return arrays, edges, wanted, borrowed


def tell_apart(arrays: list[Any], edges: list[Edge | None]) -> None:
    """Put a view in the place of an array that has another edge before (`x * x.detach()`).

    What an op saves is known by its array.
    """
    for i in range(1, len(arrays)):
        for j in range(i):
            if arrays[j] is arrays[i] and edges[j] is not edges[i] and isinstance(arrays[i], np.ndarray):
                arrays[i] = arrays[i].view()


def constant(value: Any) -> Any:
    """An input that is no tensor: an array, None, or a Python scalar, which takes the dtype of what it meets."""
    if value is None or type(value) in (int, float, bool):
        return value
    if isinstance(value, np.ndarray):
        return dtypes.plain(value)
    if isinstance(value, np.generic):
        dtypes.supported(value.dtype)
        return value.item()
    return _Tensor(value).raw


def as_output(op: Op, result: Any, arrays: list[Any], borrowed: list[Array]) -> Array:
    """What forward returned, as the array of a tensor.

    It is a copy where it is a view of an array of the caller's, who may write to it and tell nobody. It is float32
    where NumPy widened int64 with float32, or int64 / 2: float64 only comes from float64, or is asked for.

    Raises:
        TypeError: it is of no dtype that a tensor has.
    """
    array: Array = result if type(result) is np.ndarray else np.asarray(result)
    if borrowed and any(integrity.owner_of(array) is integrity.owner_of(given) for given in borrowed):
        array = launch(array.copy)
    if arrays and array.dtype is getattr(arrays[0], "dtype", _FLOAT32):
        return array
    if array.dtype not in dtypes.SUPPORTED:
        raise TypeError(
            f"{op.name}: forward returns an array of float32, float64, integers or bool, got "
            + ("None" if array.dtype == object and array[()] is None else f"elements of {array.dtype}")
        )
    if array.dtype != _FLOAT64 or op.sets_dtype or any(_is_float64(given) for given in arrays):
        return array
    converted: Array = launch(array.astype, np.dtype(np.float32))
    return converted


def _is_float64(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == _FLOAT64


def with_shapes(op: Op, error: ValueError, arrays: list[Any]) -> ValueError:
    """NumPy's error about shapes that do not broadcast, with the op's name and the shapes."""
    if not (op.broadcasts and "broadcast" in str(error)):
        return error
    shapes = " and ".join(str(array.shape) for array in arrays if isinstance(array, np.ndarray))
    return ValueError(f"{op.name}: shapes {shapes} do not broadcast; each axis is equal, or 1 in one of them")
