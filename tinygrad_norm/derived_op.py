"""The op of a derived norm: by its kernels, or, where it has none, in NumPy and in float64."""

from __future__ import annotations

import functools
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_norm import definitions, kernels, ops
from tinygrad_norm.derivation.adjoints import GRADIENT
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import Expression, symbol, walk
from tinygrad_norm.derivation.rules import ZERO
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import Late, launch
from tinygrad_norm.operands import wrap
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.derived import DerivedNorm
    from tinygrad_norm.tensor import Tensor


class CallSpec(NamedTuple):
    """A call of a derived norm with inputs of some shapes and dtypes."""

    view: Shape
    """The shape in which x is normalized."""
    parameters: tuple[Shape, ...]
    """The shapes of the parameters, with as many axes as that."""
    whole: tuple[bool, ...]
    """Which of the parameters have a number for each of x."""
    stretched: tuple[int, ...]
    """Which of the inputs the op sees in the shape of the view."""
    axes: dict[str, Shape]
    numbers: dict[str, Any]
    """The other options: numbers, or `late` ones, which are evaluated at each replay."""
    rows: Shape
    others: tuple[Shape, ...]
    """The axes that all statistics of x go over, and the other sets of axes."""
    statistics: tuple[Shape, ...]
    """The shapes of the statistics."""
    fits: bool
    """Whether kernels can compute it, if the norm has some."""


class DerivedOp(FusedOp):
    """One call of a derived norm."""

    norm: DerivedNorm
    statistics: Sequence[Array] = ()
    """What the definition returned beside y."""

    def composed(self, x: Any, *parameters: Any, spec: CallSpec) -> Tensor:
        if 0 in spec.view:
            return self._of_nothing(x, parameters, spec)
        values = ops.astype(x, np.float64, copy=False)
        seen = values if values.shape == spec.view else values.reshape(spec.view)
        stretch = [i in spec.stretched for i in range(1, len(parameters) + 1)]
        given = [ops.broadcast_to(x, spec.view) if do else x for x, do in zip(parameters, stretch, strict=True)]
        numbers = {name: _number(each) for name, each in spec.numbers.items()}
        found = self.norm.definition(seen, *given, **spec.axes, **numbers)
        y, *statistics = found if isinstance(found, tuple) else (found,)
        self.statistics = [each.raw for each in statistics]
        y = ops.astype(y, x.dtype, copy=False)
        output: Tensor = y if y.shape == x.shape else y.reshape(x.shape)
        return output

    def forward(self, x: Array, *parameters: Array, spec: CallSpec) -> Array:
        norm, shape, x = self.norm, x.shape, x.reshape(spec.view)
        if not x.size:
            self.statistics = self._statistics_of_nothing(x, parameters, spec)
            return np.empty(shape, x.dtype)
        parameters = self._stretched(parameters)
        call = self._call(x, parameters)
        if call is None:
            others = tuple(norm.traced.statistics)
            y, *self.statistics = launch(_evaluate, norm, spec, x, tuple(parameters), others)
            return np.reshape(y, shape)
        own = norm.way.statistics
        otherwise = _runner().Otherwise(_evaluate, (norm, spec, x, parameters, own))
        y, *found = _runner().forward(call, (), len(own), otherwise)
        if spec.others:  # the same numbers are repeated along them
            found = [each[tuple(map(slice, kept))] for each, kept in zip(found, spec.statistics, strict=True)]
        self.save(*found)
        if norm.traced.statistics:
            self.statistics = launch(_statistics, norm, spec, tuple(own), tuple(found), x, tuple(parameters))
        output: Array = y.reshape(shape)
        return output

    def gradient(self, grad: Array, x: Array, *kept: Array) -> tuple[Array | None, ...]:
        spec: CallSpec = self.params["spec"]
        count = len(spec.parameters)
        if not x.size:
            return tuple([np.zeros_like(each) for each in (x, *kept)])
        shape, x, grad = x.shape, x.reshape(spec.view), grad.reshape(spec.view)
        parameters, statistics = self._stretched(kept[:count]), kept[count:]
        call = self._call(x, parameters)
        if call is None:
            dx, *gradients = launch(_evaluate_gradient, self.norm, spec, grad, x, tuple(parameters), range(count))
            return dx.reshape(shape), *gradients
        wanted = self.norm.kernels(self.needs_input_grad, spec.whole).wanted
        otherwise = _runner().Otherwise(_evaluate_gradient, (self.norm, spec, grad, x, parameters, wanted))
        dx, *found = _runner().gradient(call, grad, statistics, wanted, otherwise)
        gradients = [None] * count
        for i, each in zip(wanted, found, strict=True):
            gradients[i] = each.reshape(parameters[i].shape)
        return dx.reshape(shape), *gradients

    # Of nothing

    def _of_nothing(self, x: Any, parameters: Sequence[Any], spec: CallSpec) -> Tensor:
        """y of no value, to which parameters add nothing, so that they get gradients of 0."""
        arrays = [getattr(each, "raw", each) for each in (x, *parameters)]
        self.statistics = self._statistics_of_nothing(arrays[0].reshape(spec.view), arrays[1:], spec)
        y = ops.reshape(x, spec.view)
        for each in parameters:
            y = y + each * 0
        output: Tensor = ops.astype(y.reshape(x.shape), x.dtype, copy=False)
        return output

    def _statistics_of_nothing(self, x: Array, parameters: Sequence[Array], spec: CallSpec) -> list[Array]:
        return evaluate(self.norm.traced.statistics, _known(self.norm, spec, x, parameters), spec.axes)

    def _stretched(self, parameters: tuple[Array, ...]) -> tuple[Array, ...]:
        """The parameters, views of the shape of x in the place of those that are reduced by themselves."""
        spec: CallSpec = self.params["spec"]
        if not spec.stretched:
            return parameters
        stretch = [i in spec.stretched for i in range(1, len(parameters) + 1)]
        return tuple([np.broadcast_to(x, spec.view) if do else x for x, do in zip(parameters, stretch, strict=True)])

    def _call(self, x: Array, parameters: Sequence[Array]) -> Any:
        """The call of the norm's kernels; None where it has none for these arrays."""
        spec: CallSpec = self.params["spec"]
        if not spec.fits or kernels.of(x) is definitions:
            return None
        _, data, module = self.norm.kernels(self.needs_input_grad, spec.whole)
        if module is None:
            return None
        given = [
            (each if each.dtype == x.dtype else each.astype(x.dtype)).reshape(shape)
            for each, shape in zip(parameters, spec.parameters, strict=True)
        ]
        numbers = tuple(spec.numbers.values())
        return _runner().call_of(module, x, given, spec.rows, numbers, others=spec.others, data=data)


