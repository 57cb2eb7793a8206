"""Larger inputs for a case: what is wrong only past a vector's width, or from some size on, shows in no small one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_norm import modes
from tinygrad_norm.certificate.case import Case, is_differentiated

ELEMENTS = 2**16
MOST_ADDED = 1000  # that is added to an axis: what has one axis may have an output of its square


def enlarge(case: Case) -> Case | None:
    """Return the case with as many longer axes as its function takes, None if it takes none.

    Axes of equal length grow alike, so that what fitted together goes on to.
    """
    arrays = [given for given in case.inputs if isinstance(given, np.ndarray) and given.ndim]
    if not arrays:
        return None
    more = min(MOST_ADDED, round(ELEMENTS ** (1 / max(array.ndim for array in arrays))))
    lengths: dict[int, int] = {}
    found = None
    for length in sorted({length for array in arrays for length in array.shape}, reverse=True):
        attempt = _resized(case, {**lengths, length: length + more})
        if _runs(attempt):
            lengths[length], found = length + more, attempt
    return found


def _resized(case: Case, lengths: dict[int, int]) -> Case:
    """Return the case with inputs in which axes of these lengths have others; numbers are repeated, and vary."""
    rng = np.random.default_rng(len(lengths))

    def resized(given: Any) -> Any:
        if not isinstance(given, np.ndarray):
            return given
        longer = np.resize(given, [lengths.get(length, length) for length in given.shape])
        return longer * rng.uniform(0.5, 1.5, longer.shape) if is_differentiated(given) else longer

    larger = replace(case, inputs=tuple(map(resized, case.inputs)), mutated=False, larger=True)
    return replace(larger, name=", ".join(filter(None, (case.name, larger.size))))


def _runs(case: Case) -> bool:
    """Return whether the function takes these inputs, and its definition does as well."""
    try:
        found = case.call(*case.leaves())
        with modes.composed():
            expected = case.call(*case.leaves())
    except Exception:  # whatever it raises, it does not take them
        return False
    return found.shape == expected.shape and bool(np.isfinite(expected.raw).all())
