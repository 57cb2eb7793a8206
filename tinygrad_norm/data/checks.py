"""The one check that every file here shares."""

from __future__ import annotations

import numpy as np


def whole_number(name: str, value: object, minimum: int) -> int:
    """Return `value` as an int.

    Raises:
        TypeError: it is not an integer (a bool is none).
        ValueError: it is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer of at least {minimum}, got {value!r} ({type(value).__name__})")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return int(value)
