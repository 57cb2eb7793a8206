"""An array that tells when its elements are read: what a function is given in place of NumPy's while it is recorded."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_norm.launch import read
from tinygrad_norm.plan.trees import leaves, mapped

_WHAT = "NumPy or Python"


class Told(np.ndarray[Any, np.dtype[Any]]):
    """A view of an array; views of it tell as well, and so do copies."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        read(_WHAT)
        return getattr(ufunc, method)(*plain(inputs), **plain(kwargs))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        read(_WHAT)
        return function(*plain(args), **plain(kwargs))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if not isinstance(found, np.ndarray):
            read(_WHAT)
        return found

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """A view, which tells as well."""
        found = super().view(*args, **kwargs)
        return found if isinstance(found, Told) else np.ndarray.view(found, Told)


def _reading(name: str) -> Callable[..., Any]:
    """The method of an array of that name, of what is read."""
    method = getattr(np.ndarray, name)

    def reading(self: Told, *args: Any, **kwargs: Any) -> Any:
        read(_WHAT)
        return method(np.ndarray.view(self, np.ndarray), *plain(args), **plain(kwargs))

    return reading


_READING = (
    "argmax argmin argpartition argsort choose compress cumprod cumsum dot dump dumps fill item nonzero partition put "
    "searchsorted sort take tobytes tofile tolist trace __array__ __bool__ __complex__ __contains__ __deepcopy__ "
    "__dlpack__ __float__ __index__ __int__ __iter__ __reduce__ __reduce_ex__ __setitem__"
)
for _name in _READING.split():
    setattr(Told, _name, _reading(_name))


def _attribute(name: str) -> property:
    """The attribute of an array of that name, through which it is read."""

    def read_through(self: Told) -> Any:
        read(_WHAT)
        return getattr(np.ndarray.view(self, np.ndarray), name)

    return property(read_through)


for _name in ("ctypes", "data", "flat"):
    setattr(Told, _name, _attribute(_name))


def told(tree: Any) -> Any:
    """Return a tree with arrays that tell in the place of NumPy's."""
    with telling(tree) as found:
        return found


@contextmanager
def telling(tree: Any) -> Iterator[Any]:
    """A tree with arrays that tell in the place of NumPy's; in the end what was done to its lists and dicts is theirs.

    Lists and dicts without arrays are those of the tree itself.
    """
    copies: list[tuple[Any, Any, list[Any]]] = []
    try:
        yield _telling(tree, copies)
    finally:
        for container, copy, content in copies:
            now = [*copy.items()] if isinstance(copy, dict) else copy
            if len(now) != len(content) or not all(map(_is_same, now, content)):
                container.clear()
                (container.update if isinstance(copy, dict) else container.extend)(plain(copy))


def _telling(tree: Any, copies: list[tuple[Any, Any, list[Any]]]) -> Any:
    if type(tree) is np.ndarray:
        return tree.view(Told)
    if not any(type(each) is np.ndarray for each in leaves(tree)) or not isinstance(tree, tuple | list | dict):
        return tree
    if isinstance(tree, tuple):
        parts = [_telling(each, copies) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    copy: Any
    if isinstance(tree, dict):
        copy = {key: _telling(each, copies) for key, each in tree.items()}
        copies.append((tree, copy, [*copy.items()]))
    else:
        copy = [_telling(each, copies) for each in tree]
        copies.append((tree, copy, [*copy]))
    return copy


def _is_same(now: Any, before: Any) -> bool:
    return all(map(operator.is_, now, before)) if isinstance(now, tuple) and len(now) == 2 else now is before


def plain(tree: Any) -> Any:
    """Return a tree with NumPy's arrays in the place of those that tell."""
    return mapped(lambda each: np.ndarray.view(each, np.ndarray) if type(each) is Told else each, tree)
