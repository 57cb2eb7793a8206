"""What a function reaches: the tensors, arrays, numbers and generators that it may read or change.

From its closure, its defaults, the globals that its code names and the object that it is a method of, along attributes,
lists, tuples, dicts and other functions of the user's. Functions of this package and of installed ones are not entered,
but objects of their classes are.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.plan.snapshot import content_of
from tinygrad_norm.tensor import Tensor

_ATOMS = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype, type, ModuleType, CodeType)
_LEFT_OUT = (*_ATOMS, BuiltinFunctionType, np.ufunc)
_PACKAGE = __name__.split(".")[0]
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Reach:
    """What is reached now.

    Attributes:
        tensors, arrays, generators, dicts, lists, cells: each once; dicts are also those of attributes.
        names: globals, and those of them that code names.
        told: ids of the dicts whose changes raise the generation.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.tensors: list[Tensor] = []
        self.arrays: list[np.ndarray[Any, Any]] = []
        self.generators: list[np.random.Generator] = []
        self.dicts: list[dict[Any, Any]] = []
        self.lists: list[list[Any]] = []
        self.cells: list[Any] = []
        self.names: list[tuple[dict[str, Any], tuple[str, ...]]] = []
        self.classes: list[tuple[type, tuple[str, ...], tuple[Any, ...]]] = []
        """Classes of the user's, and what they have by which names."""
        self.slots: list[tuple[Any, tuple[str, ...], tuple[Any, ...]]] = []
        """Objects with slots, and what is in these."""
        self.groups: list[Any] = []
        """Sets and deques."""
        self.told: set[int] = set()
        self._kept: list[Any] = []
        seen: set[int] = set()
        stack = [*roots, random.generator()]
        while stack:
            each = stack.pop()
            if isinstance(each, _LEFT_OUT) or id(each) in seen:
                continue
            seen.add(id(each))
            self._kept.append(each)  # or its id would be another's
            stack += self._enter(each)

    def _enter(self, each: Any) -> Iterable[Any]:
        """Note something, and return what is inside."""
        if isinstance(each, Tensor):
            self.tensors.append(each)
            return [each.grad, *(each.grad_hooks or {}).values()]
        if isinstance(each, np.ndarray):
            self.arrays.append(each)
            return []
        if isinstance(each, np.random.Generator):
            self.generators.append(each)
            return []
        if isinstance(each, dict):
            self.dicts.append(each)
            if getattr(each, "raises_generation", False):
                self.told.add(id(each))
            return [*each.values(), *(key for key in each if isinstance(key, Tensor))]
        if isinstance(each, list):
            self.lists.append(each)
            return each
        if isinstance(each, set | deque):
            self.groups.append(each)
            return [*each]
        if isinstance(each, tuple | frozenset):
            return each
        if isinstance(each, MethodType):
            return [each.__self__, each.__func__]
        if isinstance(each, partial):
            return [each.func, each.args, each.keywords]
        return self._of_function(each) if isinstance(each, FunctionType) else self._of_object(each)

    def _of_function(self, function: FunctionType) -> list[Any]:
        inside = [function.__defaults__, function.__kwdefaults__]
        self.cells += function.__closure__ or ()
        inside += map(content_of, function.__closure__ or ())
        if is_users(function.__module__):
            names = tuple(name for name in _names(function.__code__) if name in function.__globals__)
            self.names.append((function.__globals__, names))
            inside += [function.__globals__[name] for name in names]
        return inside

    def _of_object(self, each: Any) -> list[Any]:
        if hasattr(type(each), "reached"):  # another captured function
            return list(each.reached())
        inside: list[Any] = []
        attributes = getattr(each, "__dict__", None)
        if isinstance(attributes, dict):
            self.dicts.append(attributes)
            self._kept.append(attributes)
            inside += attributes.values()
            if telling := getattr(type(each), "raises_generation", ()):
                self.told |= {id(attributes), *(id(attributes.get(name)) for name in telling)}
        if not isinstance(each, type) and (slots := tuple(_slots(type(each)))):
            held = tuple(getattr(each, slot, None) for slot in slots)
            self.slots.append((each, slots, held))
            inside += held
        for kind in type(each).__mro__:
            if is_users(kind.__module__):
                inside += self._of_class(kind)
        return inside

    def _of_class(self, kind: type) -> list[Any]:
        """Methods, and what else a class of the user's has."""
        values = {name: value for name, value in vars(kind).items() if not name.startswith("__") or name == "__call__"}
        self.classes.append((kind, tuple(values), tuple(values.values())))
        inside = []
        for value in values.values():
            parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
            inside += [getattr(part, "__func__", part) for part in parts]
        return inside


def is_users(module: str | None) -> bool:
    """Whether a module is neither this package's nor an installed one's."""
    if module is None or module.split(".")[0] == _PACKAGE:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not file.startswith(_INSTALLED)


def _names(code: CodeType) -> Iterator[str]:
    """The globals that code may name, and functions inside of it."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
