"""Running statistics, which move by one launch each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from tinygrad_norm.kernels.cpu.compiler import Kernel
from tinygrad_norm.launch import Array, empty, launch


def moved(running: Array, statistic: Array, momentum: float, factor: float = 1.0) -> Array:
    """As the reference."""
    rows = statistic.reshape(-1, running.size)
    y = empty(running.shape, running.dtype)
    launch(_moved, rows.size, running.reshape(-1), rows, (float(momentum), float(factor)), y.reshape(-1))
    return y


@Kernel
def _moved(running: Array, rows: Array, numbers: tuple[Any, ...], y: Array) -> None:
    momentum, factor = numbers
    keep = running.dtype.type(1 - momentum)
    for k in prange(len(y)):
        total = 0.0
        for i in range(len(rows)):
            total += np.float64(rows[i, k])
        y[k] = keep * running[k] + momentum * (total / len(rows) * factor)
