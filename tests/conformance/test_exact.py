"""The formula beside others of its own: mpmath, fractions, and a norm of two values, which has a closed form."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tinygrad_norm.conformance import exact
from tinygrad_norm.conformance.kinds import NORM_KINDS


@pytest.mark.parametrize(("mean", "size", "eps"), [(0, 1, 1e-5), (2000, 1, 1e-5), (0, 1e30, 1e-5), (0, 1e-25, 0.0)])
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_values_are_those_of_mpmath(kind, mean, size, eps, rng):
    x = (mean + size * rng.normal(size=(2, 5))).astype(np.float32)
    weight, bias = rng.normal(size=5), rng.normal(size=5)
    found = exact.values(NORM_KINDS[kind], eps, x, weight, bias)
    with mpmath.workdps(100):
        for row, y in zip(x.tolist(), found, strict=True):
            values = [mpmath.mpf(each) for each in row]
            centre = mpmath.fsum(values) / 5 if kind == "layer" else 0
            root = mpmath.sqrt(mpmath.fsum((each - centre) ** 2 for each in values) / 5 + mpmath.mpf(eps))
            expected = [float(w * (each - centre) / root + b) for w, each, b in zip(weight, values, bias, strict=True)]
            np.testing.assert_array_equal(y, expected)


def closed_form(u, eps):
    """u / √(u² + ε), and its first three derivatives."""
    s = u * u + eps
    return u / s**0.5, eps / s**1.5, -3 * eps * u / s**2.5, eps * (12 * u * u - 3 * eps) / s**3.5


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_derivatives_to_the_third_order_have_a_closed_form_for_few_values(kind, rng):
    """A layer norm of a and b is ±f((a - b) / 2), an RMS norm of one value is f of it."""
    eps, count = 0.1, 2 if kind == "layer" else 1
    x, c, d, e = (rng.normal(size=(1, count)) for _ in range(4))
    weight, bias = rng.normal(size=count), rng.normal(size=count)
    directions = [[each, np.zeros(count), np.zeros(count)] for each in (d, e)]
    signs = np.array([[1.0, -1.0]]) / 2 if count == 2 else np.ones((1, 1))
    u, along_d, along_e = ((signs * each).sum() for each in (x, d, e))
    f, *slopes = closed_form(u, eps)
    gain = (c * weight * np.sign(signs)).sum()
    for order, factor in ((1, 1.0), (2, along_d), (3, along_d * along_e)):
        dx, dweight, dbias = exact.derivatives(
            NORM_KINDS[kind], eps, [x, weight, bias], [[c], *directions[: order - 1]]
        )
        np.testing.assert_allclose(dx, gain * slopes[order - 1] * factor * signs, rtol=1e-13)
        weights = [f, slopes[0], slopes[1]][order - 1] * factor * c.ravel() * np.sign(signs).ravel()
        np.testing.assert_allclose(dweight, weights, rtol=1e-13)
        np.testing.assert_allclose(dbias, c.ravel() if order == 1 else 0 * bias, rtol=1e-13)


def test_a_direction_among_weights_counts(rng):
    x, c, d = (rng.normal(size=(2, 3)) for _ in range(3))
    along = rng.normal(size=3)
    inputs = [x, np.ones(3), np.zeros(3)]
    by_weight = exact.derivatives(NORM_KINDS["layer"], 0.1, inputs, [[c], [0 * d, along, 0 * along]])[0]
    expected = exact.derivatives(NORM_KINDS["layer"], 0.1, [x, along, 0 * along], [[c]])[0]  # y is linear in the weight
    np.testing.assert_allclose(by_weight, expected, rtol=1e-13)


@pytest.mark.parametrize(("mean", "size"), [(1, 1), (2000, 1e-3), (0, 1e30), (0, 1e-25)])
def test_statistics_of_many_are_those_of_fractions(mean, size, rng):
    x = (mean + size * rng.normal(size=5000)).astype(np.float32)
    exactly = [Fraction(each) for each in x.tolist()]
    expected = sum(exactly) / 5000, sum(each * each for each in exactly) / 5000
    for found, right in zip(exact.statistics_of_many(x), expected, strict=True):
        assert abs(Fraction(found) / right - 1) < Fraction(1, 10**28)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_values_of_many_are_those_of_a_few(kind, rng):
    x, weight, bias = (2000 + rng.normal(size=(1, 400)).astype(np.float32)), rng.normal(size=400), rng.normal(size=400)
    whole = exact.values(NORM_KINDS[kind], 1e-5, x, weight, bias)[0]
    places = np.array([7, 3, 399])
    given = (each[places] for each in (x[0], weight, bias))
    found = exact.values_of_many(NORM_KINDS[kind], 1e-5, *exact.statistics_of_many(x), *given)
    np.testing.assert_allclose(found, whole[places], rtol=1e-15)
