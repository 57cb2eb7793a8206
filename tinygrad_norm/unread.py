"""A number that a launch made, which a plan hands on without looking at it."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_norm.launch import Array, read, watcher


class Unread:
    """What stands in the place of a float while a plan is recorded.

    Whoever computes, compares or prints with it reads it, on which Python may decide, so that there is no plan. Where
    the recorded function returns it, each call returns a float.
    """

    __slots__ = ("array", "what")

    def __init__(self, array: Array, what: str) -> None:
        self.array, self.what = array, what

    def __float__(self) -> float:
        read(self.what)
        return float(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(float(self), dtype)


Real.register(Unread)


def number(array: Array, what: str) -> Any:
    """The only element of an array, which `what` returns: a float, or, while a plan is recorded, one that is unread."""
    return float(array) if watcher() is None else Unread(array, what)


def _reading(name: str) -> Callable[..., Any]:
    """The method of float of that name, of what is read."""

    def method(self: Unread, *others: Any) -> Any:
        return getattr(float(self), name)(*[float(each) if isinstance(each, Unread) else each for each in others])

    return method


_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow")
_OF_ONE = ("neg", "pos", "abs", "bool", "int", "trunc", "round", "floor", "ceil", "hash", "repr", "str", "format")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
for _name in (*_ARITHMETIC, *(f"r{name}" for name in _ARITHMETIC), *_OF_ONE, *_COMPARISONS):
    setattr(Unread, f"__{_name}__", _reading(f"__{_name}__"))
for _name in ("is_integer", "as_integer_ratio", "hex"):
    setattr(Unread, _name, _reading(_name))
