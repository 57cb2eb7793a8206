"""An op that runs while a plan is recorded: its launches are seen, or else it is one launch as a whole."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import launch
from tinygrad_norm.dtypes import Array
from tinygrad_norm.operands import is_tensor, wrap

if TYPE_CHECKING:
    from tinygrad_norm.tape import FusedOp, Op


def forward(op: Op, arrays: list[Any]) -> Any:
    """Run an op's forward, and return what it returns."""
    blank = _blank(op)

    def run(arrays: list[Any], params: dict[str, Any], held: dict[str, Array]) -> Any:
        before = vars(op).copy()
        try:
            return _to_arrays(_holding(op, held), arrays, params)
        finally:  # arrays that tell who reads them
            vars(op).update({name: before[name] for name in held})

    def again(arrays: list[Any], params: dict[str, Any], held: dict[str, Array]) -> Any:
        return _to_arrays(_holding(_with(blank, params), held), arrays, params)

    again.__name__ = type(op).__name__  # by which a plan shows it
    held = _held(op)
    compute = functools.partial(launch.computed, run, again, op=op, method="forward")
    result, _ = launch.prepared(compute, arrays, op.params, held)
    known = {id(each) for each in (*arrays, *op.params.values())}
    lengths = {length for each in arrays for length in getattr(each, "shape", ())}
    for value in op._saved:  # each replay would have what is no array as it is
        if not (value is None or isinstance(value, np.ndarray) or id(value) in known or _is_length(value, lengths)):
            launch.read(f"{op.name}, which saves {value!r},")
    return result


def gradient(op: FusedOp, *arrays: Any) -> tuple[Array | None, ...]:
    """Run the gradient of a fused op."""
    blank = _blank(op)

    def run(arrays: tuple[Any, ...], params: dict[str, Any], held: dict[str, Array]) -> Any:
        return _holding(copy.copy(op), held).gradient(*arrays), []

    def again(arrays: tuple[Any, ...], params: dict[str, Any], held: dict[str, Array]) -> Any:
        return _holding(_with(blank, params), held).gradient(*arrays), []

    again.__name__ = f"{type(op).__name__} backward"
    found: tuple[Array | None, ...]
    found, _ = launch.computed(run, again, arrays, op.params, _held(op), op=op, method="gradient")
    return found


def _to_arrays(op: Op, arrays: list[Any], params: dict[str, Any]) -> tuple[Any, list[Array]]:
    """Run forward; return its result and the arrays that it saved."""
    result = op.forward(*arrays, **params)
    if isinstance(result, np.generic):  # arithmetic makes a number of what has no axes
        number, result = result, np.asarray(result)
        op._saved = tuple([result if value is number else value for value in op._saved])
    return result, [value for value in op._saved if isinstance(value, np.ndarray)]


def _held(op: Op) -> dict[str, Array]:
    """The arrays that are its attributes, or are those of tensors that are."""
    values = {name: value.raw if is_tensor(value) else value for name, value in vars(op).items()}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _holding(op: Any, held: dict[str, Array]) -> Any:
    """This op, with other arrays in their place."""
    for name, array in held.items():
        setattr(op, name, wrap(array) if is_tensor(getattr(op, name)) else array)
    return op


def _blank(op: Op) -> Any:
    """A copy without a place on the tape."""
    blank = copy.copy(op)
    blank.edges, blank._saved = (), ()
    return blank


def _with(op: Any, params: dict[str, Any]) -> Any:
    """A copy with other parameters: a plan finds the arrays among them elsewhere each time."""
    twin = copy.copy(op)
    twin.params = params
    return twin


def _is_length(value: Any, lengths: set[int]) -> bool:
    if isinstance(value, tuple):
        return all(_is_length(each, lengths) for each in value)
    return type(value) is int and value in lengths
