"""Expressions on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import norms
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import count, number, pointwise, reduction, symbol
from tinygrad_norm.derivation.trace import trace

X, W, EPS = symbol("x", "x"), symbol("parameter", "weight"), symbol("option", "eps")
PIXELS, CHANNELS = frozenset({"pixels"}), frozenset({"channels"})
AXES = {"pixels": (3, 1), "channels": (2,)}


@pytest.mark.parametrize("op", ["mean", "sum", "max", "min"])
@pytest.mark.parametrize(
    ("names", "axes"), [(PIXELS, (1, 3)), (CHANNELS, (2,)), (PIXELS | CHANNELS, (1, 2, 3)), (frozenset(), ())]
)
def test_a_reduction_goes_over_the_axes_of_its_names_and_keeps_them(op, names, axes, rng):
    x = rng.normal(size=(2, 3, 4, 5))
    (found,) = evaluate([reduction(op, X, names)], {X: x}, AXES)
    np.testing.assert_array_equal(found, getattr(np, op)(x, axis=axes, keepdims=True) if axes else x)


def test_a_count_is_that_of_the_values_along_its_axes(rng):
    known = {EPS: np.zeros(7), X: rng.normal(size=(2, 3, 4, 5))}
    assert evaluate([count(PIXELS), count(CHANNELS), count(PIXELS | CHANNELS)], known, AXES) == [15, 4, 60]


def test_a_number_is_one_of_float64():
    (found,) = evaluate([pointwise("divide", number(1), number(3))], {}, {})
    assert (found, found.dtype) == (1 / 3, np.float64)


def test_results_come_in_the_order_in_which_they_are_wanted():
    assert evaluate([X + 1, X, X + 1], {X: np.float64(3)}, {}) == [4, 3, 4]
    assert evaluate((each for each in (X, X + 1)), {X: np.float64(3)}, {}) == [3, 4]


def test_what_is_known_is_not_computed_and_what_is_computed_is_known_then():
    known: dict[Any, Any] = {X: np.float64(3), X + 1: np.float64(100)}
    assert evaluate([(X + 1) * 2], known, {}) == [200]
    assert known[(X + 1) * 2] == 200
    assert evaluate([X + 1], {X + 1: np.float64(7)}, {}) == [7]  # and nothing that it is made of is looked for


@pytest.mark.parametrize(
    ("name", "shapes", "axes", "options"),
    [
        ("layer_norm", [(5,), (5,)], {"axes": (1,)}, {"eps": 0.1}),
        ("batch_norm", [(5,), (5,)], {"axes": (0,)}, {"eps": 0.1}),
        ("grn", [(5,), (5,)], {"pixels": (0,), "channels": (1,)}, {"eps": 0.1}),
        ("linf_norm", [], {"axes": (0, 1)}, {"eps": 0.1}),
        ("masked_norm", [(4, 5)], {"axes": (1,)}, {"eps": 0.1}),
        ("l1_norm", [(5,)], {"axes": (1,)}, {"eps": 0.1}),
        ("soft_norm", [(5,)], {"axes": (1,)}, {"eps": 0.1}),
        ("fourth_moment_norm", [], {"axes": (1,)}, {"eps": 0.1}),
    ],
)
def test_a_traced_definition_gives_what_it_gives_on_arrays(name, shapes, axes, options, rng):
    x, *parameters = [rng.uniform(0.5, 2, shape) for shape in ((4, 5), *shapes)]
    expected = norms[name](x, *parameters, **axes, **options)
    expected = expected if isinstance(expected, tuple) else (expected,)
    traced = trace(norms[name])
    known = dict(zip((traced.x, *traced.parameters), (x, *parameters), strict=True))
    known |= {symbol("option", option): np.float64(value) for option, value in options.items()}
    for found, other in zip(evaluate([traced.y, *traced.statistics], known, axes), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-14)
