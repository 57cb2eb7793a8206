"""Arithmetic on arrays, knowing nothing of tapes. `of` picks the implementation for an array, here and nowhere else."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_norm import definitions
from tinygrad_norm.launch import depends_on

_FAST_DTYPES = frozenset((np.dtype(np.float32), np.dtype(np.float64)))
_NEEDED = ("numba", "scipy", "threadpoolctl")


def missing() -> list[str]:
    """What the fast kernels need and is not installed; a folder or a file of that name beside a script is not it."""
    return [name for name in _NEEDED if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    spec = find_spec(name)
    if spec is None or spec.origin is None:  # a folder without __init__.py has no origin
        return False
    try:
        packages = Path(str(distribution(name).locate_file("")))
    except PackageNotFoundError:
        return True  # put there without pip
    return Path(spec.origin).resolve().is_relative_to(packages.resolve())


_cpu: ModuleType | None = None
_asked = os.environ.get("TINYGRAD_NORM_KERNELS", "")
if _asked not in ("", "cpu", "reference"):
    raise ValueError(f"TINYGRAD_NORM_KERNELS: {_asked!r} is not known; 'cpu' and 'reference' are")
_use_cpu = _asked != "reference" and not missing()


depends_on(lambda: _use_cpu)


def of(array: Any) -> ModuleType:
    """The kernels for `array`: Numba's for NumPy's floats where the `fast` extra is installed, else the definitions.

    The environment variable TINYGRAD_NORM_KERNELS=reference keeps to the definitions.
    """
    if not _use_cpu or type(array) is not np.ndarray or array.dtype not in _FAST_DTYPES:
        return definitions
    return _cpu or _load_cpu()


def use(name: str) -> None:
    """Use the kernels `name` from now on: "cpu" or "reference".

    Raises:
        ValueError: there are no such kernels, or "cpu" without what it needs.
    """
    global _use_cpu
    if name not in ("cpu", "reference"):
        raise ValueError(f"kernels: {name!r} is not known; 'cpu' and 'reference' are")
    if name == "cpu" and (lacking := missing()):
        raise ValueError(f"kernels: 'cpu' needs {', '.join(lacking)}; pip install 'tinygrad-norm[fast]' brings it")
    _use_cpu = name == "cpu"


def _load_cpu() -> ModuleType:
    # Importing Numba takes half a second, so it waits for the first kernel that runs.
    global _cpu
    from tinygrad_norm.kernels import cpu

    _cpu = cpu
    return cpu
