"""The options of optimizers: what each may be."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

Rule = tuple[str, Callable[[float], bool]]

_NOT_NEGATIVE: Rule = ("a finite number of at least 0", lambda value: 0 <= value < math.inf)
_FRACTION: Rule = ("a number from 0 to 1", lambda value: 0 <= value <= 1)

_NUMBERS: dict[str, Rule] = {
    "lr": _NOT_NEGATIVE,
    "initial_lr": _NOT_NEGATIVE,
    "eps": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "momentum": _FRACTION,
    "alpha": _FRACTION,
    "dampening": ("a finite number", math.isfinite),
}
_BETA: Rule = ("a number of at least 0 and below 1", lambda value: 0 <= value < 1)


def check_option(name: str, value: Any) -> Any:
    """Return an option as Python's own float, bool or pair of floats.

    Raises:
        TypeError: it is not of that type.
        ValueError: it is out of range.
    """
    if name == "betas":
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise TypeError(f"betas must be two numbers, such as (0.9, 0.999), got {value!r}")
        return tuple(check_number(f"betas[{index}]", beta, _BETA) for index, beta in enumerate(value))
    if name in _NUMBERS:
        return check_number(name, value, _NUMBERS[name])
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def check_number(name: str, value: Any, rule: Rule) -> float:
    """Return a number as a float.

    Args:
        name: what the error calls it.
        value: the number.
        rule: what is allowed, in words and as a test.
    """
    allowed, test = rule
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be {allowed}, got {value!r} ({type(value).__name__})")
    try:
        number = float(value)
    except OverflowError:  # of an integer
        number = math.inf
    if not test(number):
        raise ValueError(f"{name} must be {allowed}, got {number:g}")
    return number


def check_whole(name: str, value: Any, minimum: int) -> int:
    """Return a whole number of at least `minimum` as an int."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number of at least {minimum}, got {value!r} ({type(value).__name__})")
    if value < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, got {value}")
    if int(value) > sys.maxsize:
        raise ValueError(f"{name} must be a whole number of at most {sys.maxsize}, got one of {len(str(value))} digits")
    return int(value)
