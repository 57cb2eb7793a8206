"""NumPy's functions on tensors: np.add(tensor, 1) and np.concatenate([tensor, ...]) run our ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_norm import ops

_OUR_NAMES = {
    "absolute": "abs",
    "power": "pow",
    "concatenate": "concat",
    "ravel": "flatten",
    "amax": "max",
    "amin": "min",
    "cumsum": "cumulative_sum",
    "rint": "round",
}
_REDUCTIONS = {"sum", "mean", "var", "std", "max", "min", "amax", "amin", "prod", "argmax", "argmin", "all", "any"}
_RENAMED = {"ddof": "correction", "a_min": "min", "a_max": "max"}
_COMPARE = {"allclose", "isclose", "array_equal", "array2string", "array_repr", "array_str"}


def from_numpy_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run our op for a ufunc that meets a tensor: what NumPy calls.

    Raises:
        TypeError: that method of the ufunc is not defined for tensors.
    """
    if method == "reduce" and ufunc in (np.add, np.maximum, np.minimum, np.multiply):
        names = {np.add: "sum", np.maximum: "max", np.minimum: "min", np.multiply: "prod"}
        return _call(names[ufunc], inputs, {"axis": 0} | kwargs)
    if method != "__call__":
        raise TypeError(f"np.{ufunc.__name__}.{method} is not defined for tensors; use tensor.numpy() for plain NumPy")
    return _call(ufunc.__name__, inputs, kwargs)


def from_numpy_function(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run our op for any other of NumPy's functions that meets a tensor: what NumPy calls."""
    if function.__name__ in _COMPARE:
        return function(*[_plain(arg) for arg in args], **{key: _plain(value) for key, value in kwargs.items()})
    return _call(function.__name__, args, kwargs)


def _call(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs.pop("out", None) is not None:
        raise TypeError(
            f"np.{name}(out=...) with tensors is not defined: assign the result, or write x += y for a tensor x, and "
            "a += x.numpy() for an array a"
        )
    function = _FUNCTIONS.get(name) or getattr(ops, _OUR_NAMES.get(name, name), None)
    if function is None:
        raise TypeError(f"np.{name} is not defined for tensors; use tensor.numpy() for plain NumPy, without gradients")
    if name in _REDUCTIONS and len(args) > 2:  # what NumPy has in third place, ours have elsewhere or not at all
        raise TypeError(f"np.{name} with tensors: give what follows axis by name, for example keepdims=True")
    return function(*args, **{_RENAMED.get(key, key): value for key, value in kwargs.items()})


def _plain(value: Any) -> Any:
    return getattr(value, "raw", value)


def _dot(x: Any, y: Any) -> Any:
    if np.ndim(_plain(y)) > 2:  # np.dot and matmul part here
        raise TypeError("np.dot is not defined for tensors of more than two axes; use matmul or einsum")
    return ops.matmul(x, y)


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    if mode != "constant":
        raise TypeError(f"np.pad with tensors: mode is 'constant', got {mode!r}")
    return ops.pad(x, pad_width, constant_values)


def _swapaxes(x: Any, a: int, b: int) -> Any:
    axes = [*range(x.ndim)]
    axes[a], axes[b] = axes[b], axes[a]
    return ops.permute_dims(x, axes)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "transpose": lambda x, axes=None: x.T if axes is None else ops.permute_dims(x, axes),
    "swapaxes": _swapaxes,
    "dot": _dot,
    "copy": lambda x: ops.astype(x, x.dtype),
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x: x.size,
    "pad": _pad,
    "bitwise_and": lambda x, y: y & x if isinstance(x, np.ndarray) else x & y,
    "bitwise_or": lambda x, y: y | x if isinstance(x, np.ndarray) else x | y,
}
"""What `ops` lacks, or calls with other arguments. All else that both have is called alike."""
