"""Constants that definitions are written with, under the Array API's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import dtypes
from tinygrad_norm.launch import launch
from tinygrad_norm.operands import as_tensor, wrap
from tinygrad_norm.ops.reduction import shape_of

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


def ones(shape: int | tuple[int, ...], *, dtype: Any = np.float32) -> Tensor:
    """Return a tensor of ones, which wants no gradient.

    Example:
        >>> ops.ones((2, 2))
        Tensor([[1., 1.],
                [1., 1.]])
    """
    return wrap(launch(np.ones, shape, dtypes.supported(dtype)))


def arange(start: int, stop: int | None = None, step: int = 1) -> Tensor:
    """Return the integers from start to before stop, or from 0 to before start if no stop is given.

    Example:
        >>> ops.arange(1, 7, 2)
        Tensor([1, 3, 5])
    """
    first, last = (0, start) if stop is None else (start, stop)
    return wrap(launch(np.arange, first, last, step))


def zeros_like(x: Any, *, dtype: Any = None) -> Tensor:
    """Return zeros of the shape of x, and its dtype unless one is given; no gradient goes through.

    Example:
        >>> ops.zeros_like([3.0, 4.0])
        Tensor([0., 0.])
    """
    like = x if hasattr(x, "dtype") else as_tensor(x)
    return wrap(launch(np.zeros, shape_of(like), dtypes.supported(like.dtype if dtype is None else dtype)))


def ones_like(x: Any, *, dtype: Any = None) -> Tensor:
    """Return ones of the shape of x, and its dtype unless one is given; no gradient goes through.

    Example:
        >>> ops.ones_like([3.0, 4.0])
        Tensor([1., 1.])
    """
    like = x if hasattr(x, "dtype") else as_tensor(x)
    return ones(shape_of(like), dtype=like.dtype if dtype is None else dtype)
