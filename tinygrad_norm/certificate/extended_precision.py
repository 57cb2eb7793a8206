"""A derived norm in extended precision: what its definition says, in decimals, and derivatives by differences there.

Nothing here is shared with kernels, with adjoints or with NumPy's functions: the traced definition is evaluated node by
node in 100 digits. Central differences with steps of 1e-22 leave a third derivative 30 right ones, where numbers are
around 1. What `stop_gradient` returns is held.
"""

from __future__ import annotations

import decimal
import functools
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.definitions.special import FAR
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, symbol, walk
from tinygrad_norm.derived import DerivedNorm
from tinygrad_norm.dtypes import Array

PRECISE = decimal.Context(prec=100, traps=[])  # what is infinite or NaN is so, perhaps in a branch that is not taken
STEP = Decimal("1e-22")
Total = Callable[[Sequence[Array]], Decimal]


class ExactNorm(NamedTuple):
    """A derived norm with its options."""

    norm: DerivedNorm
    options: Mapping[str, Any]

    def values(self, inputs: Sequence[Array]) -> Array:
        """Return y, without statistics, of x and the parameters, rounded to float64 once."""
        with decimal.localcontext(PRECISE):
            y = self._y(inputs, {})([_decimals(each) for each in inputs])
            return y.astype(np.float64)

    def derivatives(
        self, inputs: Sequence[Array], directions: Sequence[Sequence[Array]], wanted: Sequence[int]
    ) -> list[Array]:
        """Return the last of a chain of derivatives by the wanted inputs.

        The first is that of Σ c y for the cotangent c, `directions[0][0]`; each further one is that of Σ d g, where g
        are the derivatives before and d the next directions, one for each wanted input.
        """
        with decimal.localcontext(PRECISE):
            (cotangent,), *along = [list(map(_decimals, given)) for given in directions]
            at = [_decimals(each) for each in inputs]
            y = self._y(inputs, self._held(inputs, at))
            total: Total = lambda given: (cotangent * y(given)).sum()  # noqa: E731
            for direction in along:
                total = _slope(total, dict(zip(wanted, direction, strict=True)))
            found = []
            for i in wanted:
                found.append(np.empty(inputs[i].shape))
                for place in np.ndindex(inputs[i].shape):
                    unit = _decimals(np.zeros(inputs[i].shape))
                    unit[place] = Decimal(1)
                    found[-1][place] = _slope(total, {i: unit})(at)
        return found

    def _held(self, inputs: Sequence[Array], at: Sequence[Array]) -> dict[Expression, Any]:
        """What does not move: the results of `stop_gradient`."""
        nodes = [node for node in walk(self.norm.traced.y) if node.op == "stop_gradient"]
        known = self._evaluated(inputs, at, {}) if nodes else {}
        return {node: known[node] for node in nodes}

    def _y(self, inputs: Sequence[Array], held: Mapping[Expression, Any]) -> Callable[[Sequence[Array]], Array]:
        def y(given: Sequence[Array]) -> Array:
            found = self._evaluated(inputs, given, held)[self.norm.traced.y]
            return np.broadcast_to(np.asarray(found, object), inputs[0].shape)

        return y

    def _evaluated(
        self, inputs: Sequence[Array], given: Sequence[Array], held: Mapping[Expression, Any]
    ) -> dict[Expression, Any]:
        """Return the value of every node."""
        traced, kinds = self.norm.traced, [(np.shape(each), np.dtype(np.float64)) for each in inputs]
        spec = self.norm.spec(None, self.options, *kinds)
        whole = [np.broadcast_to(each, spec.view) if i in spec.stretched else each for i, each in enumerate(given)]
        known: dict[Expression, Any] = {
            **dict(zip((traced.x, *traced.parameters), whole, strict=True)),
            **{symbol("option", name): Decimal(value) for name, value in spec.numbers.items()},
            **held,
        }
        for node in walk(traced.y, known=known):
            if node not in known:
                known[node] = _value(node, [known[each] for each in node.inputs], spec.axes)
        return known


