"""A derived norm: called as a fused op, with the formulas of what it computes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_norm import definitions, kernels, ops
from tinygrad_norm.checks import Range, check_number
from tinygrad_norm.derivation.adjoints import GRADIENT, Way, gradients_of, way_back
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import Expression, symbol, walk
from tinygrad_norm.derivation.kernels import kernels_text
from tinygrad_norm.derivation.lowering import LoweringError, Sets, sets_of
from tinygrad_norm.derivation.rules import ZERO
from tinygrad_norm.derivation.trace import Traced, trace
from tinygrad_norm.derivation.writing import Formula, derivation, formula
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.operands import as_tensor
from tinygrad_norm.tape import FusedOp
from tinygrad_norm.tensor import Tensor

_ANY = Range("a number", lambda value: True)


def derive(definition: Callable[..., Any]) -> DerivedNorm:
    """Derive a norm from its definition, as a decorator or a function.

    Args:
        definition: `definition(x, *parameters, *, axes, eps)`, in the names of the Array API
            (`xp = x.__array_namespace__()`): means, sums and extremes over `axes`, or over several sets of axes with
            names of their own, with `keepdims=True`, and pointwise functions of them. It returns y, of x's shape, or
            (y, *statistics). Over several sets together, a mean goes with axis=(*batch, *pixels).

    Raises:
        ValueError: it is no such function, branches on values, or uses what has no derivative; the line is named.
    """
    return definition if isinstance(definition, DerivedNorm) else DerivedNorm(definition)


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

    def __call__(self, *inputs: Any, view: Shape | None = None, **options: Any) -> Any:
        """Normalize: call the definition's op with tensors or arrays, and with options as the definition names them.

        Args:
            inputs: x, and parameters that broadcast against it.
            view: a shape in which x is normalized, as for groups of channels; parameters and axes are those of the
                view, and y has the shape of x.
            options: axes, and numbers such as eps.

        Returns:
            y, or, if the definition returns statistics beside it, (y, *statistics), which are off the tape.

        Raises:
            TypeError, ValueError: an argument is missing, unknown, or not what it should be.
        """
        bound = self._bound(inputs, options)
        x = bound.args[0] if view is None else ops.reshape(bound.args[0], view)
        op = self._op()
        y = op(x, *self._parameters(x, bound), **self._options(x, bound))
        y = y if view is None else ops.reshape(y, bound.args[0].shape)
        return (y, *map(Tensor.wrap, op.statistics)) if self.traced.statistics else y

    def _bound(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> inspect.BoundArguments:
        """The arguments by name, the inputs as arrays or tensors."""
        try:
            bound = self._signature.bind(*inputs, **options)
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}; it is {self.__name__}{self._signature}") from None
        bound.apply_defaults()
        for name in [*self._signature.parameters][: len(bound.args)]:
            bound.arguments[name] = self._operand(name, bound.arguments[name], bound.args[0])
        if bound.args[0].dtype.kind != "f":
            raise TypeError(f"{self.__name__}: x is of floats, got {bound.args[0].dtype}")
        return bound

    def _parameters(self, x: Any, bound: inspect.BoundArguments) -> Iterator[Any]:
        """The parameters, which broadcast against x."""
        for name, each in zip([*self._signature.parameters][1:], bound.args[1:], strict=False):
            behind = x.shape[x.ndim - each.ndim :]
            if each.ndim > x.ndim or any(n not in (1, m) for n, m in zip(each.shape, behind, strict=True)):
                raise ValueError(f"{self.__name__}: {name} broadcasts against x, {x.shape}, got shape {each.shape}")
            yield ops.broadcast_to(each, x.shape) if name in self._spread and each.shape != x.shape else each

    def _options(self, x: Any, bound: inspect.BoundArguments) -> dict[str, Any]:
        """Axes of x, and numbers."""
        given: dict[str, Any] = {
            name: ops.reduction.checked_axes(f"{self.__name__}: {name}", value, x.ndim)
            if name in self.axes
            else check_number(f"{self.__name__}: {name}", value, _ANY)
            for name, value in bound.kwargs.items()
        }
        sets = {name: value for name, value in given.items() if name in self.axes}
        axes = [axis for own in sets.values() for axis in own]
        if len(axes) > len({*axes}):
            told = ", ".join(f"{name}={value}" for name, value in sets.items())
            raise ValueError(f"{self.__name__}: sets of axes have none in common, got {told}")
        return given

    def _operand(self, name: str, value: Any, x: Any) -> Any:
        """An array or a tensor as it is, and a number as one of the dtype of x."""
        if isinstance(value, np.ndarray | Tensor):
            return value
        if isinstance(value, Real):
            return np.asarray(value, getattr(x, "dtype", None))
        if isinstance(value, list | tuple):
            return as_tensor(value)
        got = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{self.__name__}: {name} is a tensor, an array or a number, got {got}")

    def __repr__(self) -> str:
        return f"{self.__name__}{self._signature}\n{self.formula}"

    @functools.cached_property
    def axes(self) -> frozenset[str]:
        """The names of the options that are axes."""
        return frozenset(name for statistic in self.way.statistics for name in statistic.value)

    @functools.cached_property
    def sets(self) -> Sets:
        """The options that are axes, as the kernels take them."""
        return sets_of(self.way.statistics)

    @functools.cached_property
    def _spread(self) -> set[str]:
        """The parameters that are reduced by themselves: each value of x has one, as in the count of a mask."""
        alone = [each.inputs[0] for each in self.way.statistics if self.traced.x not in {*walk(each)}]
        return {str(node.value) for each in alone for node in walk(each) if node.op == "parameter"}

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
        """The gradient of x and of each parameter, see `gradients_of`."""
        return [*gradients_of(self.way).values()]

    @property
    def source(self) -> str:
        """The kernels, as a module of Python that Numba compiles; "" where the norm has none."""
        count = len(self.traced.parameters)
        return self.kernels_text(tuple(i for i in range(count) if self.gradients[i + 1] is not ZERO))

    @functools.cache  # noqa: B019 (a norm lives as long as its definition)
    def kernels_text(self, wanted: tuple[int, ...]) -> str:
        """The kernels with the gradients of these parameters; "" where the norm has none."""
        names = ["x", *(str(each.value) for each in self.traced.parameters)]
        gradients = {names[i]: self.gradients[i] for i in (0, *(i + 1 for i in wanted))}
        try:
            return kernels_text(self.traced, self.way, gradients)
        except LoweringError:
            return ""


class DerivedOp(FusedOp):
    """One call of a derived norm: by its kernels, or, where it has none, in NumPy and in float64."""

    norm: DerivedNorm
    statistics: list[Array]
    """What the definition returned beside y."""

    def composed(self, x: Any, *parameters: Any, **options: Any) -> Tensor:
        found = self.norm.definition(ops.astype(x, np.float64, copy=False), *parameters, **options)
        y, *statistics = found if isinstance(found, tuple) else (found,)
        self.statistics = [each.raw for each in statistics]
        return ops.astype(y, x.dtype, copy=False)

    def forward(self, x: Array, *parameters: Array, **options: Any) -> Array:
        norm, call = self.norm, self._call(x, parameters)
        if call is None:
            output, *self.statistics = self._evaluate(x, parameters)
            return output
        count = len(norm.way.statistics)
        y, *found = self._kernels.forward(call, (), count, lambda: self._evaluate(x, parameters, norm.way.statistics))
        found = [self._own(*each) for each in zip(norm.way.statistics, found, strict=True)]
        given = zip((*norm.traced.parameters, *norm.way.statistics), (*parameters, *found), strict=True)
        known = {norm.traced.x: x, **self._options, **dict(given)}
        self.statistics = [np.array(each) for each in evaluate(norm.traced.statistics, known, self.params)]
        self.save(*found)
        normalized: Array = y
        return normalized

    def gradient(self, grad: Array, x: Array, *kept: Array) -> tuple[Array | None, ...]:
        count = len(self.norm.traced.parameters)
        parameters, statistics = kept[:count], kept[count:]
        call = self._call(x, parameters)
        if call is None:
            return self._evaluate_gradient(grad, x, parameters)
        wanted = self._wanted(x, parameters)

        def otherwise() -> tuple[Array | None, ...]:
            dx, *others = self._evaluate_gradient(grad, x, parameters)
            return dx, *(others[i] for i in wanted)

        dx, *found = self._kernels.gradient(call, grad, statistics, wanted, otherwise)
        gradients = dict(zip(wanted, found, strict=True))
        shaped = (gradients.get(i) for i in range(count))
        return dx, *(None if d is None else d.reshape(p.shape) for d, p in zip(shaped, parameters, strict=True))

    # By kernels

    @property
    def _kernels(self) -> Any:
        from tinygrad_norm.kernels.cpu import derived  # which takes Numba, and its time

        return derived

    def _wanted(self, x: Array, parameters: Sequence[Array]) -> tuple[int, ...]:
        """The parameters whose gradients kernels compute: any that has one, but for one of x's size that wants none."""
        needed = self.needs_input_grad[1:]
        return tuple(
            i
            for i, (each, need, back) in enumerate(zip(parameters, needed, self.norm.gradients[1:], strict=True))
            if back is not ZERO and (need or each.shape != x.shape)
        )

    def _call(self, x: Array, parameters: Sequence[Array]) -> Any:
        """The call of the norm's kernels; None where it has none for these arrays."""
        parameters = [each.astype(x.dtype) if each.dtype.kind in "biu" else each for each in parameters]
        fits = x.size and all(each.dtype == x.dtype and each.ndim <= x.ndim for each in parameters)
        if not fits or kernels.of(x) is definitions:
            return None
        text = self.norm.kernels_text(self._wanted(x, parameters))
        if not text:
            return None
        from tinygrad_norm.kernels.cpu.modules import module_of

        rows = {axis for name in self.norm.sets.rows for axis in self.params[name]}
        others = tuple([self.params[name] for name in self.norm.sets.others])
        varying = {axis % x.ndim for each in parameters for axis in range(-each.ndim, 0) if each.shape[axis] > 1}
        if others and not rows.isdisjoint(varying):  # where there are other sets, a parameter is a column's constant
            return None
        return self._kernels.call_of(
            module_of(self.norm.__name__, text),
            x,
            [each.reshape((1,) * (x.ndim - each.ndim) + each.shape) for each in parameters],
            tuple(sorted(rows)),
            tuple(float(value) for value in self._options.values()),
            others=others,
        )

    def _own(self, statistic: Expression, found: Array) -> Array:
        """A statistic that kernels repeat over other sets of axes, in its own shape."""
        axes = {axis for name in statistic.reduced for axis in self.params[name]} if self.norm.sets.others else ()
        return found[tuple([slice(1) if i in axes else slice(None) for i in range(found.ndim)])] if axes else found

    # In NumPy

    @property
    def _options(self) -> dict[Expression, Any]:
        """The options that are numbers, by their symbols."""
        names = [name for name in self.norm.traced.options if name not in self.norm.axes]
        return {symbol("option", name): np.float64(self.params[name]) for name in names}

    def _evaluate(
        self, x: Array, parameters: Sequence[Array], others: Sequence[Expression] | None = None
    ) -> list[Array]:
        """y, and what the definition returns beside it, or other expressions."""
        traced = self.norm.traced
        others = traced.statistics if others is None else others
        y, *found = evaluate([traced.y, *others], self._known(x, parameters), self.params)
        return [np.broadcast_to(y, x.shape).astype(x.dtype), *found]

    def _evaluate_gradient(self, grad: Array, x: Array, parameters: Sequence[Array]) -> tuple[Array | None, ...]:
        known = self._known(x, parameters)
        known[GRADIENT] = grad.astype(np.float64)
        for back, of in self.norm.way.adjoints.items():
            (known[back],) = evaluate([of], known, self.params)
        found = evaluate(self.norm.gradients, known, self.params)
        return tuple(
            None if of is ZERO else _sum_to(each, given)
            for of, each, given in zip(self.norm.gradients, found, (x, *parameters), strict=True)
        )

    def _known(self, x: Array, parameters: Sequence[Array]) -> dict[Expression, Any]:
        given = zip((self.norm.traced.x, *self.norm.traced.parameters), (x, *parameters), strict=True)
        return {name: np.asarray(array, np.float64) for name, array in given} | self._options


def _sum_to(gradient: Array, like: Array) -> Array:
    """A gradient in the shape and dtype of an input that was broadcast."""
    added = gradient.ndim - like.ndim
    stretched = tuple(i for i, n in enumerate(like.shape, added) if n == 1 and gradient.shape[i] > 1)
    summed = gradient.sum(axis=(*range(added), *stretched), keepdims=True) if added or stretched else gradient
    return np.broadcast_to(summed.reshape(summed.shape[added:]), like.shape).astype(like.dtype)
