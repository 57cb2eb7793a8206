"""NumPy's floating-point warnings turned off, at a tenth of what `np.errstate` takes.

`np.errstate` makes its settings anew each time it is entered, and puts them into a context variable. Here they are made
once, and the variable is found by comparing the context inside with that outside.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import numpy as np


def _settings_of_errstate() -> list[tuple[ContextVar[Any], Any]]:
    """The variables that `np.errstate(all="ignore")` sets, and what to."""
    outside = copy_context()
    with np.errstate(all="ignore"):
        return [(variable, value) for variable, value in copy_context().items() if outside.get(variable) is not value]


((_variable, _ignore),) = _settings_of_errstate()


def quietly(function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Call `function` without warnings: NaN and infinity are values, as `detect_anomaly()` knows."""
    token = _variable.set(_ignore)
    try:
        return function(*arguments, **keywords)
    finally:
        _variable.reset(token)


class Quiet:
    """A `with` block without warnings."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _variable.set(_ignore)

    def __exit__(self, *exception: object) -> None:
        _variable.reset(self._token)
