"""Nested tuples, lists and dicts: what is given to a function and returned by it, and the arguments of a launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def leaves(tree: Any) -> Iterator[Any]:
    """Everything in a tree that is no tuple, list or dict, from left to right."""
    if isinstance(tree, tuple | list):
        for each in tree:
            yield from leaves(each)
    elif type(tree) is dict:
        for each in tree.values():
            yield from leaves(each)
    else:
        yield tree


def flattened(tree: Any, found: list[Any]) -> Any:
    """Add everything that is no tuple, list or dict to `found`; return the types and keys of those, within each other.

    Trees of one form are equal but for what is in them.
    """
    if isinstance(tree, tuple | list):
        return type(tree), tuple([flattened(each, found) for each in tree])
    if type(tree) is dict:
        return tuple([(key, flattened(each, found)) for key, each in tree.items()]) if tree else ()
    found.append(tree)
    return None


def taken(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """What a call is given, and its form."""
    for each in args:
        if isinstance(each, tuple | list | dict):
            break
    else:
        if not kwargs:
            return [*args], len(args)
    found: list[Any] = []
    return found, (flattened(args, found), flattened(kwargs, found))


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a tree with function(leaf) in the place of each leaf; a named tuple stays one."""
    if isinstance(tree, tuple):
        parts = [mapped(function, each) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [mapped(function, each) for each in tree]
    if type(tree) is dict:
        return {key: mapped(function, each) for key, each in tree.items()}
    return function(tree)
