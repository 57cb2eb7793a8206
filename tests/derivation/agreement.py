"""A derived norm by its kernels and in NumPy: the same value, statistics and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np

from tinygrad_norm import Tensor, grad, kernels
from tinygrad_norm.derived import DerivedNorm, derive

norms = run_path(str(Path(__file__).parent / "norms.py"))
OF_SETS = "grn", "switchable_norm", "evonorm_b0"
"""Those of several sets of axes, which have no inner reduction."""


def channels_last(x: Any) -> Any:
    """The same numbers, with axis 1 last in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def results(
    norm: DerivedNorm, arrays: Sequence[Any], dy: Any, options: dict[str, Any], constants: int = 0
) -> list[Any]:
    """y, the statistics, and the gradients of all but the last inputs, which are constants."""
    count = len(arrays) - constants
    leaves = [Tensor(array, requires_grad=i < count) for i, array in enumerate(arrays)]
    found = norm(*leaves, **options)
    y, *statistics = found if isinstance(found, tuple) else (found,)
    return [y.raw, *(each.raw for each in statistics), *(each.raw for each in grad(y, leaves[:count], dy))]


def agree(name: str, arrays: Sequence[Any], options: dict[str, Any], tolerance: float, constants: int = 0) -> None:
    """Compare kernels with NumPy in float64, by the largest value of each result."""
    norm = derive(norms[name])
    dy = np.random.default_rng(1).normal(size=arrays[0].shape).astype(arrays[0].dtype)
    found = results(norm, arrays, dy, options, constants)
    installed = not kernels.missing()
    kernels.use("reference")
    try:
        exact = [array.astype(np.float64) for array in arrays]
        expected = results(norm, exact, dy.astype(np.float64), options, constants)
    finally:
        kernels.use("cpu" if installed else "reference")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (np.abs(other).max() or 10))
