"""A derived norm: called as a fused op, with the formulas of what it computes.

What a call needs to know of its arguments, and what is refused of them, depends on shapes, dtypes and axes alone:
`call_spec` finds it once for each set of these. Options that are numbers, which may be others each time, are checked in
each call.
"""

from __future__ import annotations

import functools
import inspect
import operator
import pickle
import sys
from collections.abc import Callable, Mapping
from numbers import Real
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.checks import Range, check_number
from tinygrad_norm.derivation.adjoints import Way, gradients_of, way_back
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, walk
from tinygrad_norm.derivation.kernels import kernels_text
from tinygrad_norm.derivation.lowering import LoweringError, Sets, sets_of
from tinygrad_norm.derivation.rules import ZERO
from tinygrad_norm.derivation.trace import Traced, trace
from tinygrad_norm.derivation.writing import Formula, derivation, formula
from tinygrad_norm.derived_op import CallSpec, DerivedOp
from tinygrad_norm.dtypes import Shape
from tinygrad_norm.launch import Late, constant
from tinygrad_norm.operands import as_tensor
from tinygrad_norm.ops.arguments import cached, check_dtypes, label, shape_dtypes_of
from tinygrad_norm.tensor import Tensor

_ANY = Range("a number", lambda value: value == value)


def derive(definition: Callable[..., Any]) -> DerivedNorm:
    """Derive a norm from its definition, as a decorator or a function.

    Args:
        definition: `definition(x, *parameters, *, axes, eps)`, in the names of the Array API
            (`xp = x.__array_namespace__()`): means, sums and extremes over `axes`, or over several sets of axes with
            names of their own, with `keepdims=True`, and pointwise functions of them. It returns y, of x's shape, or
            (y, *statistics). Over several sets together, a mean goes with axis=(*batch, *pixels).

    Of no values y is empty, and a mean that is returned NaN, but there is no largest and no smallest one.

    It is run once, with symbols: numbers that it takes from elsewhere are those of that time, so what may change is an
    option of its own.

    Where a function has no derivative, that of `ops` is taken: at 0 it is 0 for abs, sign and relu, and infinite for
    sqrt; equal values share the gradient of a maximum or minimum, both of two or all of many; x has that of clip at its
    bounds. The branch of `where` that is not taken gets the gradient 0, of which an infinite derivative makes NaN, for
    the values that share their statistics with it: give it what it can bear, as in
    where(x > 0, sqrt(where(x > 0, x, 1)), 0).

    Raises:
        ValueError: it is no such function, branches on values, or uses what has no derivative; the line is named.

    Example:
        >>> @derive
        ... def centred(x, *, axes):
        ...     xp = x.__array_namespace__()
        ...     return x - xp.mean(x, axis=axes, keepdims=True)
        >>> print(centred.formula)
        s1 = mean(x)
        y = x − s1
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
        self.__module__ = definition.__module__  # where pickle looks for a norm that is kept by its name

    def __call__(self, *inputs: Any, view: Shape | None = None, **options: Any) -> Any:
        """Normalize: call the definition's op with tensors or arrays, and with options as the definition names them.

        Args:
            inputs: x, and parameters that broadcast against it, of its dtype; a mask may be of integers or bools.
            view: a shape in which x is normalized, as for groups of channels; parameters and axes are those of the
                view, and y has the shape of x.
            options: axes, and numbers such as eps.

        Returns:
            y, or, if the definition returns statistics beside it, (y, *statistics), which are off the tape.

        Raises:
            TypeError, ValueError: an argument is missing, unknown, or not what it should be.
        """
        if len(inputs) != len(self.traced.parameters) + 1:  # some are given by name, or left out
            inputs, options = self.bind(inputs, options)
        given = [
            each if isinstance(each, np.ndarray | Tensor) else self._operand(i, each, inputs[0])
            for i, each in enumerate(inputs)
        ]
        spec = self.spec(view, options, *shape_dtypes_of(*given))
        for i in spec.stretched:
            if getattr(given[i], "requires_grad", False):  # so that its gradient is summed; the op stretches others
                given[i] = ops.broadcast_to(given[i], spec.view)
        op = self._op()
        y = op(*given, spec=spec)
        return (y, *map(Tensor.wrap, op.statistics)) if self.traced.statistics else y

    def spec(self, view: Shape | None, options: Mapping[str, Any], *kinds: Any) -> CallSpec:
        """Return what is known of a call with such options, and with inputs of these shapes and dtypes.

        Raises:
            TypeError, ValueError: as a call.
        """
        fixed = [value if name in self.axes else None for name, value in options.items()]
        spec = call_spec(self, view, (*options,), *fixed, *kinds)
        if not self.defaults:
            return spec
        numbers = {name: options.get(name, default) for name, default in self.defaults.items()}
        for name, value in numbers.items():
            if type(value) is not Late and (type(value) is not float or value != value):
                numbers[name] = check_number(f"{label(self.__name__)}: {name}", value, _ANY)
        return spec._replace(numbers=numbers)

    def bind(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All inputs by position and all options by name, as Python binds arguments."""
        try:
            bound = self._signature.bind(*inputs, **options)
        except TypeError as error:
            name = label(self.__name__)
            raise TypeError(f"{name}: {error}; it is {self.__name__}{self._signature}") from None
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def _operand(self, index: int, value: Any, x: Any) -> Any:
        """A number as an array of the dtype of x, a list as a tensor."""
        if isinstance(value, Real):
            return constant(np.asarray(value, getattr(x, "dtype", None)))
        if isinstance(value, list | tuple):
            return as_tensor(value)
        name, got = [*self._signature.parameters][index], f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{label(self.__name__)}: {name} is a tensor, an array or a number, got {got}")

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by reference: the norm by its name, where that is the definition's, or else the definition.

        Raises:
            PicklingError: the definition is no function of a module, which another process could find.
        """
        place = self.definition
        if isinstance(place, functools.partial):
            return derive, (place,)
        try:
            found = operator.attrgetter(place.__qualname__)(sys.modules[place.__module__])
        except (AttributeError, KeyError):
            found = None
        if found is self:
            return place.__qualname__
        if found is place:
            return derive, (place,)
        raise pickle.PicklingError(
            f"{self.__name__}: a derived norm is pickled by its definition's name, got {place.__qualname__}, which is "
            f"no name of {place.__module__}; define it at the top of a module"
        )

    def __copy__(self) -> DerivedNorm:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DerivedNorm:
        """Return the norm itself, which nothing changes, as of a function."""
        return self

    def __repr__(self) -> str:
        return f"{self.__name__}{self._signature}\n{self.formula}"

    @functools.cached_property
    def axes(self) -> frozenset[str]:
        """The names of the options that are axes."""
        nodes = walk(self.traced.y, *self.traced.statistics)
        return frozenset(name for node in nodes if node.op in REDUCTIONS for name in node.value)

    @functools.cached_property
    def defaults(self) -> dict[str, Any]:
        """The options that are numbers, and what they are unless given."""
        return {name: self._signature.parameters[name].default for name in self.traced.options if name not in self.axes}

    @functools.cached_property
    def sets(self) -> Sets:
        """The options that are axes, as the kernels take them."""
        try:
            return sets_of(self.way.statistics)
        except LoweringError:  # it has no kernels
            return Sets(self.axes)

    @functools.cached_property
    def spread(self) -> set[str]:
        """The parameters that are reduced by themselves: each value of x has one, as in the count of a mask."""
        alone = [each.inputs[0] for each in self.way.statistics if self.traced.x not in {*walk(each)}]
        return {str(node.value) for each in alone for node in walk(each) if node.op == "parameter"}

    @functools.cached_property
    def holds(self) -> bool:
        """Whether something in y is constant to whoever differentiates, see `stop_gradient`."""
        return any(node.op == "stop_gradient" for node in walk(self.traced.y))

    @property
    def constants(self) -> tuple[str, ...]:
        """The parameters that have no gradient, as what depends on them is constant to whoever differentiates."""
        known = zip(self.traced.parameters, self.gradients[1:], strict=True)
        return tuple(str(each.value) for each, gradient in known if gradient is ZERO)

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

    def kernels_text(self, wanted: tuple[int, ...], data: tuple[int, ...] = ()) -> str:
        """The kernels with the gradients of these parameters; "" where the norm has none.

        Args:
            wanted: the parameters whose gradients they compute.
            data: those, without a gradient, that have a value for each one of x.
        """
        names = [str(each.value) for each in self.traced.parameters]
        traced, way = self.traced, self.way
        if data:
            traced = trace(self.definition, data=tuple(names[i] for i in data))
            way = way_back(traced.y, (traced.x, *traced.parameters))
        known = gradients_of(way)
        gradients = {name: known[name] for name in ("x", *(names[i] for i in wanted))}
        try:
            return kernels_text(traced, way, gradients)
        except LoweringError:
            return ""

    @functools.cache  # noqa: B019 (a norm lives as long as its definition)
    def kernels(self, needs: tuple[bool, ...], whole: tuple[bool, ...]) -> Kernels:
        """The kernels, if it has some, for inputs of which these need a gradient, and parameters that are `whole`.

        Gradients of parameters are computed where there are some, but for one of x's size that needs none.
        """
        known = zip(needs[1:], whole, self.gradients[1:], strict=True)
        wanted = tuple(i for i, (need, size, of) in enumerate(known) if of is not ZERO and (need or not size))
        data = tuple(i for i, size in enumerate(whole) if size and i not in wanted)
        text = self.kernels_text(wanted, data)
        if not text:
            return Kernels(wanted, data, None)
        from tinygrad_norm.kernels.cpu.modules import module_of

        return Kernels(wanted, data, module_of(self.__name__, text))


class Kernels(NamedTuple):
    """The kernels of a norm."""

    wanted: tuple[int, ...]
    """The parameters whose gradients they compute."""
    data: tuple[int, ...]
    """Those that have a value for each one of x, which they read as they read x."""
    module: ModuleType | None


@cached
def call_spec(norm: DerivedNorm, view: Shape | None, names: tuple[str, ...], *given: Any) -> CallSpec:
    """The spec of a call, but for its numbers.

    Args:
        norm: what is called.
        view: the shape in which x is normalized, if not its own.
        names: those of the options that are given.
        given: the options, None for numbers, and the shape and dtype of x and of each parameter.

    Raises:
        TypeError, ValueError: as a call of a norm.
    """
    name, count = label(norm.__name__), len(names)
    (x, *parameters), options = norm.bind(given[count:], dict(zip(names, given, strict=False)))
    inputs = dict(zip(inspect.signature(norm.definition).parameters, (x, *parameters), strict=False))
    if x[1].kind != "f":
        raise TypeError(f"{name}: x is of floats, got {x[1]}")
    check_dtypes(name, **{key: kind for key, kind in inputs.items() if kind[1].kind == "f"})
    shape = x[0] if view is None else _seen(name, view, x[0])
    stretched, seen = [], []
    for i, (key, (own, _)) in enumerate(inputs.items()):
        behind = shape[len(shape) - len(own) :]
        if i and (len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own, behind, strict=True))):
            raise ValueError(f"{name}: {key} broadcasts against x, {shape}, got shape {own}")
        if key in norm.spread and own != shape:
            stretched.append(i)
        seen.append(shape if key in norm.spread else (1,) * (len(shape) - len(own)) + own)
    axes = _axes(norm, options, len(shape))
    for each in walk(norm.traced.y, *norm.traced.statistics):
        if each.op not in ("max", "min"):
            continue
        over = {key: axes[key] for key in sorted(each.value)}
        if 0 in [shape[axis] for own in over.values() for axis in own]:
            told = ", ".join(f"{key}={own}" for key, own in over.items())
            raise ValueError(f"{name}: the values along {told} have a {each.op}, so there is one at least, got {shape}")
    known = {key for each in norm.way.statistics for key in each.value}
    varying = {axis for own in seen[1:] for axis, n in enumerate(own) if n > 1}
    rows = {axis for key in norm.sets.rows for axis in axes[key]}
    if not norm.way.statistics:  # any values may stand in a group, so those do that have the same parameters
        rows = {*range(len(shape))} - varying
    others = tuple(axes[key] for key in norm.sets.others)
    return CallSpec(
        view=shape,
        parameters=tuple(seen[1:]),
        whole=tuple(own == shape for own in seen[1:]),
        stretched=tuple(stretched),
        axes=axes,
        numbers={},
        rows=tuple(sorted(rows)),
        others=others,
        statistics=tuple(_kept(shape, each, axes) for each in norm.way.statistics),
        # of other sets, parameters are constants
        fits=0 not in shape and known == axes.keys() and (not others or rows.isdisjoint(varying)),
    )


def _kept(shape: Shape, statistic: Expression, axes: dict[str, Shape]) -> Shape:
    """The shape of a statistic."""
    reduced = {axis for name in statistic.reduced for axis in axes[name]}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def _seen(name: str, view: Shape, shape: Shape) -> Shape:
    """The view, each length of which is known."""
    try:
        return np.empty(shape, np.bool_).reshape(view).shape
    except (TypeError, ValueError):
        raise ValueError(f"{name}: view is a shape for as many values as x has, {shape}, got {view}") from None


def _axes(norm: DerivedNorm, options: dict[str, Any], ndim: int) -> dict[str, Shape]:
    """Axes of x, by name."""
    name = label(norm.__name__)
    axes = {
        key: ops.reduction.checked_axes(f"{name}: {key}", value, ndim)
        for key, value in options.items()
        if key in norm.axes
    }
    every = [axis for own in axes.values() for axis in own]
    if len(every) > len({*every}):
        told = ", ".join(f"{key}={value}" for key, value in axes.items())
        raise ValueError(f"{name}: sets of axes have none in common, got {told}")
    return axes
