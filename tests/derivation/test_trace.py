"""What a definition may be, and what is said about one that is none."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.derivation.expression import walk
from tinygrad_norm.derivation.trace import trace
from tinygrad_norm.derived import derive


def branches(x: Any, *, axes: Any, eps: Any) -> Any:
    mean = x.__array_namespace__().mean(x, axis=axes, keepdims=True)
    if mean > 0:
        return x - mean
    return x + mean


def has_no_such_function(x: Any, *, axes: Any) -> Any:
    return x.__array_namespace__().median(x, axis=axes, keepdims=True)


def loses_an_axis(x: Any, *, axes: Any) -> Any:
    return x - x.__array_namespace__().mean(x, axis=axes)


def names_axes_itself(x: Any, *, axes: Any) -> Any:
    return x - x.__array_namespace__().mean(x, axis=(0, 1), keepdims=True)


def is_no_norm(x: Any, *, axes: Any) -> Any:
    return x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def forgets_x(x: Any, weight: Any, *, axes: Any) -> Any:
    return weight


def takes_a_shape(x: Any, *, axes: Any) -> Any:
    return x.reshape(-1)


def takes_options_by_position(x: Any, axes: Any, eps: Any = 1e-5) -> Any:
    return x


def writes_in_place(x: Any, w: Any, *, axes: Any) -> Any:
    y = x
    y += w
    return y - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def takes_anything(x: Any, *parameters: Any, axes: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (branches, r"derive: branches, line \d+ \(if mean > 0:\): a definition does not branch on values; use where"),
        (has_no_such_function, r"line \d+ \(return .*median.*\): a definition has no function 'median'; it has abs, "),
        (loses_an_axis, r"mean takes axis=, an option of the definition or several, .*, and keepdims=True, got axis="),
        (names_axes_itself, r"mean takes axis=, an option of the definition or several, .* got axis=\(0, 1\)"),
        (is_no_norm, r"derive: is_no_norm returns what has the shape of x, or \(.*\), got length 1 along axes"),
        (forgets_x, r"forgets_x returns what has the shape of x, or \(that, \*statistics\), got nothing of x"),
        (takes_a_shape, r"line \d+ \(return x.reshape\(-1\)\): .*reshape"),
        (takes_options_by_position, r"definition is takes_options_by_position\(x, \*parameters, \*, axes, eps\), got"),
        (writes_in_place, r"writes_in_place, line 53 \(y \+= w\): a definition writes nothing in place"),
        (takes_anything, r"definition is takes_anything\(x, \*parameters, \*, axes, eps\), got"),
    ],
)
def test_what_is_no_definition_is_refused_with_its_line(definition, words):
    with pytest.raises(ValueError, match=words):
        derive(definition)


def test_a_definition_without_a_source_has_no_names_for_its_statistics():
    names: dict[str, Any] = {}
    exec("def centred(x, *, axes):\n    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)", names)
    assert str(derive(names["centred"]).formula) == "s1 = mean(x)\ny = x − s1"


@pytest.mark.parametrize("what", [3, None, "LayerNorm", np.mean, len])
def test_what_is_no_function_in_python_is_refused(what):
    with pytest.raises(TypeError, match="derive: a definition is a function in Python, got "):
        derive(what)


def test_a_derived_norm_is_derived_already():
    norm = derive(lambda x, *, axes: x - x.__array_namespace__().mean(x, axis=axes, keepdims=True))
    assert derive(norm) is norm


def gives_a_number(x: Any, *, axes: Any) -> Any:
    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True), 3.0


def has_a_view(x: Any, *, axes: Any, view: Any) -> Any:
    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def compares(x: Any, *, axes: Any) -> Any:
    return x if axes == -1 else x * 2


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (gives_a_number, r"gives_a_number returns y, or \(y, \*statistics\) that it took of x, got 3.0"),
        (has_a_view, "has_a_view has an option view, which is one of every derived norm; give it another name"),
        (compares, r"compares, line \d+ .*: a definition does not branch on values; use where\(\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(definition, words):
    with pytest.raises(ValueError, match=words):
        derive(definition)


def test_values_are_compared_where_a_definition_compares_them(rng):
    def zero_is_kept(x: Any, *, axes: Any) -> Any:
        xp = x.__array_namespace__()
        return xp.where(x == 0, x, x - xp.mean(x, axis=axes, keepdims=True))

    x = rng.integers(-1, 2, (4, 5)).astype(float)
    expected = np.where(x == 0, x, x - x.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(derive(zero_is_kept)(x, axes=1).raw, expected)


def test_a_name_belongs_to_one_statistic_and_to_it_alone():
    def renamed(x: Any, *, axes: Any, eps: Any = 0.1) -> Any:
        xp = x.__array_namespace__()
        g = xp.mean(xp.abs(x), axis=axes, keepdims=True)
        size = xp.mean(x * g, axis=axes, keepdims=True)
        size = xp.mean(x / (xp.abs(size) + eps), axis=axes, keepdims=True)
        root = xp.sqrt(xp.mean(xp.square(x), axis=axes, keepdims=True) + eps)
        return x - size / root

    assert str(derive(renamed).formula).splitlines() == [
        "s1 = mean(|x|)",
        "size = mean(x · s1)",
        "s3 = mean(x / (|size| + ε))",
        "s4 = mean(x²)",
        "y = x − s3 / √(s4 + ε)",
    ]


def test_a_partial_of_a_definition_is_one():
    def cut(x: Any, *, axes: Any, least: Any, eps: Any) -> Any:
        xp = x.__array_namespace__()
        return x / (xp.mean(xp.abs(x), axis=axes, keepdims=True) + eps + least)

    assert str(derive(partial(cut, least=0.5)).formula).splitlines()[0] == "s1 = mean(|x|)"


def uses_no_eps(x: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    return x - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def has_axes_of_nothing(x: Any, weight: Any, *, axes: Any, eps: Any) -> Any:
    return weight * x.__array_namespace__().tanh(x) + eps


def counts_with_axes(x: Any, *, axes: Any) -> Any:
    return x * axes - x.__array_namespace__().mean(x, axis=axes, keepdims=True)


def roots_of_two(x: Any, weight: Any, *, axes: Any) -> Any:
    return x.__array_namespace__().sqrt(x, weight)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (uses_no_eps, "derive: uses_no_eps uses all of its options, got eps, which is not in what it returns"),
        (has_axes_of_nothing, "has_axes_of_nothing uses all of its options, got axes, which is not in what it returns"),
        (counts_with_axes, "derive: counts_with_axes takes axes for axes, or for a number, got one that is both"),
        (roots_of_two, r"roots_of_two, line \d+ \(return .*\): sqrt takes 1 value, got x, weight$"),
    ],
)
def test_options_and_inputs_are_used_as_what_they_are(definition, words):
    with pytest.raises(ValueError, match=words):
        derive(definition)


def test_an_option_of_a_statistic_alone_is_used():
    def scaled_mean(x: Any, *, axes: Any, by: Any) -> Any:
        mean = x.__array_namespace__().mean(x, axis=axes, keepdims=True)
        return x - mean, mean * by

    x = np.array([[1.0, 3]])
    assert derive(scaled_mean)(x, axes=1, by=3)[1].item() == 6


def test_parameters_are_told_apart_by_what_they_are():
    def norm(x: Any, mean: Any, mask: Any, weight: Any) -> Any:
        return weight * mask * (x - mean)

    traced = trace(norm, ("mean",), ("mask",))
    assert [[each.value for each in some] for some in (traced.parameters, traced.given, traced.data)] == [
        ["weight"],
        ["mean"],
        ["mask"],
    ]
    assert {node.value: node.op for node in walk(traced.y) if not node.inputs} == {
        "x": "x",
        "mean": "given",
        "mask": "data",
        "weight": "parameter",
    }
    assert trace(norm).data == ()
