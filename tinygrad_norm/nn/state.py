"""Loading a state dict: compare everything first, then take over all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_norm.nn.spelling import did_you_mean

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` did not find, and what it had no place for; both empty when strict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_into(tensors: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool, owner: str) -> IncompatibleKeys:
    """Fill each tensor with a copy of the array given under its key.

    Raises:
        TypeError: what is given is not a mapping.
        ValueError: lists every mismatch; no tensor has changed.
    """
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{owner}.load_state_dict: should be given a mapping of names to arrays, got {type(given).__name__}"
        )
    missing = [key for key in tensors if key not in given]
    unexpected = [key for key in given if key not in tensors]
    problems: list[str] = []
    if strict:
        problems += [f"missing key {key}, shape {tensors[key].shape}" for key in missing]
        problems += [f"unexpected key {key}{did_you_mean(str(key), missing or tensors)}" for key in unexpected]
    loaded: list[tuple[Tensor, np.ndarray[Any, Any]]] = []
    for key, tensor in tensors.items():
        if key in given:
            array = np.asarray(getattr(given[key], "raw", given[key]))
            if array.shape != tensor.shape:
                problems.append(f"{key} has shape {tensor.shape}, got {array.shape}")
            elif array.dtype.kind != tensor.dtype.kind:
                problems.append(f"{key} has dtype {tensor.dtype}, got {array.dtype}")
            else:
                loaded.append((tensor, np.array(array, dtype=tensor.dtype, order="C")))
    if problems:
        raise ValueError(f"{owner}.load_state_dict: nothing was loaded:" + "".join(f"\n  {line}" for line in problems))
    for tensor, array in loaded:
        tensor.raw = array
    return IncompatibleKeys(missing, unexpected)
