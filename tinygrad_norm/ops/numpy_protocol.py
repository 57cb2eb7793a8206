"""NumPy's functions on tensors: np.add(tensor, 1) and np.concatenate([tensor, ...]) run our ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_norm.ops import activation, elementwise, reduction, shape
from tinygrad_norm.ops.matmul import einsum, matmul

_SAME_NAME = (
    (elementwise, "add subtract multiply divide negative exp expm1 log log1p sqrt square sign sin cos tanh maximum minimum"),
    (elementwise, "equal not_equal less less_equal greater greater_equal logical_not logical_and logical_or logical_xor"),
    (elementwise, "isnan isfinite floor ceil where clip abs pow"),
    (reduction, "sum mean var std max min prod argmax argmin all any"),
    (shape, "reshape squeeze expand_dims broadcast_to stack split flip roll moveaxis take take_along_axis pad concat"),
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
    "dot": matmul,
    "einsum": einsum,
    "amax": reduction.max,
    "amin": reduction.min,
    "cumsum": reduction.cumulative_sum,
    "cumulative_sum": reduction.cumulative_sum,
    "logaddexp": lambda x, y: activation.softplus(elementwise.subtract(x, y)) + y,
    "copy": lambda x: elementwise.multiply(x, 1),
    "round": elementwise.round,
    "rint": elementwise.round,
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x: x.size,
    "zeros_like": lambda x: elementwise.multiply(x.detach(), 0),
    "ones_like": lambda x: elementwise.equal(x.detach(), x.detach()).astype(x.dtype),
}
_COMPARE = {"allclose", "isclose", "array_equal", "array2string", "array_repr", "array_str", "testing"}


def from_numpy_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What NumPy calls for a ufunc that meets a tensor."""
    if method == "reduce" and ufunc in (np.add, np.maximum, np.minimum, np.multiply):
        names = {np.add: "sum", np.maximum: "max", np.minimum: "min", np.multiply: "prod"}
        kwargs = {"axis": 0} | {key: value for key, value in kwargs.items() if value is not None}
        return _call(names[ufunc], inputs, kwargs)
    if method != "__call__":
        raise TypeError(f"np.{ufunc.__name__}.{method} is not defined for tensors; use tensor.numpy() for plain NumPy")
    return _call(ufunc.__name__, inputs, kwargs)


def from_numpy_function(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What NumPy calls for any other of its functions that meets a tensor."""
    if function.__name__ in _COMPARE:
        return function(*[_plain(arg) for arg in args], **{key: _plain(value) for key, value in kwargs.items()})
    return _call(function.__name__, args, kwargs)


def _call(name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if kwargs.get("out", None) is not None:
        raise TypeError(f"np.{name}(out=...) with tensors: a tensor is not written in place; assign the result instead")
    if name not in _FUNCTIONS:
        raise TypeError(f"np.{name} is not defined for tensors; use tensor.numpy() for plain NumPy, without gradients")
    if name in ("var", "std") and "ddof" in kwargs:
        kwargs["correction"] = kwargs.pop("ddof")
    return _FUNCTIONS[name](*args, **kwargs)


def _plain(value: Any) -> Any:
    return getattr(value, "raw", value)


def _swapped(ndim: int, a: int, b: int) -> list[int]:
    axes = list(range(ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return axes