def _value(node: Expression, inputs: list[Any], axes: Mapping[str, tuple[int, ...]]) -> Any:
    if node.op == "number":
        return Decimal(node.value)
    if node.op not in REDUCTIONS:
        return FUNCTIONS[node.op](*inputs)
    over = tuple(axis for name in node.value for axis in axes[name])
    if node.op in ("max", "min"):
        return getattr(np, node.op)(inputs[0], axis=over, keepdims=True)
    total = np.sum(inputs[0], axis=over, keepdims=True)
    return total / Decimal(math.prod(inputs[0].shape[i] for i in over)) if node.op == "mean" else total


def _slope(total: Total, direction: Mapping[int, Array]) -> Total:
    """Return the derivative of a function in a direction, as a function of the same inputs."""

    def moved(inputs: Sequence[Array], step: Decimal) -> list[Array]:
        return [x + step * direction[i] if i in direction else x for i, x in enumerate(inputs)]

    return lambda inputs: (total(moved(inputs, STEP)) - total(moved(inputs, -STEP))) / (2 * STEP)


def _decimals(array: Array) -> Array:
    """Return the numbers of an array, exactly."""
    return np.array([Decimal(number) for number in np.ravel(array).tolist()], object).reshape(np.shape(array))


# The functions of one number, or of a few

ONE, HALF = Decimal(1), Decimal("0.5")


@functools.cache
def _pi(precision: int) -> Decimal:
    """Return π, by Machin's formula: 16 atan(1/5) - 4 atan(1/239)."""

    def atan_of_inverse(n: int) -> Decimal:
        total, power = Decimal(0), ONE / n
        for k in itertools.count():
            term = power / (2 * k + 1)
            if term < Decimal(10) ** -(precision + 5):
                return total
            total, power = total + (-term if k % 2 else term), power / (n * n)
        raise AssertionError("the terms become small")

    return 16 * atan_of_inverse(5) - 4 * atan_of_inverse(239)


def _erf(x: Decimal) -> Decimal:
    """Return 2/√π Σ (-1)^n x^(2n + 1) / (n! (2n + 1)), whose sum loses a digit for each 2.3 of x²."""
    total = term = x
    for n in itertools.count(1):
        term *= -x * x / n
        before, total = total, total + term / (2 * n + 1)
        if total == before:
            break
    return 2 * total / _pi(PRECISE.prec).sqrt()


def _sigmoid(x: Decimal) -> Decimal:
    return ONE / (ONE + (-x).exp())


_PLAIN: dict[str, tuple[int, Callable[..., Any]]] = {
    "add": (2, operator.add),
    "subtract": (2, operator.sub),
    "multiply": (2, operator.mul),
    "divide": (2, operator.truediv),
    "negative": (1, operator.neg),
    "square": (1, lambda x: x * x),
    "pow": (2, operator.pow),
    "sqrt": (1, Decimal.sqrt),
    "rsqrt": (1, lambda x: ONE / x.sqrt()),
    "exp": (1, Decimal.exp),
    "expm1": (1, lambda x: x.exp() - 1),
    "log": (1, Decimal.ln),
    "log1p": (1, lambda x: (ONE + x).ln()),
    "abs": (1, abs),
    "sign": (1, lambda x: Decimal((x > 0) - (x < 0))),
    "tanh": (1, lambda x: 2 * _sigmoid(2 * x) - 1),
    "sigmoid": (1, _sigmoid),
    "softplus": (1, lambda x: (ONE + x.exp()).ln()),
    "erf": (1, _erf),
    "ndtr": (1, lambda x: HALF * (ONE + _erf(x * HALF.sqrt()))),
    "gated": (2, lambda x, gate: max(x, Decimal(-FAR)) * gate),
    "relu": (1, lambda x: max(x, Decimal(0))),
    "maximum": (2, max),
    "minimum": (2, min),
    "clip": (3, lambda x, lowest, highest: min(max(x, lowest), highest)),
    "where": (3, lambda condition, x, y: x if condition else y),
    "stop_gradient": (1, lambda x: x),
    "equal": (2, operator.eq),
    "less": (2, operator.lt),
    "less_equal": (2, operator.le),
    "greater": (2, operator.gt),
    "greater_equal": (2, operator.ge),
}
FUNCTIONS = {name: np.frompyfunc(function, count, 1) for name, (count, function) in _PLAIN.items()}
"""By the names of `rules.RULES`, on arrays of decimals."""
