"""A nested state (dicts, lists, numbers, text, arrays) as JSON and a flat mapping of arrays, and back, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.schema import ANYTHING, MAX_DEPTH, check_form, shorten

# What JSON has no word for becomes an object with one of these as its only name.
ARRAY, SCALAR, FLOAT, TUPLE, DICT = "$array", "$scalar", "$float", "$tuple", "$dict"


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
        ValueError: `tree` is nothing that `split_state` makes, or an array that it refers to is missing.
    """
    if isinstance(tree, list):
        return [join_state(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1:
        (kind, value), *_ = tree.items()
        if kind in (ARRAY, SCALAR):
            return _array(value, arrays, scalar=kind == SCALAR)
        if kind == FLOAT:
            if value not in ("nan", "inf", "-inf"):
                raise ValueError(f"a number is nan, inf or -inf, got {shorten(value)}")
            return float(value)
        if kind == TUPLE:
            check_form(value, [ANYTHING], "a tuple")
            return tuple(join_state(item, arrays) for item in value)
        if kind == DICT:
            check_form(value, [[ANYTHING]], "a dict")
            return dict(_pair(entry, arrays) for entry in value)
    return {key: join_state(value, arrays) for key, value in tree.items()}


def _array(name: Any, arrays: Mapping[str, Array], scalar: bool) -> Any:
    if not isinstance(name, str) or name not in arrays:
        raise ValueError(f"the array {shorten(name)} is missing")
    array = arrays[name]
    if scalar and array.ndim:
        raise ValueError(f"the array {shorten(name)} is one number, got shape {array.shape}")
    return array[()] if scalar else array


def _pair(entry: list[Any], arrays: Mapping[str, Array]) -> tuple[Any, Any]:
    """Return the key and the value of an entry of a dict."""
    key, *values = (join_state(item, arrays) for item in entry) if entry else (None,)
    try:
        hash(key)
    except TypeError:
        raise ValueError(f"{shorten(key)} cannot be a key of a dict") from None
    if len(values) != 1:
        raise ValueError(f"an entry of a dict is a key and a value, got {shorten(entry)}")
    return key, values[0]


def _split(value: Any, path: str, arrays: dict[str, Array], depth: int) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {FLOAT: repr(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return {ARRAY if isinstance(value, np.ndarray) else SCALAR: _keep(np.asarray(value), path, arrays)}
    if depth > MAX_DEPTH:
        raise ValueError(f"{shorten(path)} lies more than {MAX_DEPTH} deep in a state; does something contain itself?")
    if isinstance(value, (list, tuple)):
        items = [_split(item, f"{path}.{index}", arrays, depth + 1) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {TUPLE: items}
    if isinstance(value, dict):
        named = [(key, _split(item, f"{path}.{key}", arrays, depth + 1)) for key, item in value.items()]
        if all(type(key) is str and not key.startswith("$") for key in value):
            return dict(named)
        return {DICT: [[_split(key, path, arrays, depth + 1), item] for key, item in named]}
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
