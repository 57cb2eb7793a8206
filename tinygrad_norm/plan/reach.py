"""What a function reaches: the tensors, arrays, numbers and generators that it may read or change.

From its closure, its defaults, the globals that its code names and the object that it is a method of, along attributes,
lists, tuples, dicts and other functions, classes and modules of the user's: of a module, what any code names. Functions
of this package and of installed ones are not entered, but objects of their classes are.
"""

from __future__ import annotations

import ctypes
import dis
import gc
import operator
import os
import random as python_random
import sys
import weakref
from array import array
from collections import deque
from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from contextvars import ContextVar
from functools import partial
from io import IOBase
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.plan.places import is_users
from tinygrad_norm.plan.snapshot import content_of
from tinygrad_norm.tensor import Tensor

_ATOMS = (int, float, complex, bool, str, bytes, type(None), np.generic, np.dtype, CodeType)
_LEFT_OUT = (*_ATOMS, np.ufunc)
_GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, python_random.Random)
_MEMORIES: tuple[Any, ...] = (bytearray, memoryview, array, ctypes.c_int.__mro__[-2])  # the last: all of ctypes

_GLOBAL_ONES = [python_random.random.__self__, np.random.mtrand._rand]  # type: ignore[attr-defined]
"""The generators of Python's own module and of NumPy's old one."""
_KINDS = {dict, list, set, tuple, frozenset, MethodType, Tensor}
_OF_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL")
_OF_ITERATORS = ("builtins", "itertools", "_collections")
_OF_C = (MappingProxyType, KeysView, ValuesView, ItemsView, BuiltinMethodType, MethodWrapperType, operator.itemgetter)
"""What holds something, and shows it to nobody but the garbage collector."""
_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__code__")
_OF_CLASSES = frozenset(
    (
        *("__init__", "__new__", "__post_init__", "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__"),
        *("__annotations__", "__slots__", "__match_args__", "__dataclass_fields__", "__dataclass_params__"),
        *("__abstractmethods__", "_abc_impl", "__parameters__", "__static_attributes__", "__firstlineno__"),
    )
)
"""What is no method of objects, or runs only when one is made."""


