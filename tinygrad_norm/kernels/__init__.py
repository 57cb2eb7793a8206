"""Arithmetic on arrays, knowing nothing of tapes. `of` picks the implementation for an array, here and nowhere else."""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_norm.kernels import reference

_FAST_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_cpu: ModuleType | None = None
_use_cpu = find_spec("numba") is not None and os.environ.get("TINYGRAD_NORM_KERNELS") != "reference"


def of(array: Any) -> ModuleType:
    """The kernels for `array`: Numba's for NumPy's floats where Numba is installed, else the reference.

    The environment variable TINYGRAD_NORM_KERNELS=reference keeps to the reference.
    """
    if not _use_cpu or type(array) is not np.ndarray or array.dtype not in _FAST_DTYPES:
        return reference
    return _cpu or _load_cpu()


def use(name: str) -> None:
    """Use the kernels `name` from now on: "cpu" or "reference".

    Raises:
        ValueError: there are no such kernels, or "cpu" without Numba.
    """
    global _use_cpu
    if name not in ("cpu", "reference"):
        raise ValueError(f"kernels: {name!r} is not known; 'cpu' and 'reference' are")
    if name == "cpu" and find_spec("numba") is None:
        raise ValueError("kernels: 'cpu' needs Numba; install it with: pip install 'tinygrad-norm[fast]'")
    _use_cpu = name == "cpu"


def _load_cpu() -> ModuleType:
    # Importing Numba takes half a second, so it waits for the first kernel that runs.
    global _cpu
    from tinygrad_norm.kernels import cpu

    _cpu = cpu
    return cpu
