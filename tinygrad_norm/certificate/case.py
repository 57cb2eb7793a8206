"""A case: one function of tensors with its inputs, such as a layer in training, without a bias."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import Generator

from tinygrad_norm import modes, random, tape
from tinygrad_norm.certificate.extended_precision import ExactNorm
from tinygrad_norm.certificate.memory_layouts import Rearrangement
from tinygrad_norm.derived_op import DerivedOp
from tinygrad_norm.dtypes import Array
from tinygrad_norm.nn.module import Module
from tinygrad_norm.ops.elementwise import StopGradient
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.testing import Function


@dataclass(frozen=True)
class Case:
    """What is called with what.

    Args:
        name: what tells it from the others.
        function: gives one tensor, the same for the same inputs.
        inputs: float64 arrays, which are differentiated, and constants of any other kind.
        mutated: whether its gradient is also made wrong on purpose.
        larger: whether it is too large for finite differences: a call or two for each element.
        constants: the names of inputs that have no gradient, as the definition of a derived norm says.
        exact: the function in extended precision, of the same inputs; that of a derived norm is known.
    """

    name: str
    function: Function
    inputs: tuple[Any, ...]
    mutated: bool = True
    larger: bool = False
    constants: tuple[str, ...] = ()
    exact: ExactNorm | None = None

    def leaves(self, dtype: str = "float64", layout: Rearrangement = np.array) -> list[Any]:
        """Return the inputs, those that are differentiated as new tensors of that dtype, in that memory layout."""
        return [
            Tensor.wrap(layout(given.astype(dtype))).requires_grad_() if is_differentiated(given) else given
            for given in self.inputs
        ]

    def call(self, *inputs: Any) -> Tensor:
        """Return the function's result; what is random in it is drawn from one seed.

        What a derived norm takes for a constant is held: for other inputs than the case's it is what it is for these,
        so that differences do not see what no derivative does.

        Raises:
            ResultError: it is no tensor.
        """
        if self.held and self._are_others(inputs):
            with modes.composed(), modes.hooks(_Holding(self.held)):
                output = self._run(*inputs)
        else:
            output = self._run(*inputs)
        if not isinstance(output, Tensor):
            raise ResultError(type(output).__name__)
        return output

    @cached_property
    def held(self) -> list[Array]:
        """What `stop_gradient` returns in turn, if a derived norm runs that has one; else nothing."""
        seen, holding = _Seen(), _Holding()
        with modes.hooks(seen):
            self._run(*self.leaves())
        if any(isinstance(op, DerivedOp) and op.norm.holds for op in seen.ops):
            with modes.composed(), modes.hooks(holding):
                self._run(*self.leaves())
        return holding.seen

    @cached_property
    def differs_by_design(self) -> str:
        """Why its gradient is not the derivative, if an op that it runs says so; else nothing."""
        kinds = [kind for kind in self.ops() if issubclass(kind, tape.FusedOp)]
        return next((kind.differs_by_design for kind in kinds if kind.differs_by_design), "")

    def _run(self, *inputs: Any) -> Any:
        random.manual_seed(0)
        return self.function(*inputs)

    def _are_others(self, inputs: Sequence[Any]) -> bool:
        """Whether these are not the case's inputs, in any dtype."""
        return not all(
            np.array_equal(getattr(one, "raw", one), other.astype(one.dtype))
            for one, other in zip(inputs, self.inputs, strict=True)
            if is_differentiated(other)
        )

    @property
    def size(self) -> str:
        """The shape of the first input."""
        return "×".join(map(str, np.shape(self.inputs[0]))) or "a number"

    def ops(self) -> list[type[tape.Op]]:
        """Return the classes of the ops that it runs and that pass on a gradient: the fused ones, else all."""
        seen = _Seen()
        with modes.hooks(seen):
            self.call(*self.leaves())
        kinds = list(dict.fromkeys(type(op) for op in seen.ops if any(op.needs_input_grad)))
        return [kind for kind in kinds if issubclass(kind, tape.FusedOp)] or kinds

    @property
    def is_fused(self) -> bool:
        """Whether a fused op runs, so that there is a composition to compare with."""
        return any(issubclass(kind, tape.FusedOp) for kind in self.ops())


class ResultError(ValueError):
    """A function returned something else than one tensor: the name of its type."""


class _Seen(modes.Hook):
    def __init__(self) -> None:
        self.ops: list[tape.Op] = []

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.ops.append(op)


class _Holding(modes.Hook):
    """Notes what `stop_gradient` returns, or has it return, in turn, what was noted before."""

    def __init__(self, before: Sequence[Array] = ()) -> None:
        self.seen: list[Array] = []
        self._before = iter(before)

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(op, StopGradient):
            output.raw = next(self._before, output.raw)
            self.seen.append(output.raw)


def is_differentiated(given: Any) -> bool:
    """Return whether an input of a case is one that gradients are asked of."""
    return isinstance(given, np.ndarray) and given.dtype == np.float64


def case_of_module(
    name: str, module: Module, inputs: Sequence[Any], rng: Generator, training: bool = True, mutated: bool = True
) -> Case:
    """Return a module as a function of its inputs and parameters, which get random values, as running statistics do."""
    module.astype("float64").train(training)
    paths = [path for path, _ in module.named_parameters()]
    values = [rng.normal(0.7, 0.6, parameter.shape) for parameter in module.parameters()]
    for path, buffer in module.named_buffers():
        if buffer.dtype.kind == "f":
            is_positive = path.endswith(("var", "square"))
            buffer.raw = rng.uniform(0.5, 2, buffer.shape) if is_positive else rng.normal(size=buffer.shape)
    buffers: list[tuple[Tensor, Array]] = []

    def function(*given: Any) -> Tensor:
        for buffer, raw in buffers:  # which the way back from an earlier call may have moved
            buffer.raw = raw
        buffers[:] = [(buffer, buffer.raw) for buffer in module.buffers()]
        with _filled(module, paths, given[len(inputs) :]):
            output: Tensor = module(*given[: len(inputs)])
        return output

    return Case(name, function, (*inputs, *values), mutated)


@contextmanager
def _filled(module: Module, paths: list[str], values: Sequence[Any]) -> Iterator[None]:
    """The module with these tensors in the place of its parameters; buffers that the call moves are moved back."""
    owners = [(vars(module.get_submodule(path.rpartition(".")[0])), path.rpartition(".")[2]) for path in paths]
    before = [attributes[name] for attributes, name in owners]
    buffers = [(buffer, buffer.raw) for buffer in module.buffers()]
    try:
        for (attributes, name), value in zip(owners, values, strict=True):
            attributes[name] = value
        yield
    finally:
        for (attributes, name), parameter in zip(owners, before, strict=True):
            attributes[name] = parameter
        for buffer, raw in buffers:
            buffer.raw = raw
