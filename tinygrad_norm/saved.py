"""What an op keeps for the way back: kept with a snapshot, checked against it, and given back where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import integrity
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import is_constant, launch
from tinygrad_norm.operands import Edge, wrap

if TYPE_CHECKING:
    from tinygrad_norm.tape import Op

_OWN_OUTPUT: Any = object()
"""In place of the op itself, which would be a reference cycle."""


class Saved(NamedTuple):
    """An array that an op saved, where its gradient goes, and what it held then."""

    array: Array
    edge: Edge | None
    snapshot: integrity.Snapshot


def keep(op: Op, arrays: list[Any], borrowed: list[Array], result: Any, output: Array) -> tuple[Any, ...]:
    """What `op` saved, in the form that it is kept in: an input, the output or another array, or what is no array."""
    values = (*arrays, *op._saved) if op.saves_inputs else op._saved
    if not values:
        return ()
    edges = dict(zip(map(id, arrays), op.edges, strict=True))
    kept: list[Any] = []
    for value in values:
        if isinstance(value, np.ndarray) or value is result:
            array, edge = (output, _OWN_OUTPUT) if value is result else (value, edges.get(id(value)))
            if borrowed and any(array is given for given in borrowed) and not is_constant(array):  # changed unseen
                array = launch(array.copy, "K")  # in the order of memory that kernels like
            kept.append(Saved(array, edge, integrity.snapshot(array)))
        else:
            kept.append(value)
    return tuple(kept)


def arrays_of(op: Op) -> tuple[Any, ...]:
    """What `op` saved, as plain arrays.

    Raises:
        RuntimeError: one of them was changed since.
    """
    arrays = []
    for value in op._saved:
        if type(value) is Saved:
            if not integrity.unchanged(value.array, value.snapshot):
                raise _changed(op, value)
            value = value.array
        arrays.append(value)
    return tuple(arrays)


def tensors_of(op: Op, attached: bool) -> tuple[Any, ...]:
    """What `op` saved, as tensors; `attached` where they came from, if the way back is to be recorded.

    Raises:
        RuntimeError: one of them was changed since.
    """
    tensors = []
    for value, array in zip(op._saved, arrays_of(op), strict=True):
        if type(value) is Saved:
            edge = value.edge if attached else None
            array = wrap(array, op if edge is _OWN_OUTPUT else edge)
        tensors.append(array)
    return tuple(tensors)


def _changed(op: Op, value: Saved) -> RuntimeError:
    return RuntimeError(
        f"{op.name}: an array of shape {value.array.shape} that it saved for backward was changed in place after "
        "the forward pass, so its gradient would be wrong; change a copy, or change it after backward()"
    )


def for_twin(op: Op) -> tuple[Any, ...]:
    """What `op` saved, for a copy of it: the output is still that of the op on the tape."""
    return tuple(
        [
            value._replace(edge=op) if type(value) is Saved and value.edge is _OWN_OUTPUT else value
            for value in op._saved
        ]
    )


def bytes_of(op: Op) -> int:
    """Bytes that `op` keeps; memory that two saved arrays share is counted once."""
    total = reached = 0
    for begin, end in sorted(byte_bounds(value.array) for value in op._saved if type(value) is Saved):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total
