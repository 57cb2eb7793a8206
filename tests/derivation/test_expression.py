"""Expressions: those that are alike are one object, know along which axes they have length 1, and are walked once."""

from __future__ import annotations

import math
import operator
import re

import numpy as np
import pytest

from tinygrad_norm import ops
from tinygrad_norm.derivation.evaluation import evaluate
from tinygrad_norm.derivation.expression import (
    ALL,
    Expression,
    adjoint_of,
    count,
    number,
    pointwise,
    reduction,
    symbol,
    walk,
)
from tinygrad_norm.nn import Parameter

X, W, EPS = symbol("x", "x"), symbol("parameter", "weight"), symbol("option", "eps")
ROWS, COLUMNS = frozenset({"rows"}), frozenset({"columns"})
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "gt", "ge", "lt", "le"]


def test_what_is_alike_is_one_object():
    assert symbol("x", "x") is X
    assert number(2) is number(2.0)
    assert (X - W) * EPS is (X - W) * EPS
    assert reduction("mean", X, ROWS) is reduction("mean", X, frozenset({"rows"}))
    assert adjoint_of(reduction("mean", X, ROWS)) is adjoint_of(reduction("mean", X, ROWS))
    assert count(ROWS) is count(frozenset({"rows"}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (X + W, W + X),  # it stays as it was written
        (X * (W * EPS), (X * W) * EPS),
        (X + 1, X + 2),
        (symbol("x", "x"), symbol("parameter", "x")),
        (reduction("mean", X, ROWS), reduction("mean", X, COLUMNS)),
        (reduction("mean", X, ROWS), reduction("sum", X, ROWS)),
        (adjoint_of(X), adjoint_of(W)),
        (count(ROWS), count(COLUMNS)),
    ],
)
def test_what_differs_is_not(one, other):
    assert one is not other


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_the_function_of_its_name_whatever_its_side(name, rng):
    apply, (x, w) = getattr(operator, name), rng.uniform(0.5, 2, (2, 5))
    x[0] = w[0]
    wanted, expected = [apply(X, W), apply(X, 1.5)], [apply(x, w), apply(x, 1.5)]
    if name != "pow":  # which has a number on the right alone
        wanted, expected = [*wanted, apply(1.5, X)], [*expected, apply(1.5, x)]
    for found, other in zip(evaluate(wanted, {X: x, W: w}, {}), expected, strict=True):
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv"])
def test_numbers_of_numpy_may_stand_on_either_side(name):
    apply = getattr(operator, name)
    assert apply(np.float64(1.5), X) is apply(1.5, X)
    assert apply(X, np.float32(1.5)) is apply(X, 1.5)


def test_functions_of_numpy_and_attributes_of_arrays_are_refused():
    for use, words in (
        (lambda: np.exp(X), "np.exp takes arrays; write xp.exp, of xp = x.__array_namespace__()"),
        (lambda: np.abs(X), "np.absolute takes arrays; write xp.abs, of xp = x.__array_namespace__()"),
        (lambda: np.add.reduce(X), "np.add takes arrays"),
        (lambda: np.mean(X, axis=1), "np.mean takes arrays; write xp.mean, of xp = x.__array_namespace__()"),
        (lambda: np.where(X > 0, X, 0), "np.where takes arrays; write xp.where, of xp"),
        (lambda: np.clip(X, 0, 1), "np.clip takes arrays; write xp.clip, of xp"),
        (lambda: np.linalg.norm(X), "norm takes arrays; a definition has no function 'norm'; it has abs, "),
        (lambda: np.stack([X, X]), "np.stack takes arrays; a definition has no function 'stack'; it has abs, "),
        (lambda: np.var(X), "take mean(square(x - mean(x)))"),
        (lambda: ops.mean(X, axis=1), "functions of xp = x.__array_namespace__() need none"),
        (lambda: np.asarray(X), "a definition's values are no arrays and no numbers yet; take functions from xp = "),
        (lambda: math.sqrt(X), "a definition's values are no arrays and no numbers yet; take functions from xp = "),
        (lambda: round(X), "a definition's values are no arrays and no numbers yet"),
        (lambda: len(X), "a definition sees no shape of its values and takes no parts of them; it reduces over axes"),
        (lambda: X[0], "a definition sees no shape of its values and takes no parts of them"),
        (lambda: X @ X, "a definition has +, -, *, /, ** and comparisons, and where() for what & and | would tell"),
        (lambda: (X > 0) & (X < 1), "a definition has +, -, *, /, ** and comparisons, and where()"),
        (lambda: X + np.ones(3), "a definition takes numbers beside its values, got ndarray; give it as a parameter"),
        (lambda: X * "3", "a definition takes numbers beside its values, got '3'; give it as a parameter"),
        (lambda: X * Parameter(2.0), "a definition takes numbers beside its values, got Parameter; give it as a para"),
    ):
        with pytest.raises(TypeError, match=re.escape(words)):
            use()
    assert X * np.array(2.0) is X * 2
    assert +X is X
    with pytest.raises(AttributeError, match=r"there is no x\.shape in a definition"):
        X.shape  # noqa: B018


def test_minus_has_a_minus_in_front_and_less_nothing_is_the_same():
    assert (-X).op == "negative"
    assert X - number(0) is X


def test_an_expression_is_neither_true_nor_false():
    with pytest.raises(TypeError, match=r"a definition does not branch on values; use where\(\)"):
        bool(X > W)


def test_an_expression_knows_along_which_axes_it_has_length_1():
    by_rows, by_columns = reduction("mean", X, ROWS), reduction("mean", X, COLUMNS)
    assert X.reduced == W.reduced == frozenset()
    assert number(2).reduced == EPS.reduced == (EPS * 2).reduced == count(ROWS).reduced == frozenset(ALL)
    assert by_rows.reduced == (by_rows * EPS + 1).reduced == adjoint_of(by_rows).reduced == ROWS
    assert (X - by_rows).reduced == (by_rows + by_columns).reduced == frozenset()
    both = reduction("mean", X, ROWS | COLUMNS)
    assert (by_rows + both).reduced == ROWS
    assert reduction("max", by_rows, COLUMNS).reduced == ROWS | COLUMNS


def test_a_reduction_goes_over_what_is_longer_than_1_and_no_more():
    by_rows = reduction("mean", X, ROWS)
    assert reduction("sum", by_rows, ROWS) is by_rows
    assert reduction("max", EPS, ROWS) is EPS
    both = reduction("sum", by_rows, ROWS | COLUMNS)
    assert (both.op, both.inputs, both.value) == ("sum", (by_rows,), COLUMNS)


def test_a_walk_has_each_part_once_and_inputs_first():
    root = pointwise("where", X > W, (X - W) * X, EPS)
    order = [*walk(root, X - W)]
    assert len(order) == len(set(order)) == 7
    assert set(order) == {X, W, EPS, X > W, X - W, (X - W) * X, root}
    for node in order:
        assert all(order.index(each) < order.index(node) for each in node.inputs)


def test_roots_are_walked_in_their_order():
    assert [*walk(W, X)] == [W, X]
    assert [*walk(X, W, X)] == [X, W]


def test_a_walk_does_not_look_into_what_is_known():
    difference = X - W
    assert [*walk(difference * EPS, known={difference})] == [difference, EPS, difference * EPS]
    assert [*walk(difference * X, known={difference})] == [difference, X, difference * X]


def test_a_walk_goes_deeper_than_python_recurses():
    deep: Expression = X
    for _ in range(5000):
        deep = deep + W
    assert len([*walk(deep)]) == 5002
