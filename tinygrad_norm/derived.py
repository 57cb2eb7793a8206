"""A derived norm: called as a fused op, with the formulas of what it computes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.derivation.adjoints import GRADIENT, Way, way_back
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import Expression, symbol
from tinygrad_norm.derivation.rules import ZERO, plus
from tinygrad_norm.derivation.trace import Traced, trace
from tinygrad_norm.derivation.writing import Formula, derivation, formula
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.tape import FusedOp
from tinygrad_norm.tensor import Tensor


def derive(definition: Callable[..., Any]) -> DerivedNorm:
    """Derive a norm from its definition, as a decorator or a function.

    Args:
        definition: `definition(x, *parameters, *, axes, eps)`, in the names of the Array API
            (`xp = x.__array_namespace__()`): means, sums and extremes over `axes`, or over several sets of axes with
            names of their own, with `keepdims=True`, and pointwise functions of them. It returns y, of x's shape, or
            (y, *statistics).

    Raises:
        ValueError: it is no such function, branches on values, or uses what has no derivative; the line is named.
    """
    return DerivedNorm(definition)


class DerivedNorm:
    """A norm, its gradient and their formulas, from a definition; called as the definition is."""

    def __init__(self, definition: Callable[..., Any]) -> None:
        self.definition = definition
        self.traced: Traced = trace(definition)
        self.way: Way = way_back(self.traced.y, (self.traced.x, *self.traced.parameters))
        self._op = type(self.traced.name, (DerivedOp,), {"norm": self, "__doc__": definition.__doc__})
        self._signature = inspect.signature(definition)
        self.__name__ = self.traced.name
        self.__doc__ = definition.__doc__

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Normalize: call the definition's op with tensors or arrays, and with options as the definition names them.

        Returns:
            y, or, if the definition returns statistics beside it, (y, *statistics), which are off the tape.
        """
        bound = self._signature.bind(*inputs, **options)
        bound.apply_defaults()
        ndim = len(ops.reduction.shape_of(bound.args[0]))
        given = {
            name: _axes(name, value, ndim) if name in self.axes else float(value)
            for name, value in bound.kwargs.items()
        }
        op = self._op()
        y = op(*bound.args, **given)
        return (y, *map(Tensor.wrap, op.statistics)) if self.traced.statistics else y

    @functools.cached_property
    def axes(self) -> frozenset[str]:
        """The names of the options that are axes."""
        return frozenset(name for statistic in self.way.statistics for name in statistic.value)

    @property
    def formula(self) -> Formula:
        """The statistics and y; text by `str`, LaTeX by `.latex`."""
        return formula(self.traced, self.way.statistics)

    @property
    def derivation(self) -> Formula:
        """Every path by which x and the parameters act on y, term by term."""
        return derivation(self.traced, self.way)

    @functools.cached_property
    def gradients(self) -> list[Expression]:
        """The gradient of x and of each parameter (0 where none comes), before what was broadcast is summed."""
        paths = self.way.paths.values()
        return [functools.reduce(plus, [path.gradient for path in each]) if each else ZERO for each in paths]


class DerivedOp(FusedOp):
    """One call of a derived norm."""

    norm: DerivedNorm
    statistics: list[Array]
    """What the definition returned beside y."""

    def composed(self, x: Any, *parameters: Any, **options: Any) -> Tensor:
        found = self.norm.definition(ops.astype(x, np.float64, copy=False), *parameters, **options)
        y, *statistics = found if isinstance(found, tuple) else (found,)
        self.statistics = [each.raw for each in statistics]
        return ops.astype(y, x.dtype, copy=False)

    def forward(self, x: Array, *parameters: Array, **options: Any) -> Array:
        traced = self.norm.traced
        y, *self.statistics = evaluate([traced.y, *traced.statistics], self._known(x, parameters), options)
        return np.broadcast_to(y, x.shape).astype(x.dtype)

    def gradient(self, grad: Array, x: Array, *parameters: Array) -> tuple[Array | None, ...]:
        known = self._known(x, parameters)
        known[GRADIENT] = grad.astype(np.float64)
        for back, of in self.norm.way.adjoints.items():
            (known[back],) = evaluate([of], known, self.params)
        found = evaluate(self.norm.gradients, known, self.params)
        return tuple(
            None if of is ZERO else _sum_to(each, given)
            for of, each, given in zip(self.norm.gradients, found, (x, *parameters), strict=True)
        )

    def _known(self, x: Array, parameters: tuple[Array, ...]) -> dict[Expression, Any]:
        traced = self.norm.traced
        given = zip((traced.x, *traced.parameters), (x, *parameters), strict=True)
        known = {name: np.asarray(array, np.float64) for name, array in given}
        return known | {
            symbol("option", name): np.float64(value)
            for name, value in self.params.items()
            if name not in self.norm.axes
        }


def _axes(name: str, value: Any, ndim: int) -> Shape:
    return ops.reduction.checked_axes(name, value, ndim)


def _sum_to(gradient: Array, like: Array) -> Array:
    """A gradient in the shape and dtype of an input that was broadcast."""
    added = gradient.ndim - like.ndim
    stretched = tuple(i for i, n in enumerate(like.shape, added) if n == 1 and gradient.shape[i] > 1)
    summed = gradient.sum(axis=(*range(added), *stretched), keepdims=True) if added or stretched else gradient
    return np.broadcast_to(summed.reshape(summed.shape[added:]), like.shape).astype(like.dtype)
