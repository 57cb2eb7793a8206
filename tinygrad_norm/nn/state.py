"""Loading a state dict: compare everything first, then take over all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_norm.checks import check_type, did_you_mean
from tinygrad_norm.dtypes import beyond, plain
from tinygrad_norm.output import printable

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it had no place for; both empty when strict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_into(tensors: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool, owner: str) -> IncompatibleKeys:
    """Fill each tensor with a copy of the array given under its key.

    A tensor of several keys needs one of them; where more are given, their arrays have to be equal.

    Raises:
        TypeError: what is given is not a mapping.
        ValueError: lists every mismatch; no tensor has changed.
    """
    check_type(f"{owner}.load_state_dict: the state", given, Mapping, "a dict of names and arrays")
    found = {id(tensors[key]) for key in given if key in tensors}
    missing = [key for key, tensor in tensors.items() if id(tensor) not in found]
    unexpected = [key for key in given if key not in tensors]
    problems: list[str] = []
    if strict:
        problems += [f"missing key {key}, shape {tensors[key].shape}" for key in missing]
        problems += [
            f"unexpected key {printable(key)}{did_you_mean(str(key), missing or tensors)}" for key in unexpected
        ]
    loaded: dict[int, tuple[str, Tensor, np.ndarray[Any, Any]]] = {}
    for key, tensor in tensors.items():
        if key in given:
            array = _unmasked(getattr(given[key], "raw", given[key]))
            if array.shape != tensor.shape:
                problems.append(f"{key} has shape {tensor.shape}, got {array.shape}")
            elif array.dtype.kind != tensor.dtype.kind:
                problems.append(f"{key} has dtype {tensor.dtype}, got {array.dtype}")
            elif lost := beyond(array, tensor.dtype):
                problems.append(f"{key} {lost}")
            else:
                fresh = np.array(array, dtype=tensor.dtype, order="C")
                other, _, before = loaded.setdefault(id(tensor), (key, tensor, fresh))
                if not np.array_equal(before, fresh, equal_nan=True):
                    problems.append(f"{other} and {key} are one tensor here, but the arrays given for them differ")
    if problems:
        raise ValueError(f"{owner}.load_state_dict: nothing was loaded:" + "".join(f"\n  {line}" for line in problems))
    for _, tensor, array in loaded.values():
        tensor.replace(array)
    return IncompatibleKeys(missing, unexpected)


def _unmasked(value: Any) -> np.ndarray[Any, Any]:
    """Return what is given for a tensor as an array; a mask would be lost."""
    return np.asarray(plain(value) if isinstance(value, np.ma.MaskedArray) else value)
