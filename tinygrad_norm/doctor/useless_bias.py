"""Biases that do nothing, because a norm takes them out again with the mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_norm.doctor.norm_units import norms, norms_held, rows, unit_of
from tinygrad_norm.dtypes import Array
from tinygrad_norm.modes import Hook, enable_grad, hooks
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.normalization import Normalization, RunningNorm
from tinygrad_norm.nn.training_mode import in_training
from tinygrad_norm.operands import Edge
from tinygrad_norm.ops.convolution import Conv2D
from tinygrad_norm.ops.elementwise import Add
from tinygrad_norm.ops.matmul import Linear
from tinygrad_norm.ops.pooling import AvgPool2D, MaxPool2D
from tinygrad_norm.ops.shape import Reshape
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor


def useless_biases(model: Module, inputs: Tensor, frozen: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return (path of a norm, path of a parameter) for each bias that norms take out again, told by the tape's edges.

    The output of the op that adds such a bias goes, perhaps pooled or reshaped, to a norm and nowhere else, and the
    bias adds the same number to all values that share a mean there. It takes one call in training, but for the parts
    at the paths in `frozen`; modes are afterwards as before.
    """
    edges, layers = _Edges(), norms(model)
    with in_training(model, frozen), norms_held(model), enable_grad(), hooks(edges), ExitStack() as stack:
        for _, layer in layers:
            stack.enter_context(layer.register_forward_pre_hook(edges.enter))
            stack.enter_context(layer.register_forward_hook(edges.leave))
        model(inputs)
    paths: dict[Normalization, str] = {layer: path for path, layer in layers}
    names: dict[Edge, str] = {parameter: path for path, parameter in model.named_parameters()}
    found = ((paths[layer], names[bias]) for layer, bias in edges.undone() if bias in names)
    return list(dict.fromkeys(found))


class _Edges(Hook):
    """Which ops take what, and which biases go into a norm."""

    def __init__(self) -> None:
        self.norm: Normalization | None = None  # the one that is running
        self.takers: dict[Edge, list[tuple[Op, Normalization | None]]] = {}  # each with the norm it is part of
        self.candidates: list[tuple[Normalization, list[Op], Edge]] = []  # each with the ops between

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        if output.creator is op:  # it was recorded
            for edge in op.edges:
                if edge is not None:
                    self.takers.setdefault(edge, []).append((op, self.norm))

    def enter(self, norm: Any, args: tuple[Any, ...]) -> None:
        """Note that a norm begins, and the biases that its mean takes out of what it is given."""
        self.norm, maker = norm, getattr(args[0], "creator", None)
        unit = unit_of(norm)
        keeps_mean = unit is None or not unit.centred
        keeps_mean |= isinstance(norm, RunningNorm) and not norm.uses_batch_statistics()
        if keeps_mean or not isinstance(maker, Op):
            return
        path = _path(maker)
        for bias, shape in _added(path[0]):
            numbers = np.broadcast_to(np.arange(1.0, bias.size + 1).reshape(shape), path[0].shape)
            values = rows(norm, _passed(numbers, path[1:]))
            if (values == values[:, :1]).all():  # all with one mean get the same number
                self.candidates.append((norm, path, bias))

    def leave(self, norm: Any, args: tuple[Any, ...], output: Any) -> None:
        """Note that it ends."""
        self.norm = None

    def undone(self) -> list[tuple[Normalization, Edge]]:
        """Return each norm with a bias that goes into norms and nowhere else."""
        ops = {path[0] for norm, path, _ in self.candidates if self._leads_nowhere_else(path, norm)}
        return [(norm, bias) for norm, _, bias in self.candidates if all(op in ops for op, _ in self.takers[bias])]

    def _leads_nowhere_else(self, path: list[Op], norm: Normalization) -> bool:
        along = all(taker is after for op, after in pairwise(path) for taker, _ in self.takers[op])
        return along and all(within is norm for _, within in self.takers[path[-1]])


def _path(op: Op) -> list[Op]:
    """Return the ops that end in this one, from the first that may do more than pass a bias on."""
    path = [op]
    while isinstance(path[0], Reshape | MaxPool2D | AvgPool2D) and isinstance(path[0].edges[0], Op):
        path.insert(0, path[0].edges[0])
    return path


def _passed(numbers: Array, ops: list[Op]) -> Array:
    """Return what these ops make of numbers that are added to their input; NaN where that depends on the input."""
    for op in ops:
        if not isinstance(op, Reshape) and (numbers != numbers[..., :1, :1]).any():
            return np.full(ops[-1].shape, np.nan)
        numbers = type(op)()(numbers, **op.params).raw
    return numbers


def _added(op: Op) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Return the leaves that an op adds to its output, each with the shape in which it meets it."""
    if isinstance(op, Linear | Conv2D):
        bias = op.edges[2]
        if isinstance(bias, Tensor):
            yield bias, (-1,) if isinstance(op, Linear) else (-1, 1, 1)
    elif isinstance(op, Add):
        yield from ((edge, edge.shape) for edge in op.edges if isinstance(edge, Tensor))
