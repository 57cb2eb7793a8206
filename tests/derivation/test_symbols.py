"""What a definition finds in `x.__array_namespace__()` while it is traced."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.certificate.extended_precision import FUNCTIONS
from tinygrad_norm.derivation import symbols
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import REDUCTIONS, number, pointwise, symbol
from tinygrad_norm.derivation.rules import RULES, ZERO

X, W, EPS = symbol("x", "x"), symbol("parameter", "weight"), symbol("option", "eps")
ROWS, COLUMNS = symbol("option", "rows"), symbol("option", "columns")


@pytest.fixture
def created():
    """The reductions that are made, as in a trace."""
    found: dict[Any, tuple[str, int]] = {}
    token = symbols.created.set(found)
    yield found
    symbols.created.reset(token)


def reduce(op, x, *axes):
    return getattr(symbols, op)(x, axis=tuple(name for each in axes for name in each), keepdims=True)


def test_symbols_have_this_namespace():
    assert X.__array_namespace__() is (X + 1).__array_namespace__() is symbols


@pytest.mark.parametrize("name", [name for name in RULES if name != "clip"])
def test_a_function_is_that_of_the_rule_of_its_name(name):
    inputs = (X, 2, W)[: FUNCTIONS[name].nin]
    assert getattr(symbols, name)(*inputs) is pointwise(name, *inputs)
    told = ", ".join(map(repr, (*inputs, EPS)))
    with pytest.raises(TypeError, match=rf"{name} takes {len(inputs)} values?, got {re.escape(told)}$"):
        getattr(symbols, name)(*inputs, EPS)


def test_what_a_function_does_not_take_is_refused():
    for wrong, words in (
        (lambda: symbols.sqrt(), "sqrt takes 1 value, got none"),
        (lambda: symbols.sqrt(X, dtype=float), "sqrt takes 1 value, got x, dtype=<class 'float'>"),
        (lambda: symbols.maximum(X, None), "maximum takes values of the definition and numbers, got NoneType"),
        (lambda: symbols.add(X, np.ones(3)), "add takes values of the definition and numbers, got ndarray"),
        (lambda: symbols.mean(X, axis=ROWS, keepdim=True), "mean has no option 'keepdim' .*; did you mean keepdims?"),
        (lambda: symbols.mean(X, dim=ROWS, keepdims=True), r"mean has no option 'dim' \(it has axis, keepdims\)"),
    ):
        with pytest.raises(TypeError, match=words):
            wrong()
    for name, words in (
        ("var", r"it has abs, .*; take mean\(square\(x - mean\(x\)\)\)$"),
        ("std", r"take sqrt\(mean\(square\(x - mean\(x\)\)\) \+ eps\)$"),
        ("maximun", "did you mean maximum?"),
    ):
        with pytest.raises(AttributeError, match=words):
            getattr(symbols, name)


def test_clip_has_two_bounds_or_one():
    assert symbols.clip(X, -1, EPS) is pointwise("clip", X, -1, EPS)
    assert symbols.clip(X, max=EPS) is pointwise("where", X > EPS, EPS, X)
    assert symbols.clip(X, 2) is pointwise("where", X < 2, 2, X)
    assert symbols.clip(X) is X


def test_what_is_no_function_is_refused_with_those_that_there_are():
    with pytest.raises(AttributeError, match=r"a definition has no function 'median'; it has abs, .*, mean, .*, where"):
        symbols.median  # noqa: B018


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.usefixtures("created")
def test_a_reduction_goes_over_an_option_or_several(op):
    one = getattr(symbols, op)(X, axis=ROWS, keepdims=True)
    assert (one.op, one.inputs, one.value) == (op, (X,), {"rows"})
    assert reduce(op, X, ROWS) is one
    assert reduce(op, X, ROWS, COLUMNS).value == {"rows", "columns"}
    with pytest.raises(TypeError, match=r"several, as \(\*batch, \*pixels\), and .* got axis=\(rows, columns\)"):
        getattr(symbols, op)(X, axis=(ROWS, COLUMNS), keepdims=True)


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, (0, 1), "rows", (ROWS, 1), number(0), W, X])
@pytest.mark.usefixtures("created")
def test_axes_that_are_no_options_are_refused(op, axis):
    message = f"{op} takes axis=, an option of the definition or several, as (*batch, *pixels), and keepdims=True, got "
    with pytest.raises(TypeError, match=re.escape(message)):
        getattr(symbols, op)(X, axis=axis, keepdims=True)


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.usefixtures("created")
def test_axes_that_would_be_left_out_are_refused(op):
    with pytest.raises(TypeError, match=f"{op} takes .* and keepdims=True"):
        getattr(symbols, op)(X, axis=ROWS)


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.usefixtures("created")
def test_a_reduction_leaves_alone_what_has_length_1(op):
    mean = reduce("mean", X, ROWS)
    assert reduce(op, mean, ROWS) is mean
    assert reduce(op, EPS, ROWS) is EPS
    assert reduce(op, mean + EPS, ROWS) is mean + EPS
    rest = reduce(op, mean, ROWS, COLUMNS)
    assert (rest.op, rest.inputs, rest.value) == (op, (mean,), {"columns"})


@pytest.mark.usefixtures("created")
def test_the_mean_of_what_is_centred_is_nothing_and_other_reductions_of_it_are_not():
    centred = X - reduce("mean", X, ROWS)
    assert reduce("mean", centred, ROWS) is ZERO
    assert reduce("max", centred, ROWS).op == "max"
    assert reduce("mean", centred, COLUMNS).op == "mean"
    assert reduce("mean", X - reduce("mean", W, ROWS), ROWS).op == "mean"


def test_a_reduction_is_noted_with_the_line_where_it_was_made_first(created):
    mean = reduce("mean", X, ROWS)
    code = compile("top = max(x, axis=rows, keepdims=True)\nagain = max(x, axis=rows, keepdims=True)", "a file", "exec")
    names = {"max": symbols.max, "x": X, "rows": ROWS}
    exec(code, names)
    assert list(created) == [mean, names["top"]]
    assert created[mean] == (__file__, reduce.__code__.co_firstlineno + 1)
    assert created[names["top"]] == ("a file", 1)


def test_values_are_clipped_and_casts_change_nothing(rng):
    x = rng.normal(size=20)
    (found,) = evaluate([symbols.clip(X, -0.5, 0.5)], {X: x}, {})
    np.testing.assert_array_equal(found, np.clip(x, -0.5, 0.5))
    assert symbols.astype(X, symbols.float64) is symbols.astype(X, symbols.float32, copy=False) is X
