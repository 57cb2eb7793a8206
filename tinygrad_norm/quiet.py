"""NumPy's floating-point warnings turned off, at a tenth of what `np.errstate` takes.

`np.errstate` makes its settings anew each time it is entered, and puts them into a context variable. Here they are made
once, and the variable is found by comparing the context inside with that outside.
"""

from __future__ import annotations

from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

import numpy as np


def _settings_of_errstate() -> list[tuple[ContextVar[Any], Any]]:
    """The variables that `np.errstate(all="ignore")` sets, and what to."""
    outside = copy_context()
    with np.errstate(all="ignore"):
        return [(variable, value) for variable, value in copy_context().items() if outside.get(variable) is not value]


((_variable, _ignore),) = _settings_of_errstate()

enter_quiet = partial(_variable.set, _ignore)
"""Compute without warnings from now on: NaN and infinity are values, as `detect_anomaly()` knows."""
leave_quiet = _variable.reset
"""End what `enter_quiet` began, given what it returned."""