class Reach:
    """What is reached now.

    Attributes:
        tensors, arrays, generators, dicts, lists, cells: each once; dicts are also those of attributes.
        iterators: of Python's own kinds, whose place nobody sees, and generators without a state.
        names: globals, and those of them that code names, of which some may not be there.
        told: ids of the dicts whose changes raise the generation.
        watched: the dicts that tell when a value is read.
        again: ids of the arrays that are reached in two ways, at least.
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
        """Objects with slots, and what is in these; functions, and their code and defaults."""
        self.variables: list[ContextVar[Any]] = []
        self.memories: list[Any] = []
        """Arrays of Python's own, and what `ctypes` has."""
        self.groups: list[Any] = []
        """Sets and deques."""
        self.nets: list[Any] = []
        """What names parameters and buffers, as a module does."""
        self.told: set[int] = set()
        self.watched: list[dict[Any, Any]] = []
        self.again: set[int] = set()
        self._kept: list[Any] = []
        self._types: set[type] = set()
        self._classes: set[type] = set()
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
            if isinstance(each, str):  # by which code may ask for an attribute or a module
                self._mentioned.add(each)
                each = sys.modules.get(each)
            if isinstance(each, _LEFT_OUT):
                continue
            if id(each) in self._seen:
                if isinstance(each, np.ndarray):
                    self.again.add(id(each))
                continue
            self._seen.add(id(each))
            self._kept.append(each)  # or its id would be another's
            stack += self._enter(each)

    def _enter(self, each: Any) -> Iterable[Any]:
        """Note something, and return what is inside."""
        if isinstance(each, FunctionType):
            return self._of_function(each)
        inside = self._elements(each)
        if inside is None:
            return self._of_object(each)
        if type(each) in _KINDS or not is_users(type(each).__module__):
            return inside
        return [*inside, *self._of_object(each)]

    def _elements(self, each: Any) -> Iterable[Any] | None:
        """What is inside of one of Python's, NumPy's or this package's own kinds; None of other objects."""
        if isinstance(each, Tensor):
            self.tensors.append(each)
            return [each.grad, *(each.grad_hooks or {}).values()]
        if isinstance(each, dict):
            self.dicts.append(each)
            if getattr(type(each), "raises_generation", False):
                self.told.add(id(each))
            if getattr(type(each), "tells_each_look", False):
                self.watched.append(each)
            return [*each.values(), *each]
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
        if isinstance(each, type):
            return self._of_class(each)
        if isinstance(each, ContextVar):
            self.variables.append(each)
            return [each.get(None)]
        return [] if self._note(each) else None

    def _note(self, each: Any) -> bool:
        """Note what has nothing inside that would have to be entered; False of all else."""
        if isinstance(each, np.ndarray):
            self.arrays.append(each)
        elif isinstance(each, _MEMORIES):
            self.memories.append(each)
        elif isinstance(each, python_random.SystemRandom):
            self.iterators.append(each)
        elif isinstance(each, _GENERATORS):
            self.generators.append(each)
        elif isinstance(each, ModuleType):
            if is_users(each.__name__):
                self._modules[each] = set()
        elif isinstance(each, GeneratorType) or (
            isinstance(each, Iterator) and type(each).__module__ in _OF_ITERATORS and not isinstance(each, IOBase)
        ):
            self.iterators.append(each)
        else:
            return False
        return True

    def _of_function(self, function: FunctionType) -> list[Any]:
        inside: list[Any] = [function.__defaults__, function.__kwdefaults__]
        self.cells += function.__closure__ or ()
        inside += map(content_of, function.__closure__ or ())
        if not is_users(function.__module__):
            return inside
        self.slots.append((function, _OF_FUNCTIONS, tuple(getattr(function, name) for name in _OF_FUNCTIONS)))
        code, names = [*_codes(function.__code__)], function.__globals__
        used = tuple({name for each in code for name in _globals(each)})
        self.names.append((names, used))
        inside += [function.__dict__, *map(names.get, used)]
        for each in code:
            inside += _imported(each, names)
            texts = [text for text in each.co_consts if isinstance(text, str)]
            self._mentioned.update(each.co_names, texts)
            inside += texts
        if not self._mentioned.isdisjoint(("environ", "getenv")):
            inside.append(os.environ)
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
        inside: list[Any] = []
        if isinstance(each, weakref.ref):
            inside.append(each())
        elif isinstance(each, _OF_C):
            inside += gc.get_referents(each)
        attributes = _dict_of(each)
        if isinstance(attributes, dict):
            self.dicts.append(attributes)
            self._kept.append(attributes)
            inside += [value for name, value in attributes.items() if name != "__module__"]  # told, and not asked for
            if telling := getattr(type(each), "raises_generation", ()):
                self.told |= {id(attributes), *(id(attributes.get(name)) for name in telling)}
        if slots := tuple(_slots(type(each))):
            held = tuple(_plainly(each, slot) for slot in slots)
            self.slots.append((each, slots, held))
            inside += held
        if type(each) not in self._types:
            self._types.add(type(each))
            inside += [found for kind in type(each).__mro__ for found in self._of_methods(kind)]
        return inside

    def _of_class(self, kind: type) -> list[Any]:
        """What a class of the user's has, from which the code that names it may make objects."""
        if not is_users(kind.__module__):
            return []
        makers = [vars(kind).get(name) for name in ("__init__", "__new__", "__post_init__")]
        meta: Any = type(kind)
        metaclass = [inside for each in meta.__mro__ for inside in self._of_methods(each)]
        return [*kind.__bases__, *self._of_methods(kind), *_functions(makers), *metaclass]

    def _of_methods(self, kind: type) -> list[Any]:
        """What a class of the user's gives to its objects."""
        if kind in self._classes or not is_users(kind.__module__):
            return []
        self._classes.add(kind)
        values = {name: value for name, value in vars(kind).items() if name not in _OF_CLASSES}
        self.classes.append((kind, tuple(values), tuple(values.values())))
        return _functions(values.values())


def _functions(values: Iterable[Any]) -> list[Any]:
    """Attributes of a class, with the functions in the place of methods and properties."""
    parts = [
        part for value in values for part in ((value.fget, value.fset) if isinstance(value, property) else (value,))
    ]
    return [_plainly(part, "__func__") if isinstance(part, staticmethod | classmethod) else part for part in parts]


def _dict_of(each: Any) -> Any:
    try:
        return each.__dict__
    except Exception:  # of a __getattr__ of the user's
        return None


def _plainly(each: Any, name: str) -> Any:
    """An attribute, past what a class makes of a look at it; None if there is none."""
    try:
        return object.__getattribute__(each, name)
    except AttributeError:
        return None


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
    """The names of slots as they are in a class: those that begin with two underscores have another one there."""
    for base in cls.__mro__:
        if "__slots__" in vars(base):
            yield from (name for name, value in vars(base).items() if isinstance(value, MemberDescriptorType))