def _number(option: Any) -> Any:
    """An option of a definition on tensors: a tensor, where the number is evaluated at each replay."""
    return wrap(launch(np.asarray, option)) if type(option) is Late else option


def _statistics(
    norm: DerivedNorm,
    spec: CallSpec,
    own: Sequence[Expression],
    found: Sequence[Array],
    x: Array,
    parameters: Sequence[Array],
) -> list[Array]:
    """Copies of what the definition returned beside y, most of which kernels have found."""
    known: dict[Expression, Any] = dict(zip(own, found, strict=True))
    if any(each not in known for each in norm.traced.statistics):
        reached = {*walk(*norm.traced.statistics, known=known)}
        known |= _known(norm, spec, x, parameters, reached)
        evaluate(norm.traced.statistics, known, spec.axes)
    return [np.array(known[each]) for each in norm.traced.statistics]


def _evaluate(
    norm: DerivedNorm, spec: CallSpec, x: Array, parameters: Sequence[Array], others: Sequence[Expression]
) -> list[Array]:
    """y, and other expressions, in NumPy."""
    y, *found = evaluate([norm.traced.y, *others], _known(norm, spec, x, parameters), spec.axes)
    return [np.broadcast_to(y, x.shape).astype(x.dtype), *found]


def _evaluate_gradient(
    norm: DerivedNorm, spec: CallSpec, grad: Array, x: Array, parameters: Sequence[Array], wanted: Sequence[int]
) -> tuple[Any, ...]:
    """The gradients of x and of the wanted parameters, in NumPy; None for one that has none."""
    known = _known(norm, spec, x, parameters)
    known[GRADIENT] = grad.astype(np.float64)
    for back, of in norm.way.adjoints.items():
        (known[back],) = evaluate([of], known, spec.axes)
    inputs = [x, *(parameters[i] for i in wanted)]
    gradients = [norm.gradients[i] for i in (0, *(i + 1 for i in wanted))]
    return tuple(
        None if of is ZERO else _sum_to(each, given)
        for of, each, given in zip(gradients, evaluate(gradients, known, spec.axes), inputs, strict=True)
    )


def _known(
    norm: DerivedNorm,
    spec: CallSpec,
    x: Array,
    parameters: Sequence[Array],
    reached: Container[Expression] | None = None,
) -> dict[Expression, Any]:
    """The inputs, and the options that are numbers, by their symbols; of what is not reached, shapes matter alone."""
    given = zip((norm.traced.x, *norm.traced.parameters), (x, *parameters), strict=True)
    numbers = {symbol("option", name): np.float64(each) for name, each in spec.numbers.items()}
    inputs = {
        name: np.asarray(each, np.float64) if reached is None or name in reached else each for name, each in given
    }
    return inputs | numbers


@functools.cache
def _runner() -> Any:
    """What runs kernels on arrays."""
    from tinygrad_norm.kernels.cpu import derived  # which takes Numba, and its time

    return derived


def _sum_to(gradient: Array, like: Array) -> Array:
    """A gradient in the shape and dtype of an input that was broadcast."""
    added = gradient.ndim - like.ndim
    stretched = tuple(i for i, n in enumerate(like.shape, added) if n == 1 and gradient.shape[i] != 1)
    summed = gradient.sum(axis=(*range(added), *stretched), keepdims=True) if added or stretched else gradient
    return np.broadcast_to(summed.reshape(summed.shape[added:]), like.shape).astype(like.dtype)
