"""The pointwise functions: values and derivatives in extended precision, products in order, and how each is written."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import Expression, number, pointwise, reduction, symbol, walk
from tinygrad_norm.derivation.rules import (
    HALF,
    MINUS,
    ONE,
    RULES,
    ZERO,
    factors,
    is_centred,
    over,
    plus,
    product,
    times,
)
from tinygrad_norm.derivation.writing import Style

G = symbol("gradient", "g")
X, W, B = INPUTS = [symbol("x", "x"), symbol("parameter", "weight"), symbol("parameter", "bias")]
ROWS = frozenset({"rows"})
EXACT: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "negative": lambda a: -a,
    "square": lambda a: a * a,
    "pow": lambda a, b: mpmath.exp(b * mpmath.log(a)),
    "sqrt": mpmath.sqrt,
    "rsqrt": lambda a: 1 / mpmath.sqrt(a),
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "abs": abs,
    "sign": lambda a: mpmath.mpf(1 if a > 0 else -1),
    "tanh": mpmath.tanh,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log(1 + mpmath.exp(a)),
    "erf": mpmath.erf,
    "ndtr": mpmath.ncdf,
    "gated": lambda a, gate: a * gate,
    "relu": lambda a: max(a, 0),
    "maximum": max,
    "minimum": min,
    "clip": lambda a, lowest, highest: min(max(a, lowest), highest),
    "where": lambda condition, a, b: a if condition > 0 else b,
    "stop_gradient": lambda a: a,
    "equal": lambda a, b: a == b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
}
"""The functions once more, for numbers of mpmath."""

POSITIVE = {"pow", "sqrt", "rsqrt", "log", "log1p"}
FORMS = {
    "add": ("x + γ", r"x + \gamma"),
    "subtract": ("x − γ", r"x - \gamma"),
    "multiply": ("x · γ", r"x\,\gamma"),
    "divide": ("x / γ", r"\frac{x}{\gamma}"),
    "negative": ("−x", r"-x"),
    "square": ("x²", r"x^2"),
    "pow": ("x^γ", r"x^{\gamma}"),
    "sqrt": ("√(x)", r"\sqrt{x}"),
    "rsqrt": ("1/√(x)", r"\frac{1}{\sqrt{x}}"),
    "exp": ("exp(x)", r"\exp\left(x\right)"),
    "expm1": ("expm1(x)", r"\mathrm{expm1}(x)"),
    "log": ("log(x)", r"\mathrm{log}(x)"),
    "log1p": ("log1p(x)", r"\mathrm{log1p}(x)"),
    "abs": ("|x|", r"\left|x\right|"),
    "sign": ("sign(x)", r"\mathrm{sign}(x)"),
    "tanh": ("tanh(x)", r"\mathrm{tanh}(x)"),
    "sigmoid": ("sigmoid(x)", r"\sigma(x)"),
    "softplus": ("softplus(x)", r"\mathrm{softplus}(x)"),
    "erf": ("erf(x)", r"\mathrm{erf}(x)"),
    "ndtr": ("Φ(x)", r"\Phi(x)"),
    "gated": ("x · γ", r"x\,\gamma"),
    "relu": ("relu(x)", r"\mathrm{relu}(x)"),
    "maximum": ("max(x, γ)", r"\max(x, \gamma)"),
    "minimum": ("min(x, γ)", r"\min(x, \gamma)"),
    "clip": ("clip(x, γ, β)", r"\mathrm{clip}(x, \gamma, \beta)"),
    "where": ("where(x, γ, β)", r"\mathrm{where}(x, \gamma, \beta)"),
    "stop_gradient": ("constant(x)", r"\overline{x}"),
    "equal": ("x = γ", r"x = \gamma"),
    "less": ("x < γ", r"x < \gamma"),
    "less_equal": ("x ≤ γ", r"x \le \gamma"),
    "greater": ("x > γ", r"x > \gamma"),
    "greater_equal": ("x ≥ γ", r"x \ge \gamma"),
}
"""How each is written, as text and in LaTeX."""

ARITY = {name: 1 + ("γ" in text) + ("β" in text) for name, (text, _) in FORMS.items()}


def backs(name: str, values: list[Any], g: Any) -> list[Any]:
    """The gradients of the inputs, by the rule; 0 where it says that there is none."""
    inputs = INPUTS[: len(values)]
    known = {G: g, **{symbol: np.float64(value) for symbol, value in zip(inputs, values, strict=True)}}
    found = RULES[name].back(G, pointwise(name, *inputs), *inputs)
    return [0.0 if part is None else evaluate([part], known, {})[0] for _, part in zip(inputs, found, strict=True)]


def test_every_rule_is_tested():
    assert RULES.keys() == EXACT.keys() == FORMS.keys()


@pytest.mark.parametrize("name", RULES)
def test_values_and_derivatives_are_those_of_extended_precision(name, rng):
    for values in rng.uniform(0.3 if name in POSITIVE else -2.5, 2.5, (8, ARITY[name])):
        given = [values[0] > 0, *values[1:]] if name == "where" else [*values]
        exact = [mpmath.mpf(float(value)) for value in values]
        with mpmath.workdps(30):
            y = EXACT[name](*exact)
            np.testing.assert_allclose(float(RULES[name].function(*given)), float(y), rtol=1e-14, atol=1e-15)
            for i, found in enumerate(backs(name, given, 0.7)):
                order = tuple(int(j == i) for j in range(len(exact)))
                slope = mpmath.diff(EXACT[name], tuple(exact), order) if name != "stop_gradient" else 0
                np.testing.assert_allclose(float(found), 0.7 * float(slope), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_equal_ones_share_the_gradient_and_nan_is_seen(name):
    assert backs(name, [1.5, 1.5], 3.0) == [1.5, 1.5]
    assert backs(name, [np.nan, 1.5], 3.0) == [3, 3]


def test_kinks_have_the_derivative_of_one_side():
    assert backs("relu", [0.0], 3.0) == [0]
    assert backs("abs", [0.0], 3.0) == [0]
    assert backs("where", [True, 1.0, 1.0], 3.0) == [0, 3, 0]
    assert backs("clip", [1.0, 1.0, 2.0], 3.0) == backs("clip", [2.0, 1.0, 2.0], 3.0) == [3, 0, 0]
    assert backs("clip", [1.5, 2.0, 1.0], 3.0) == [0, 0, 3]  # as np.clip has it where no number is between
    assert backs("pow", [0.0, 2.0], 3.0) == backs("pow", [0.0, 0.0], 3.0) == [0, 0]
    assert np.isnan(RULES["relu"].function(np.float64(np.nan)))


def test_a_gate_meets_nothing_that_is_far_below_0():
    assert RULES["gated"].function(np.float64(-np.inf), np.float64(0)) == 0
    assert backs("gated", [-np.inf, 0.25], 3.0) == [0.75, -3000]


def test_the_power_of_a_number_has_a_derivative_where_there_is_no_logarithm():
    for base in (-2.0, 0.0):
        back, _ = RULES["pow"].back(G, X ** number(3), X, number(3))
        assert not any(node.op == "log" for node in walk(back))
        assert evaluate([back], {G: np.float64(1), X: np.float64(base)}, {}) == [3 * base**2]
        assert back is times(G, number(3), X ** number(2))


def test_special_functions_keep_their_digits_far_out():
    assert RULES["sigmoid"].function(np.float64(-700)) == pytest.approx(math.exp(-700), rel=1e-13)
    assert RULES["softplus"].function(np.float64(-700)) == pytest.approx(math.exp(-700), rel=1e-13)
    assert RULES["softplus"].function(np.float64(800)) == 800
    assert RULES["ndtr"].function(np.float64(-20)) == pytest.approx(float(mpmath.ncdf(-20)), rel=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_function_is_written_as_the_field_does(name):
    y = pointwise(name, *INPUTS[: ARITY[name]])
    assert (Style(False, {}).write(y), Style(True, {}).write(y)) == FORMS[name]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ((X + W) * B, "(x + γ) · β"),
        (X - (W - B), "x − (γ − β)"),
        (X - W - B, "x − γ − β"),
        (X / (W * B), "x / (γ · β)"),
        (X / W / B, "x / γ / β"),
        (-(X + W), "−(x + γ)"),
        (pointwise("square", X - W), "(x − γ)²"),
        ((X * W) ** 3, "(x · γ)^3"),
        ((X - W) * B, "(x − γ) · β"),
        (pointwise("square", -X), "(−x)²"),
        (X / pointwise("square", W), "x / γ²"),
        (X / pointwise("rsqrt", W), "x / (1/√(γ))"),
        (pointwise("exp", X - W) * B, "exp(x − γ) · β"),
        (pointwise("where", X > W + 1, X, W), "where(x > γ + 1, x, γ)"),
        ((X > W) * B, "(x > γ) · β"),
    ],
)
def test_what_binds_less_closely_is_in_brackets(expression, text):
    assert Style(False, {}).write(expression) == text


def test_a_minus_comes_in_front_of_a_product_or_a_quotient_and_a_number_behind_it():
    assert times(X, -W) is -(X * W)
    assert times(-X, -W) is X * W
    assert times(X, number(-2), number(3) * W) is -(number(6) * (X * W))
    assert times(HALF, number(2), X) is X
    assert times(MINUS, number(2)) is -number(2)
    assert times(MINUS, X * number(2)) is -(X * number(2))  # what is written as a product stays one
    assert times() is ONE
    assert over(-X, W) is -(X / W)


def test_a_sum_with_what_has_a_minus_in_front_is_a_difference():
    assert plus(X, W) is X + W
    assert plus(X, -W) is X - W
    assert plus(-X, W) is -X + W


def test_factors_are_told_with_what_divides():
    assert factors(X * W / B * 2) == [(X, False), (W, False), (B, True), (number(2), False)]
    assert factors(X / (W * B)) == [(X, False), (W * B, True)]
    assert factors(X + W) == [(X + W, False)]
    assert product([(X, False), (W, True), (B, False)]) is X * B / W
    assert product([(W, True)]) is ONE / W


SIGNED = st.recursive(
    st.sampled_from([X, W, B, number(2), number(-3), ONE, HALF]),
    lambda inner: st.one_of(
        st.builds(lambda a: -a, inner),
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(lambda a, b: a / b, inner, inner),
        st.builds(lambda a, b: a + b, inner, inner),
    ),
    max_leaves=6,
)


@given(st.lists(SIGNED, max_size=4))
def test_what_is_put_in_order_keeps_its_value(parts):
    known = {X: np.float64(1.3), W: np.float64(-0.7), B: np.float64(2.1)}

    def value(x: Expression) -> Any:
        with np.errstate(all="ignore"):
            return evaluate([x], dict(known), {})[0]

    values = [value(each) for each in parts]
    pairs = [(times(*parts), math.prod(values))]
    for one, found in zip(parts, values, strict=True):
        pairs += [(product(factors(one)), found), (plus(X, one), known[X] + found), (over(one, W), found / known[W])]
    for expression, expected in pairs:
        np.testing.assert_allclose(value(expression), expected, rtol=1e-12)


def test_what_is_centred():
    mean = reduction("mean", X, ROWS)
    assert is_centred(X - mean, ROWS)
    assert is_centred(X * W - reduction("mean", X * W, ROWS), ROWS)
    assert not is_centred(X - mean, frozenset({"columns"}))
    assert not is_centred(X + mean, ROWS)
    assert not is_centred(mean - X, ROWS)
    assert not is_centred(W - mean, ROWS)
    assert not is_centred(X - reduction("sum", X, ROWS), ROWS)
    assert not is_centred(X - ZERO, ROWS)
