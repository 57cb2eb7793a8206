"""The code of an expression computes what the expression is."""

from __future__ import annotations

import keyword
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.derivation import symbols
from tinygrad_norm.derivation.code import FORMS, Between, Coefficients, Loop, form_of, safe
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import Expression, pointwise, symbol
from tinygrad_norm.derivation.lowering import Lowering, Sets
from tinygrad_norm.derivation.rules import RULES

X, W, EPS = symbol("x", "x"), symbol("parameter", "weight"), symbol("option", "eps")
MEAN = pointwise("divide", EPS, 3)  # stands for what is known of a group
FUNCTIONS = {
    "np": np,
    "real": float,
    "one": 1.0,
    "less": lambda x, high, low: (x - high) - low,
    "maximum": max,
    "minimum": min,
    "sigmoid": lambda x, real: 1 / (1 + np.exp(-x)),
    "softplus": lambda x, real: np.log1p(np.exp(x)),
    "tanh": lambda x, real: np.tanh(x),
    "relu": lambda x, real: max(x, 0.0),
    "sign": lambda x, real: np.sign(x),
    "ndtr": lambda x, real: float(RULES["ndtr"].function(np.float64(x))),
    "gated": lambda x, gate, real: x * gate,
    "erf": lambda x, real: float(RULES["erf"].function(np.float64(x))),
}
CASES: dict[str, Any] = {
    "a difference in a product": (X - W) * 2 / (X + 3),
    "a quotient of quotients": (X / W) / (W / (X * X)),
    "a power of a sum": (X + 1) ** 3 - (X + 1) ** 0.5,
    "minus a sum": -(X + W) * X,
    "a difference from a difference": X - (W - X),
    "a choice": symbols.where(X > W, X - W, -X) + symbols.where(X < 1, 2.0, X),
    "a square of what is shared": symbols.square(X - W) + (X - W),
    "a square of what is not": symbols.square(X - W),
    "a quotient by a square": X / symbols.square(W) / symbols.square(X),
    "a square of a power": symbols.square(X**3) - (X**2) ** 3,
    "a power of a negative number": X * pointwise("pow", -2, 2) + pointwise("pow", 2, -2),
    "an option": X / (W + EPS) + EPS * 2 / 3,
    "gated": symbols.gated(X, symbols.ndtr(W)),
    "clipped": symbols.clip(X, 0.5, 0.9),
    **{name: getattr(symbols, name)(X * W) for name, rule in RULES.items() if rule.back.__code__.co_argcount == 3},
}


def arrays(rng: np.random.Generator) -> dict[Expression, Any]:
    return {X: rng.uniform(0.3, 2, 5), W: rng.uniform(0.3, 2, 5), EPS: np.float64(0.1)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("outer", [False, True])
def test_a_loop_computes_each_element(name, outer, rng):
    known, of = arrays(rng), CASES[name]
    (expected,) = evaluate([of], dict(known), {})
    coefficients = Coefficients()
    loop = Loop(
        Lowering(outer, Sets(frozenset()), frozenset(), frozenset()), coefficients, 0, ("i", "i", "i" if outer else "")
    )
    lines, (code,) = loop.write([of], str)
    for i in range(5):
        names: dict[str, Any] = {**FUNCTIONS, "x": known[X], "weight": known[W], "i": i}
        for (constant, rest), coefficient in coefficients.names.items():
            value = np.broadcast_to(evaluate([constant], dict(known), {})[0], 5)
            names[coefficient] = 0 * value if rest else value if outer else value[0]
        for line in lines:
            exec(line.split("  #")[0], names)
        assert eval(code, names) == pytest.approx(np.broadcast_to(expected, 5)[i], rel=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_what_is_computed_once_for_each_column(name, rng):
    known, of = arrays(rng), CASES[name]
    (expected,) = evaluate([of], dict(known), {})
    between = Between({X: "mean"}, {}, "k")
    between.share([of])
    lines, code = between.temporaries(of), between.code(of)
    for k in range(5):
        names: dict[str, Any] = {**FUNCTIONS, "mean": known[X], "weight": known[W], "eps": 0.1, "k": k}
        for line in lines:
            exec(line, names)
        assert eval(code, names) == pytest.approx(np.broadcast_to(expected, 5)[k], rel=1e-13)


def test_what_rounding_takes_from_a_statistic_is_taken_away_after_it():
    created = symbols.created.set({})
    mean = symbols.mean(X, axis=symbol("option", "axes"), keepdims=True)
    symbols.created.reset(created)
    coefficients = Coefficients()
    loop = Loop(
        Lowering(False, Sets(frozenset({"axes"})), frozenset({mean}), frozenset()), coefficients, 0, ("i", "i", "")
    )
    assert loop.code(X - mean) == "less(x[i], c0, c1)"
    assert loop.code(mean - X) == "-less(x[i], c0, c1)"
    assert list(coefficients.names) == [(mean, False), (mean, True)]


def test_constants_of_a_loop_are_one_whatever_the_order_of_factors():
    coefficients = Coefficients()
    loop = Loop(Lowering(True, Sets(frozenset()), frozenset(), frozenset()), coefficients, 0, ("r, k", "", "k"))
    assert loop.code(X * W / EPS) == loop.code(W * (X / EPS)) == "x[r, k] * c0[k]"


def test_every_rule_has_a_form():
    assert {*RULES} - {*FORMS} == {"maximum", "minimum", "square"}  # a square has code of its own
    assert form_of("maximum", 2) == ("maximum({0}, {1})", 9)


@pytest.mark.parametrize("name", ["x", "c0", "sum1", "groups", "real", "A_mean", "np", "y", "parameters"])
def test_a_name_of_ours_gets_another_one(name):
    assert safe(name) == f"{name}_"


@pytest.mark.parametrize("name", ["weight", "gamma", "running_mean", "counter"])
def test_other_names_stay(name):
    assert safe(name) == name
    assert not keyword.iskeyword(safe(name))
