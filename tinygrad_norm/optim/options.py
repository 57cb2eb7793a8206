"""The options of optimizers: what each may be."""

from __future__ import annotations

from typing import Any

from tinygrad_norm.checks import BELOW_ONE, FINITE, FRACTION, NOT_NEGATIVE, check_flag, check_number

_NUMBERS = {
    "lr": NOT_NEGATIVE,
    "initial_lr": NOT_NEGATIVE,
    "eps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": FRACTION,
    "alpha": FRACTION,
    "dampening": FINITE,
}


def check_option(name: str, value: Any) -> Any:
    """Return an option as Python's own float, bool or pair of floats.

    Raises:
        TypeError: it is not of that type.
        ValueError: it is out of range.
    """
    if name == "betas":
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise TypeError(f"betas are two numbers, such as (0.9, 0.999), got {value!r}")
        return tuple(check_number(f"betas[{index}]", beta, BELOW_ONE) for index, beta in enumerate(value))
    if name in _NUMBERS:
        return check_number(name, value, _NUMBERS[name])
    check_flag(name, value)
    return bool(value)
