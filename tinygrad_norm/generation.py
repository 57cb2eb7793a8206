"""One number that rises whenever a setter changes what a step computes.

Setters of a tensor's array and `requires_grad`, of a module's attributes and of an optimizer's options raise it; what a
step itself moves (a parameter's elements, running statistics, counts) does not. So whoever keeps something that was
made from all of these needs one comparison to see whether it still holds. What is no setting of theirs is left out:
hooks, `fast_math`, the choice of kernels, and a list of groups or parameters that somebody changes by its own methods.
"""

from __future__ import annotations

import itertools

_numbers = itertools.count(1)
_current = 0


def number() -> int:
    """Return the number as it is now."""
    return _current


def advance() -> None:
    """Raise the number; two threads may do so at once."""
    global _current
    _current = next(_numbers)
