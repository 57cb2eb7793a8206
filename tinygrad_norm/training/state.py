"""A nested state (dicts, lists, numbers, text, arrays) as JSON and a flat mapping of arrays, and back, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.schema import MAX_DEPTH, shorten


def split_state(state: Any, name: str = "state") -> tuple[Any, dict[str, Array]]:
    """Take the arrays out of `state`: JSON with references to them, and the arrays by their dotted path below `name`.

    Raises:
        TypeError: something in `state` is neither a dict, list, tuple, number, text, None nor an array.
        ValueError: it is nested too deep to be read again, as what contains itself is.
    """
    arrays: dict[str, Array] = {}
    return _split(state, name, arrays, 0), arrays


def join_state(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """Put the arrays back: what `split_state` was given.

    Raises:
        KeyError, TypeError, ValueError: `tree` is nothing that `split_state` makes, or lacks one of its arrays.
    """
    if isinstance(tree, list):
        return [join_state(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    match [*tree.items()]:  # what JSON has no word for is an object with one of these as its only name
        case [("$array", name)]:
            return arrays[name]
        case [("$scalar", name)]:
            return arrays[name].reshape(())[()]
        case [("$float", text)]:
            return float(text)
        case [("$tuple", items)]:
            return tuple(join_state([*items], arrays))
        case [("$dict", entries)]:
            return dict(join_state([*entries], arrays))
    return {key: join_state(value, arrays) for key, value in tree.items()}


def _split(value: Any, path: str, arrays: dict[str, Array], depth: int) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return {"$array" if isinstance(value, np.ndarray) else "$scalar": _keep(np.asarray(value), path, arrays)}
    if depth > MAX_DEPTH:
        raise ValueError(f"{shorten(path)} lies more than {MAX_DEPTH} deep in a state; does something contain itself?")
    if isinstance(value, (list, tuple)):
        items = [_split(item, f"{path}.{index}", arrays, depth + 1) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        named = [(key, _split(item, f"{path}.{key}", arrays, depth + 1)) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(named)
        return {"$dict": [[_split(key, path, arrays, depth + 1), item] for key, item in named]}
    raise TypeError(
        f"{path} is a {type(value).__name__}; a state holds dicts, lists, tuples, numbers, text, None and NumPy arrays"
    )


def _keep(array: Array, path: str, arrays: dict[str, Array]) -> str:
    """Store `array` under its path, or, where a dot inside a name made two paths equal, under the next free one."""
    name, number = path, 1
    while name in arrays:
        number += 1
        name = f"{path}#{number}"
    arrays[name] = array
    return name
