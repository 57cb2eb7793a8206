"""What a function reaches: the tensors, arrays, numbers and generators that it may read or change.

From its closure, its defaults, the globals that its code names and the object that it is a method of, along attributes,
lists, tuples, dicts and other functions, classes and modules of the user's: of a module, what any code names. Functions
of this package and of installed ones are not entered, but objects of their classes are.
"""

from __future__ import annotations

import dis
import random as python_random
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from io import IOBase
from types import CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.plan.places import is_users
from tinygrad_norm.plan.snapshot import content_of
from tinygrad_norm.tensor import Tensor

_ATOMS = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype, CodeType)
_LEFT_OUT = (*_ATOMS, np.ufunc)
_GENERATORS = (np.random.Generator, np.random.RandomState, python_random.Random)
_GLOBAL_ONES = [python_random.random.__self__, np.random.mtrand._rand]  # type: ignore[attr-defined]
"""The generators of Python's own module and of NumPy's old one."""
_OF_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")
_OF_ITERATORS = ("builtins", "itertools", "_collections")


class Reach:
    """What is reached now.

    Attributes:
        tensors, arrays, generators, dicts, lists, cells: each once; dicts are also those of attributes.
        iterators: of Python's own kinds, whose place nobody sees.
        names: globals, and those of them that code names, of which some may not be there.
        told: ids of the dicts whose changes raise the generation.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.tensors: list[Tensor] = []
        self.arrays: list[np.ndarray[Any, Any]] = []
        self.generators: list[Any] = []
        self.iterators: list[Any] = []
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
        self.nets: list[Any] = []
        """What names parameters and buffers, as a module does."""
        self.told: set[int] = set()
        self._kept: list[Any] = []
        self._seen: set[int] = set()
        self._mentioned: set[str] = set()
        """The names of attributes in all code."""
        self._modules: dict[ModuleType, set[str]] = {}
        """Modules of the user's, and the names of each that are reached."""
        self._go_on([*roots, random.generator(), *_GLOBAL_ONES])
        while more := [*self._of_modules()]:
            self._go_on(more)

    def _go_on(self, stack: list[Any]) -> None:
        while stack:
            each = stack.pop()
            if isinstance(each, _LEFT_OUT) or id(each) in self._seen:
                continue
            self._seen.add(id(each))
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
        if isinstance(each, _GENERATORS):
            self.generators.append(each)
            return []
        if isinstance(each, ModuleType):
            if is_users(each.__name__):
                self._modules[each] = set()
            return []
        if isinstance(each, type):
            return [*self._of_class(each), *each.__bases__] if is_users(each.__module__) else []
        if isinstance(each, GeneratorType) or (
            isinstance(each, Iterator) and type(each).__module__ in _OF_ITERATORS and not isinstance(each, IOBase)
        ):
            self.iterators.append(each)
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
        inside: list[Any] = [function.__defaults__, function.__kwdefaults__]
        self.cells += function.__closure__ or ()
        inside += map(content_of, function.__closure__ or ())
        if is_users(function.__module__):
            code, names = [*_codes(function.__code__)], function.__globals__
            used = tuple({name for each in code for name in _globals(each)})
            self.names.append((names, used))
            inside += map(names.get, used)
            for each in code:
                inside += _imported(each, names)
                self._mentioned.update(each.co_names, (text for text in each.co_consts if isinstance(text, str)))
        return inside

    def _of_modules(self) -> Iterator[Any]:
        """What the user's modules hold under names that any code mentions, and that is not reached yet."""
        for module, known in self._modules.items():
            names = tuple((self._mentioned & vars(module).keys()) - known)
            known.update(names)
            if names:
                self.names.append((vars(module), names))
                yield from (vars(module)[name] for name in names)

    def _of_object(self, each: Any) -> list[Any]:
        if hasattr(type(each), "reached"):  # another captured function
            return list(each.reached())
        if hasattr(type(each), "named_parameters"):
            self.nets.append(each)
        inside: list[Any] = [getattr(each, "__self__", None)]  # of which it is a method, written in C
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
        return [*inside, type(each)]

    def _of_class(self, kind: type) -> list[Any]:
        """Methods, and what else a class of the user's has."""
        values = {name: value for name, value in vars(kind).items() if not name.startswith("__") or name == "__call__"}
        self.classes.append((kind, tuple(values), tuple(values.values())))
        inside = []
        for value in values.values():
            parts = (value.fget, value.fset) if isinstance(value, property) else (value,)
            inside += [getattr(part, "__func__", part) for part in parts]
        return inside


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Code, and that of the functions inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals(code: CodeType) -> Iterator[str]:
    """The names of globals in code, also of those that are not there."""
    return (each.argval for each in dis.get_instructions(code) if each.opname in _OF_GLOBALS)


def _imported(code: CodeType, names: dict[str, Any]) -> Iterator[ModuleType]:
    """The modules that code imports when it runs, if they are there already."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            for name in (instruction.argval, f"{names.get('__package__')}.{instruction.argval}"):
                if name in sys.modules:
                    yield sys.modules[name]


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        slots = vars(base).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
