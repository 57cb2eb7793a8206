"""The text of a norm's kernels: a whole module, the same each time, whatever the definition calls its things."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import OF_SETS, norms
from tinygrad_norm.derivation.kernels import _wrapped
from tinygrad_norm.derived import derive

FROM = "<run_path>", "tinygrad_norm.nn.norms.evonorm", "tinygrad_norm.nn.norms.switchable"


@pytest.mark.parametrize("name", [name for name, each in norms.items() if getattr(each, "__module__", "") in FROM])
def test_text_is_the_same_each_time_and_is_python(name):
    text = derive(norms[name]).source
    assert derive(norms[name]).source == text
    functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    kernels = {each for each in functions if not each.startswith("_")}
    both = {"outer_forward", "outer_gradient"}
    assert kernels == (both if name in OF_SETS else both | {"inner_forward", "inner_gradient"})
    assert max(len(line) for line in text.split('"""', 2)[2].splitlines()) <= 120


def test_what_is_imported_is_what_is_used():
    text = derive(norms["linf_norm"]).source
    (imported,) = (
        [each.name for each in node.names]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "tinygrad_norm.kernels.cpu.reduction"
    )
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert {*imported} <= used


def clashing(x: Any, c0: Any, groups: Any, *, axes: Any, n: Any = 0.1) -> Any:
    """Named as the text names its own."""
    xp = x.__array_namespace__()
    sum0 = xp.mean(x, axis=axes, keepdims=True)
    top = xp.mean(xp.square(x - sum0), axis=axes, keepdims=True)
    return (x - sum0) / xp.sqrt(top + n) * c0 + groups


def test_names_of_a_definition_do_not_meet_those_of_the_text(rng):
    x, weight, bias = rng.normal(size=(4, 6)), rng.normal(size=6), rng.normal(size=6)
    for axes in (0, 1):
        expected = derive(norms["layer_norm"])(x, weight, bias, axes=axes, eps=0.1)
        np.testing.assert_allclose(derive(clashing)(x, weight, bias, axes=axes).raw, expected.raw, rtol=1e-12)


def test_a_long_line_has_its_comment_before_it_and_what_is_in_brackets_on_lines_of_its_own():
    call, product = f"    y = f({'a' * 80}, {'b' * 40})", f"    y = f({'a' * 80}) * g({'b' * 40})"
    assert _wrapped(f"{call}  # a formula") == ["    # a formula", *_wrapped(call)]
    assert _wrapped(call) == ["    y = f(", f"        {'a' * 80},", f"        {'b' * 40}", "    )"]
    assert _wrapped(product) == ["    y = (", f"        f({'a' * 80}) *", f"        g({'b' * 40})", "    )"]
    assert _wrapped(product.replace(" = ", " += "))[0] == "    y += ("
    assert _wrapped(f"    {product[8:]},") == ["    (", *_wrapped(product)[1:-1], "    ),"]  # a part of a tuple
    assert _wrapped(call[:100]) == [call[:100]]
