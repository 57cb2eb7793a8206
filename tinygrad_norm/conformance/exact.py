"""What is right: the formula of a norm in 420 decimal digits, and its derivatives by differences there.

Nothing here is shared with `definitions/`. Python's own decimals are exact enough and need nothing to be installed:
a norm is made of sums, products, a division and a root. Steps of 1e-80 leave each derivative dozens of right digits,
for x from 1e-25 to 1e30 and up to the third order.
"""

from __future__ import annotations

import decimal
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import numpy as np

from tinygrad_norm.conformance.kinds import NormKind
from tinygrad_norm.dtypes import Array, Shape

PRECISE = decimal.Context(prec=420)
STEP = Decimal("1e-80")
Numbers = list[Decimal]
Total = Callable[[list[Numbers]], Decimal]


def values(kind: NormKind, eps: float, x: Array, weight: Array, bias: Array) -> Array:
    """Return weight (x - mean) / √(var + eps) + bias in the shape of x, rounded to float64 once.

    Args:
        kind: which values share their mean and var; without a mean, var is the mean square.
        eps: added to the variance.
        x: of any shape that the kind has.
        weight: one number for each channel or feature, in any shape.
        bias: as many.
    """
    with decimal.localcontext(PRECISE):
        y = _norm(kind, eps, x.shape)([_decimals(given) for given in (x, weight, bias)])
    return np.array(y, np.float64).reshape(x.shape)


def derivatives(
    kind: NormKind, eps: float, inputs: Sequence[Array], directions: Sequence[Sequence[Array]]
) -> list[Array]:
    """Return the last of a chain of derivatives by x, weight and bias.

    The first is that of Σ c y for the cotangent c, `directions[0][0]`; each further one is that of Σ d g, where g are
    the derivatives before and d the next directions, one for each input.
    """
    with decimal.localcontext(PRECISE):
        (cotangent,), *along = [[_decimals(each) for each in given] for given in directions]
        at, norm = [_decimals(given) for given in inputs], _norm(kind, eps, inputs[0].shape)

        total: Total = lambda inputs: sum(map(Decimal.__mul__, cotangent, norm(inputs)), Decimal(0))  # noqa: E731
        for direction in along:
            total = _slope(total, direction)
        found = []
        for i, given in enumerate(at):
            unit = [[Decimal(0)] * len(each) for each in at]
            found.append(np.empty(len(given)))
            for k in range(len(given)):
                unit[i][k] = Decimal(1)
                found[i][k] = _slope(total, unit)(at)
                unit[i][k] = Decimal(0)
    return [each.reshape(given.shape) for each, given in zip(found, inputs, strict=True)]


def statistics_of_many(x: Array) -> tuple[Decimal, Decimal]:
    """Return mean and mean square of millions of float32 numbers, right to about 30 digits.

    The square of a float32 number is exact in float64, and `math.fsum` rounds a sum once; what it lost is found by
    summing again with the sum taken off.
    """
    chunks = np.array_split(x.ravel().astype(np.float64), 64)
    with decimal.localcontext(PRECISE):
        return _mean(chunks), _mean([chunk * chunk for chunk in chunks])


def values_of_many(
    kind: NormKind, eps: float, mean: Decimal, square: Decimal, x: Array, weight: Array, bias: Array
) -> Array:
    """Return the outputs for some of those numbers, each with its own weight and bias: all arrays are [places]."""
    with decimal.localcontext(PRECISE):
        centre = mean if kind.centred else Decimal(0)
        root = (square - centre * centre + Decimal(eps)).sqrt()
        given = zip(*map(_decimals, (x, weight, bias)), strict=True)
        return np.array([w * (each - centre) / root + b for each, w, b in given], np.float64)


def _norm(kind: NormKind, eps: float, shape: Shape) -> Callable[[list[Numbers]], Numbers]:
    """Return the function of x, weight and bias, all flat, to flat y."""
    sets, parameter_at, added = kind.sets(shape).tolist(), kind.parameter_at(shape).tolist(), Decimal(eps)

    def norm(inputs: list[Numbers]) -> Numbers:
        x, weight, bias = inputs
        y = [Decimal(0)] * len(x)
        for places in sets:
            values = [x[place] for place in places]
            mean = sum(values, Decimal(0)) / len(values) if kind.centred else Decimal(0)
            left = [value - mean for value in values]
            root = (sum(map(Decimal.__mul__, left, left), Decimal(0)) / len(left) + added).sqrt()
            for place, value in zip(places, left, strict=True):
                y[place] = weight[parameter_at[place]] * value / root + bias[parameter_at[place]]
        return y

    return norm


def _slope(total: Total, direction: list[Numbers]) -> Total:
    """Return the derivative of a function in a direction, as a function of the same inputs."""

    def slope(inputs: list[Numbers]) -> Decimal:
        moved = [[x + STEP * d for x, d in zip(*pair, strict=True)] for pair in zip(inputs, direction, strict=True)]
        return (total(moved) - total(inputs)) / STEP

    return slope


def _decimals(array: Array) -> Numbers:
    """Return the numbers of an array, exactly."""
    return [Decimal(number) for number in array.ravel().tolist()]


def _mean(chunks: list[Array]) -> Decimal:
    def numbers() -> Iterator[float]:
        return itertools.chain.from_iterable(chunk.tolist() for chunk in chunks)

    total = math.fsum(numbers())
    lost = math.fsum(itertools.chain(numbers(), [-total]))
    return (Decimal(total) + Decimal(lost)) / sum(map(len, chunks))
