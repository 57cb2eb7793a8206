"""What a definition may be, and what is said about one that is none."""

from __future__ import annotations

from typing import Any

import pytest

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


def takes_anything(x: Any, *parameters: Any, axes: Any) -> Any:
    return x


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (branches, r"derive: branches, line \d+ \(if mean > 0:\): a definition does not branch on values; use where"),
        (has_no_such_function, r"line \d+ \(return .*median.*\): a definition has no function 'median'; it has abs, "),
        (loses_an_axis, r"mean takes axis=, an option of the definition or several, and keepdims=True, got axis="),
        (names_axes_itself, r"mean takes axis=, an option of the definition or several, .* got axis=\(0, 1\)"),
        (is_no_norm, r"derive: is_no_norm returns what has the shape of x, or \(.*\), got length 1 along axes"),
        (forgets_x, r"forgets_x returns what has the shape of x, or \(that, \*statistics\), got nothing of x"),
        (takes_a_shape, r"line \d+ \(return x.reshape\(-1\)\): .*reshape"),
        (takes_options_by_position, r"definition is takes_options_by_position\(x, \*parameters, \*, axes, eps\), got"),
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
