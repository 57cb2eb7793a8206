"""The door to all work on elements: a kernel's public function finds the layout, allocates, makes views, and launches.

Who wants to know what a step does has this file to watch. What depends on values is decided inside of a launch.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]


def launch(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call what reads or writes elements: a kernel, or a function of NumPy's, which may return an array of its own."""
    return run(*arguments)


def empty(shape: Shape, dtype: Any) -> Array:
    """An array with anything in it."""
    return np.empty(shape, dtype)


def empty_like(x: Array) -> Array:
    """An array with anything in it, with the shape, the dtype and the order of memory of x."""
    return np.empty_like(x)


_kept = threading.local()


def scratch(name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """An array for a kernel's own use, with anything in it; each thread has one memory for each name."""
    size = math.prod(shape) * dtype.itemsize
    memory: Any = getattr(_kept, name, None)
    if memory is None or memory.size < size:
        memory = empty((size,), np.uint8)
        setattr(_kept, name, memory)
    return memory[:size].view(dtype).reshape(shape)
