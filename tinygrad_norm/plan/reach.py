"""What a function reaches: the tensors, arrays, numbers and generators that it may read or change.

From its closure, its defaults, the globals that its code names and the object that it is a method of, along attributes,
lists, tuples, dicts and other functions of the user's. Modules of Python and what this package or an installed one
defines are not entered; their instances are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_norm.tensor import Tensor

_PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype, type, ModuleType, CodeType)
_LEFT_OUT = (*_PLAIN, BuiltinFunctionType, np.ufunc)
_OURS = __name__.split(".")[0]


class Reach:
    """What is reached now.

    Attributes:
        tensors, arrays, generators: each once.
        places: dicts, and the values under their keys; lists as dicts by number.
    """

    def __init__(self, roots: Iterator[Any]) -> None:
        self.tensors: list[Tensor] = []
        self.arrays: list[np.ndarray[Any, Any]] = []
        self.generators: list[np.random.Generator] = []
        self.dicts: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self.cells: list[Any] = []
        self.names: list[tuple[dict[str, Any], tuple[str, ...]]] = []
        """Globals, and those of them that code names."""
        self._keep: list[Any] = []
        seen: set[int] = set()
        stack = [*roots]
        while stack:
            each = stack.pop()
            if isinstance(each, _LEFT_OUT) or id(each) in seen:
                continue
            seen.add(id(each))
            self._keep.append(each)
            stack += self._enter(each)

    def _enter(self, each: Any) -> list[Any]:
        if isinstance(each, Tensor):
            self.tensors.append(each)
            return [each.grad] if isinstance(each.grad, Tensor) else []
        if isinstance(each, np.ndarray):
            self.arrays.append(each)
            return []
        if isinstance(each, np.random.Generator):
            self.generators.append(each)
            return []
        if isinstance(each, dict):
            self.dicts.append(each)
            return [*each.values(), *(key for key in each if isinstance(key, Tensor))]
        if isinstance(each, list):
            self.lists.append(each)
            return list(each)
        if isinstance(each, tuple | set | frozenset):
            return list(each)
        if isinstance(each, MethodType):
            return [each.__self__, each.__func__]
        if isinstance(each, partial):
            return [each.func, each.args, each.keywords]
        if isinstance(each, FunctionType):
            return self._of_function(each)
        return self._of_object(each)

    def _of_function(self, function: FunctionType) -> list[Any]:
        inside = [function.__defaults__, function.__kwdefaults__]
        for cell in function.__closure__ or ():
            self.cells.append(cell)
            try:
                inside.append(cell.cell_contents)
            except ValueError:  # it is empty
                pass
        if not is_users(function.__module__):
            return inside
        names = tuple(name for name in _names(function.__code__) if name in function.__globals__)
        self.names.append((function.__globals__, names))
        return inside + [function.__globals__[name] for name in names]

    def _of_object(self, each: Any) -> list[Any]:
        inside = []
        if (attributes := getattr(each, "__dict__", None)) is not None and isinstance(attributes, dict):
            self.dicts.append(attributes)
            inside += attributes.values()
        for slot in _slots(type(each)):
            inside.append(getattr(each, slot, None))
        call = getattr(type(each), "__call__", None)
        if isinstance(call, FunctionType) and is_users(call.__module__):
            inside.append(call)
        return inside


def is_users(module: str | None) -> bool:
    """Whether a module is neither this package's nor an installed one's."""
    if module is None or module.split(".")[0] == _OURS:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not any(part in file for part in ("site-packages", "dist-packages", sys.prefix + "/lib"))


def _names(code: CodeType) -> Iterator[str]:
    """The globals that code may name, also that of functions inside of it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
