"""NumPy's functions on tensors: np.add(tensor, 1) and np.concatenate([tensor, ...]) run our ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_norm.ops import elementwise, reduction, shape
from tinygrad_norm.ops.creation import ones_like, zeros_like
from tinygrad_norm.ops.matmul import einsum, matmul

_SAME_NAME = (
    (elementwise, "add subtract multiply divide negative abs pow maximum minimum logaddexp clip where"),
    (elementwise, "exp expm1 log log1p sqrt square sign sin cos tanh floor ceil isnan isfinite"),
    (elementwise, "equal not_equal less less_equal greater greater_equal"),
    (elementwise, "logical_not logical_and logical_or logical_xor"),
    (reduction, "sum mean var std max min prod argmax argmin all any"),
    (shape, "reshape squeeze expand_dims broadcast_to stack split flip roll moveaxis take take_along_axis concat"),
)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(module, name) for module, names in _SAME_NAME for name in names.split()
}
_FUNCTIONS |= {
    "absolute": elementwise.abs,
    "power": elementwise.pow,
    "concatenate": shape.concat,
    "transpose": lambda x, axes=None: x.T if axes is None else shape.permute_dims(x, axes),
    "permute_dims": shape.permute_dims,
    "swapaxes": lambda x, a, b: shape.permute_dims(x, _swapped(x.ndim, a, b)),
    "ravel": shape.flatten,
    "matmul": matmul,
    "dot": lambda x, y: _dot(x, y),
    "einsum": einsum,
    "amax": reduction.max,
    "amin": reduction.min,
    "cumsum": reduction.cumulative_sum,
    "cumulative_sum": reduction.cumulative_sum,
    "copy": lambda x: elementwise.astype(x, x.dtype),
    "round": elementwise.round,
    "rint": elementwise.round,
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x: x.size,
    "zeros_like": zeros_like,
    "ones_like": ones_like,
    "pad": lambda x, pad_width, mode="constant", constant_values=0.0: _pad(x, pad_width, mode, constant_values),
    "bitwise_and": lambda x, y: y & x if isinstance(x, np.ndarray) else x & y,
    "bitwise_or": lambda x, y: y | x if isinstance(x, np.ndarray) else x | y,
}
_REDUCTIONS = {"sum", "mean", "var", "std", "max", "min", "amax", "amin", "prod", "argmax", "argmin", "all", "any"}
_RENAMED = {"ddof": "correction", "a_min": "min", "a_max": "max"}
_COMPARE = {"allclose", "isclose", "array_equal", "array2string", "array_repr", "array_str"}


def from_numpy_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What NumPy calls for a ufunc that meets a tensor."""
    if method == "reduce" and ufunc in (np.add, np.maximum, np.minimum, np.multiply):
        names = {np.add: "sum", np.maximum: "max", np.minimum: "min", np.multiply: "prod"}
        return _call(names[ufunc], inputs, {"axis": 0} | kwargs)
    if method != "__call__":
        raise TypeError(f"np.{ufunc.__name__}.{method} is not defined for tensors; use tensor.numpy() for plain NumPy")
    return _call(ufunc.__name__, inputs, kwargs)


def from_numpy_function(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What NumPy calls for any other of its functions that meets a tensor."""
    if function.__name__ in _COMPARE:
        return function(*[_plain(arg) for arg in args], **{key: _plain(value) for key, value in kwargs.items()})
    return _call(function.__name__, args, kwargs)


def _call(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs.pop("out", None) is not None:
        raise TypeError(
            f"np.{name}(out=...) with tensors is not defined: assign the result, or write x += y for a tensor x, and "
            "a += x.numpy() for an array a"
        )
    if name not in _FUNCTIONS:
        raise TypeError(f"np.{name} is not defined for tensors; use tensor.numpy() for plain NumPy, without gradients")
    if name in _REDUCTIONS and len(args) > 2:  # what NumPy has in third place, ours have elsewhere or not at all
        raise TypeError(f"np.{name} with tensors: give what follows axis by name, for example keepdims=True")
    return _FUNCTIONS[name](*args, **{_RENAMED.get(key, key): value for key, value in kwargs.items()})


def _plain(value: Any) -> Any:
    return getattr(value, "raw", value)


def _dot(x: Any, y: Any) -> Any:
    if np.ndim(_plain(y)) > 2:  # np.dot and matmul part here
        raise TypeError("np.dot is not defined for tensors of more than two axes; use matmul or einsum")
    return matmul(x, y)


def _pad(x: Any, pad_width: Any, mode: str, constant_values: float) -> Any:
    if mode != "constant":
        raise TypeError(f"np.pad with tensors: mode is 'constant', got {mode!r}")
    return shape.pad(x, pad_width, constant_values)


def _swapped(ndim: int, a: int, b: int) -> list[int]:
    axes = list(range(ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return axes
