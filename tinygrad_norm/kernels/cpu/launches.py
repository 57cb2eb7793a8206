"""The work on elements that NumPy does between two kernels: each function here is a launch, as a call of a kernel is.

Nothing else in the kernels of convolution, pooling and matrix products reads or writes elements by NumPy, so that who
records what a step computes has two doors to watch: these functions, and `Kernel.__call__`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def contiguous(x: Array) -> Array:
    """Return `x`, or a copy of it if its elements do not lie side by side."""
    return np.ascontiguousarray(x)


def reshaped(x: Array, *shape: int) -> Array:
    """Return `x` in another shape, copied only where no view of it has that shape."""
    return x.reshape(shape)


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of zeros."""
    return np.zeros(shape, dtype)


def copy(x: Array, out: Array) -> None:
    """Write `x` to `out`, in the dtype of that."""
    np.copyto(out, x)


def accumulate(x: Array, out: Array) -> None:
    """Add `x` to `out`."""
    np.add(out, x, out=out)


def sum_parts(parts: Array, add: bool, out: Array) -> None:
    """Write the sums over the first axis of `parts` to `out`, or add them there."""
    total = parts.sum(axis=0)
    np.copyto(out, total + out if add else total, casting="same_kind")


def sum_last(x: Array) -> Array:
    """Return the sums over the last axis."""
    total: Array = x.sum(axis=-1)
    return total


def matmul(x: Array, y: Array) -> Array:
    """Return NumPy's product of the last two axes."""
    product: Array = x @ y
    return product


def pad_channels(x: Array, channels: int) -> Array:
    """Return `x` with zeros after its last axis, up to that many channels."""
    wide = np.zeros((*x.shape[:-1], channels), x.dtype)
    wide[..., : x.shape[-1]] = x
    return wide


def repeat_channels(x: Array, times: int) -> Array:
    """Return images [N, H, W, C] with each channel that many times, one after the other."""
    return x if times == 1 else np.repeat(x, times, axis=3)
