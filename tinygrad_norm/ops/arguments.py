"""What the ops on images share: arguments given once or for each axis, and the name that an error begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_norm import tape

Pair = tuple[int, int]


def where(name: str) -> str:
    """The op, and the layer that called it where there is one."""
    scope = tape.current_scope()
    return f"{name} in {scope}" if scope else name


def pair(name: str, key: str, value: Any, least: int) -> Pair:
    """An argument given as one number, or as one for the height and one for the width.

    Raises:
        TypeError: it is neither an integer nor two of them.
        ValueError: one is less than `least`.
    """
    given = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(given) != 2 or any(not isinstance(n, int | np.integer) or isinstance(n, bool) for n in given):
        raise TypeError(f"{name}: {key} should be an integer, or one for height and one for width, got {value!r}")
    if min(given) < least:
        raise ValueError(f"{name}: {key} should be {least} or more, got {value!r}")
    return int(given[0]), int(given[1])


def check_flag(name: str, key: str, value: Any) -> None:
    """Raise a TypeError if an argument is neither True nor False: "no" would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: {key} should be True or False, got {value!r}")
