"""What somebody's norm is tried with: hard inputs, derivatives to the third order, threads and batches."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from tinygrad_norm.conformance import exact
from tinygrad_norm.conformance.kinds import MANY
from tinygrad_norm.conformance.norm import ForeignNorm, InapplicableError, RefusedError, Sample
from tinygrad_norm.dtypes import Array

FLOAT32 = 1e-6
"""Some eight roundings of float32: what statistics in float64 give, and statistics in float32 give at a small mean."""
FLOAT32_GRADIENT = 1e-5
FLOAT64 = 1e-12
WORST = 16
"""How many of millions of values are computed exactly: those that are farthest from what float64 gives."""
Rng = np.random.Generator
OK, DEVIATES, REFUSED, INAPPLICABLE = "ok", "DEVIATES", "refused", "-"


@dataclass(frozen=True)
class Outcome:
    """What one check found; `words` say what deviates, or why nothing was compared.

    Example:
        >>> conformance.Outcome("values", "deviates", error=0.5, bound=1e-6, words="at a large mean")
        Outcome(check='values', verdict='deviates', error=0.5, bound=1e-06, words='at a large mean')
    """

    check: str
    verdict: str
    """OK, DEVIATES, REFUSED, which is what the norm does that raises, or INAPPLICABLE."""
    error: float | None = None
    """The largest, relative to the largest right value; infinite if anything is no number."""
    bound: float | None = None
    words: str = ""


class HardInput(NamedTuple):
    """A hard x: what it is made of from random numbers."""

    name: str
    make: Callable[[Array], Array]
    shape: str = "values"
    eps: float | None = None


INPUTS = (
    HardInput("randn", lambda z: z),
    HardInput("2000 + randn", lambda z: 2000 + z),
    HardInput("1e30 randn", lambda z: 1e30 * z),
    HardInput("1e-25 randn, eps 0", lambda z: 1e-25 * z, eps=0.0),
    HardInput("constants", lambda z: np.full_like(z, 1000.1)),
    HardInput("one value", lambda z: 3 + z, shape="one value"),
)
ORDERS = {1: "first", 2: "second", 3: "third"}
SETS = ("sets", "long sets")
THREADS, BATCHES = "the same bits on one thread and all", "the same bits alone and in a batch"
BY = "the derivative by {}"
Trial = Callable[[ForeignNorm], "Discrepancy"]
Results = dict[str, Array]


class Discrepancy(NamedTuple):
    """By how much something is off, relative to the largest right value; in words where and what is right."""

    error: float
    bound: float
    words: str


def trials() -> dict[str, Trial]:
    """Return all checks by what the table calls them, in its order."""
    found: dict[str, Trial] = {f"value, {given.name}": partial(_values, given) for given in INPUTS}
    found[f"value, 2^{MANY.bit_length() - 1} values"] = _many
    found |= {f"first derivative, {given.name}": partial(_gradients, given) for given in INPUTS}
    found |= {f"{words} derivative, float64": partial(_derivatives, order) for order, words in ORDERS.items()}
    return found | {THREADS: _threads, BATCHES: _batches}


def run_trial(trial: Trial, name: str, norm: ForeignNorm) -> Outcome:
    """Return what a check finds."""
    try:
        error, bound, words = trial(norm)
    except RefusedError as refusal:
        return Outcome(name, REFUSED, words=str(refusal))
    except InapplicableError as reason:
        return Outcome(name, INAPPLICABLE, words=str(reason))
    return Outcome(name, OK, error, bound) if error <= bound else Outcome(name, DEVIATES, error, bound, words)


# Values and derivatives


def _sample(norm: ForeignNorm, given: HardInput, rng: Rng) -> tuple[Sample, float]:
    """Return float32 numbers, and eps."""
    eps = norm.eps
    if given.eps is not None and given.eps != eps:
        if not norm.bind(norm.shape(given.shape)).takes_eps:
            raise InapplicableError("it takes no eps")
        eps = given.eps
    x = given.make(rng.standard_normal(norm.shape(given.shape))).astype(np.float32)
    return norm.sample(x, rng), eps


def _values(given: HardInput, norm: ForeignNorm) -> Discrepancy:
    sample, eps = _sample(norm, given, np.random.default_rng(1))
    right = exact.values(norm.kind, eps, sample.x, *sample.affine(norm.kind))
    return _worst(FLOAT32, {"y": (norm.values(sample, eps), right)}, {})


def _gradients(given: HardInput, norm: ForeignNorm) -> Discrepancy:
    few = given if given.shape == "one value" else given._replace(shape="few")
    rng = np.random.default_rng(2)
    sample, eps = _sample(norm, few, rng)
    directions = _directions(sample, 1, rng)
    sets = sample.x.ravel()[norm.kind.sets(sample.x.shape)].astype(np.float64)
    spread = sets.var(axis=1) if norm.kind.centred else np.square(sets).mean(axis=1)
    weight, _ = sample.affine(norm.kind)
    term = float(np.abs(directions[0][0]).max() * np.abs(weight).max()) / math.sqrt(spread.min() + eps)
    return _compare_derivatives(norm, sample, eps, directions, FLOAT32_GRADIENT, term)


def _derivatives(order: int, norm: ForeignNorm) -> Discrepancy:
    rng = np.random.default_rng(3)
    sample = norm.sample(rng.standard_normal(norm.shape("few")), rng)
    return _compare_derivatives(norm, sample, norm.eps, _directions(sample, order, rng), FLOAT64)


def _directions(sample: Sample, order: int, rng: Rng) -> list[list[Array]]:
    """Return the cotangent, and for each further derivative what it goes along."""
    along = [[rng.standard_normal(given.shape) for given in sample.inputs] for _ in range(order - 1)]
    chain = [[rng.standard_normal(sample.x.shape)], *along]
    return [[array.astype(sample.x.dtype) for array in given] for given in chain]


def _compare_derivatives(
    norm: ForeignNorm,
    sample: Sample,
    eps: float,
    directions: list[list[Array]],
    bound: float,
    term: float = 0.0,
) -> Discrepancy:
    """Compare the derivatives by x, which is a sum of terms of this size, and by the parameters."""
    found = norm.gradients(sample, directions, eps)
    names, affine = list(sample.parameters), sample.affine(norm.kind)
    zeros = [np.zeros_like(each) for each in affine]
    filled = [directions[0]]
    for x, *given in directions[1:]:
        known = dict(zip(names, given, strict=True))
        filled.append([x, *(known.get(name, zero) for name, zero in zip(("weight", "bias"), zeros, strict=True))])
    dx, dweight, dbias = exact.derivatives(norm.kind, eps, [sample.x, *affine], filled)
    right = {"x": dx, "weight": dweight, "bias": dbias}
    pairs = {name: (each, right[name].reshape(each.shape)) for name, each in zip(["x", *names], found, strict=True)}
    return _worst(bound, {BY.format(name): pair for name, pair in pairs.items()}, {BY.format("x"): term})


def _many(norm: ForeignNorm) -> Discrepancy:
    flat, mean, square = _many_numbers(MANY)
    rng = np.random.default_rng(4)
    sample = norm.sample(np.resize(flat, norm.shape("many")), rng)
    found = norm.values(sample).ravel()
    weight, bias = (each[norm.kind.parameter_at(sample.x.shape)] for each in sample.affine(norm.kind))
    centre = float(mean) if norm.kind.centred else 0.0
    root = math.sqrt(float(square) - centre * centre + norm.eps)
    near = weight * ((sample.x.ravel() - centre) / root) + bias
    distance = _distance(found, near)
    places = np.argpartition(distance, -WORST)[-WORST:]
    of_x = sample.x.ravel()[places]
    right = exact.values_of_many(norm.kind, norm.eps, mean, square, of_x, weight[places], bias[places])
    return _worst(FLOAT32, {"y": (found[places], right)}, {"y": float(np.abs(near).max())})


@lru_cache(maxsize=1)
def _many_numbers(count: int) -> tuple[Array, Decimal, Decimal]:
    x = 1 + np.random.default_rng(5).standard_normal(count, dtype=np.float32)
    return x, *exact.statistics_of_many(x)


def _worst(bound: float, pairs: dict[str, tuple[Array, Array]], least: dict[str, float]) -> Discrepancy:
    """Return the worst of some arrays beside the right ones, each relative to its largest value.

    `least` has what it is relative to if all right values are smaller, as they may be sums of larger terms that cancel;
    it is 1 where all are 0.
    """
    deviations = []
    for what, (found, right) in pairs.items():
        if found.shape != right.shape:
            raise RefusedError(f"{what} has shape {found.shape}, and x makes it {right.shape}")
        distance = _distance(found, right)
        place = np.unravel_index(int(distance.argmax()), right.shape)
        error = float(distance[place]) / (max(float(np.abs(right).max()), least.get(what, 0.0)) or 1)
        deviations.append(Discrepancy(error, bound, f"{what} is {_digits(found[place], right[place])} is right"))
    return max(deviations, key=lambda each: each.error)


def _distance(found: Array, right: Array) -> Array:
    """Return the difference of each, infinite for what is no number."""
    distance = np.abs(found.astype(np.float64) - right)
    return np.where(np.isnan(distance), np.inf, distance)


def _digits(found: float, right: float) -> str:
    """Return both, with as many digits as tell them apart."""
    for digits in (6, 9, 17):
        words = f"{found:.{digits}g}", f"{right:.{digits}g}"
        if words[0] != words[1]:
            break
    return " where ".join(words).replace("nan", "NaN")


# Threads and batches


def _threads(norm: ForeignNorm) -> Discrepancy:
    cores = os.cpu_count() or 1
    if cores == 1:
        raise InapplicableError("there is one core")
    results = []
    for count in (1, cores):
        with norm.framework.threads(count):
            results.append([each for shape in SETS for each in _results(norm, *_numbers_of(norm, shape)).items()])
    return _bits(results[1], results[0], f"on {cores} threads", "on one")


def _batches(norm: ForeignNorm) -> Discrepancy:
    if norm.kind.mixes_samples:
        raise InapplicableError("its statistics are those of the batch")
    alone, among = [], []
    for shape in SETS:
        sample, cotangent = _numbers_of(norm, shape)
        whole = _results(norm, sample, cotangent)
        for n in (slice(0, 1), slice(len(sample.x) - 1, None)):
            by_itself = _results(norm, sample._replace(x=sample.x[n]), cotangent[n])
            own = [name for name in whole if name in ("y", BY.format("x"))]  # those of parameters are sums over samples
            among += [(name, whole[name][n]) for name in own]
            alone += [(name, by_itself[name]) for name in own]
    return _bits(among, alone, "in a batch", "alone")


def _numbers_of(norm: ForeignNorm, shape: str) -> tuple[Sample, Array]:
    rng = np.random.default_rng(6)
    x = rng.standard_normal(norm.shape(shape), dtype=np.float32)
    return norm.sample(x, rng), rng.standard_normal(x.shape, dtype=np.float32)


def _results(norm: ForeignNorm, sample: Sample, cotangent: Array) -> Results:
    """Return the output and, where there are any, the derivatives."""
    found = {"y": norm.values(sample)}
    with suppress(InapplicableError):
        names = map(BY.format, ("x", *sample.parameters))
        found |= dict(zip(names, norm.gradients(sample, [[cotangent]]), strict=True))
    return found


def _bits(found: Sequence[tuple[str, Array]], other: Sequence[tuple[str, Array]], how: str, else_: str) -> Discrepancy:
    """Return by how much two results differ that have to be the same."""
    deviations = [Discrepancy(0.0, 0.0, "")]
    for (what, a), (_, b) in zip(found, other, strict=True):
        differ = a != b
        if differ.any():
            distance = _distance(a, b)
            place = np.unravel_index(int(distance.argmax()), a.shape)
            words = f"{what} is {a[place]:.9g} {how} and {b[place]:.9g} {else_}; {differ.sum():,} of {a.size:,} differ"
            deviations.append(Discrepancy(float(distance[place]) / (float(np.abs(b).max()) or 1), 0.0, words))
    return max(deviations, key=lambda each: each.error)
