"""A nested state (dicts, lists, numbers, text, arrays) as JSON and a flat mapping of arrays, and back, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# What JSON has no word for becomes an object with one of these as its only name.
ARRAY, SCALAR, FLOAT, TUPLE, DICT = "$array", "$scalar", "$float", "$tuple", "$dict"


def split_state(state: Any, name: str = "state") -> tuple[Any, dict[str, Array]]:
    """Take the arrays out of `state`: JSON with references to them, and the arrays by their dotted path below `name`.

    Raises:
        TypeError: something in `state` is neither a dict, list, tuple, number, text, None nor an array.
    """
    arrays: dict[str, Array] = {}
    return _split(state, name, arrays), arrays


def join_state(tree: Any, arrays: Mapping[str, Array]) -> Any:
    """Put the arrays back: what `split_state` was given."""
    if isinstance(tree, list):
        return [join_state(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1:
        (kind, value), *_ = tree.items()
        if kind == ARRAY:
            return arrays[value]
        if kind == SCALAR:
            return arrays[value][()]
        if kind == FLOAT:
            return float(value)
        if kind == TUPLE:
            return tuple(join_state(item, arrays) for item in value)
        if kind == DICT:
            return {join_state(key, arrays): join_state(item, arrays) for key, item in value}
    return {key: join_state(value, arrays) for key, value in tree.items()}


def _split(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {FLOAT: repr(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return {ARRAY if isinstance(value, np.ndarray) else SCALAR: _keep(np.asarray(value), path, arrays)}
    if isinstance(value, (list, tuple)):
        items = [_split(item, f"{path}.{index}", arrays) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {TUPLE: items}
    if isinstance(value, dict):
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _split(item, f"{path}.{key}", arrays) for key, item in value.items()}
        return {
            DICT: [[_split(key, path, arrays), _split(item, f"{path}.{key}", arrays)] for key, item in value.items()]
        }
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
