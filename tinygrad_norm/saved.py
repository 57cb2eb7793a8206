"""What an op keeps for the way back: kept with a snapshot, checked against it, and given back where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_norm import integrity
from tinygrad_norm.dtypes import Array
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
    kept: list[Any] = []
    for value in (*arrays, *op._saved) if op.saves_inputs else op._saved:
        if isinstance(value, np.ndarray) or value is result:
            array, edge = (output, _OWN_OUTPUT) if value is result else (value, _edge_of_input(op, arrays, value))
            if borrowed and any(array is given for given in borrowed):  # who may change it and tell nobody
                array = array.copy("K")  # in the order of memory that kernels like
            kept.append(Saved(array, edge, integrity.snapshot(array)))
        else:
            kept.append(value)
    return tuple(kept)


def _edge_of_input(op: Op, arrays: list[Any], value: Array) -> Edge | None:
    """Where the gradient of a saved array goes, if it is that of an input."""
    for array, edge in zip(arrays, op.edges, strict=True):
        if array is value:
            return edge
    return None


def arrays_of(op: Op) -> tuple[Any, ...]:
    """What `op` saved, as plain arrays.

    Raises:
        RuntimeError: one of them was changed since.
    """
    return tuple([_intact(op, value) if type(value) is Saved else value for value in op._saved])


def tensors_of(op: Op, attached: bool) -> tuple[Any, ...]:
    """What `op` saved, as tensors; `attached` where they came from, if the way back is to be recorded.

    Raises:
        RuntimeError: one of them was changed since.
    """
    tensors = []
    for value in op._saved:
        if type(value) is Saved:
            array, edge = _intact(op, value), value.edge if attached else None
            value = wrap(array, op if edge is _OWN_OUTPUT else edge)
        tensors.append(value)
    return tuple(tensors)


def _intact(op: Op, value: Saved) -> Array:
    if not integrity.unchanged(value.array, value.snapshot):
        raise RuntimeError(
            f"{op.name}: an array of shape {value.array.shape} that it saved for backward was changed in place after "
            "the forward pass, so its gradient would be wrong; change a copy, or change it after backward()"
        )
    return value.array


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
    spans = {byte_bounds(value.array) for value in op._saved if type(value) is Saved}
    return sum(end - begin for begin, end in spans)
