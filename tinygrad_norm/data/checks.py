"""The checks that the files here share."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return `value` as an int.

    Raises:
        TypeError: it is not an integer (a bool is none).
        ValueError: it is below `minimum`, or above what an index can be.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r} ({type(value).__name__})")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if value > sys.maxsize:
        raise ValueError(f"{name} must be at most {sys.maxsize}, got a number of {len(str(value))} digits")
    return int(value)


def real_number(name: str, value: object, minimum: float, maximum: float = math.inf) -> float:
    """Return `value` as a float.

    Raises:
        TypeError: it is not a real number (a bool is none).
        ValueError: it is not finite, or outside `minimum` to `maximum`.
    """
    allowed = f"from {minimum:g} to {maximum:g}" if maximum < math.inf else f"of at least {minimum:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number {allowed}, got {value!r} ({type(value).__name__})")
    if not (math.isfinite(value) and minimum <= value <= maximum):
        raise ValueError(f"{name} must be a number {allowed}, got {value}")
    return float(value)


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Refuse a value that is none of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {value!r}")


def check_labels(path: Path, labels: NDArray[Any], count: int, num_classes: int | None = None) -> None:
    """Refuse what are not `count` integer labels from 0, below `num_classes` where that is known."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise ValueError(f"{path}: labels must be integers ({count},), one per image, found {describe(labels)}")
    highest = np.iinfo(np.int64).max if num_classes is None else num_classes - 1
    outside = labels[(labels < 0) | (labels > highest)]
    if outside.size:
        allowed = "0 or more" if num_classes is None else f"0 to {highest}"
        raise ValueError(f"{path}: labels must be {allowed}, found {outside[0]}")


def describe(array: NDArray[Any]) -> str:
    """An array's type and shape, as error messages tell them."""
    return f"{array.dtype}{array.shape}"
