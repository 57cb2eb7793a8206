"""What is computed between passes: everything after what it needs, checked, and joined before it is used."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from tests.derivation.agreement import OF_SETS, norms
from tests.derivation.written import writer
from tinygrad_norm.derivation.between import follows_gradient
from tinygrad_norm.derivation.builtin import normalize_inference
from tinygrad_norm.derivation.expression import adjoint_of, symbol

NORMS = [name for name, each in norms.items() if getattr(each, "__module__", "") == "<run_path>"]
WAYS = [
    (name, outer, back)
    for name in NORMS
    for outer in (False, True)
    for back in (False, True)
    if outer or name not in OF_SETS
]


def steps(name: str, outer: bool, back: bool) -> list[list[str]]:
    """The lines of each step of a norm, with what is joined between its parts."""
    found = []
    for parts in writer(norms[name], outer, back).found:
        lines = []
        for part in parts:
            lines += [line.replace("{width}", "width") for line in part.lines]
            lines += [f"join_{op}({name}, units[{4 + 2 * over} : {6 + 2 * over}])" for op, over, name in part.joins]
        found.append(lines)
    return found


def target(statement: ast.stmt) -> str:
    """What a line sets, or "" if it sets nothing."""
    if not isinstance(statement, ast.Assign):
        return ""
    (place,) = statement.targets
    place = place.value if isinstance(place, ast.Subscript) else place
    assert isinstance(place, ast.Name)
    return place.id


def flat(lines: list[str]) -> list[ast.stmt]:
    """The lines in their order, those of loops among them."""
    body = ast.parse("\n".join(lines)).body
    return [inner for each in body for inner in (each.body if isinstance(each, ast.For) else [each])]


def names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


@pytest.mark.parametrize(("name", "outer", "back"), WAYS)
def test_nothing_comes_before_what_it_needs(name, outer, back):
    for lines in steps(name, outer, back):
        statements, done = flat(lines), set[str]()
        targets = {*map(target, statements)} - {""}
        for each in statements:
            read = names_in(each.value) if isinstance(each, ast.Assign | ast.AugAssign | ast.Expr) else set()
            assert not (read & targets) - done, ast.unparse(each)
            done.add(target(each))


@pytest.mark.parametrize(("name", "outer", "back"), WAYS)
def test_what_is_joined_is_read_when_it_is(name, outer, back):
    for lines in steps(name, outer, back):
        joins = {match[1]: i for i, line in enumerate(lines) if (match := re.match(r"join_\w+\((\w+), ", line))}
        for i, line in enumerate(lines):
            if " = " in line:
                read = names_in(ast.parse(line.split(" = ", 1)[1]))
                assert all(joins[each] < i for each in read & joins.keys()), line
    assert outer or not any("join" in line for lines in steps(name, outer, back) for line in lines)


def test_a_norm_of_norms_joins_what_it_makes_of_the_first():
    (_, between) = steps("grn", True, False)
    assert between == [
        "for k in range(width):",
        "    energy[k] = sum0[k]  # energy = sum[pixels](x²)",
        "    joined0[k] = np.sqrt(energy[k] + eps)",
        "    ok[k] &= in_range(energy[k], single)",
        "join_sum(joined0, units[4 : 6])",
        "for k in range(width):",
        "    level[k] = joined0[k] / n0  # level = mean[channels](√(energy + ε))",
        "    c0[k] = gamma[k] * np.sqrt(energy[k] + eps) / (level[k] + eps)  # γ · √(energy + ε) / (level + ε)",
        "    ok[k] &= in_range(level[k], single)",
        "    ok[k] &= in_range(c0[k], single)",
    ]


def test_a_mean_is_checked_where_it_begins_and_its_rounding_is_kept():
    before, between = steps("layer_norm", True, False)
    assert before == []
    assert between[:6] == [
        "for k in range(width):",
        "    joined0[k] = sum0[k]",
        "    joined1[k] = sum1[k]",
        "join_sum(joined0, (share, 1))",
        "join_sum(joined1, (share, 1))",
        "near = are_near(start, joined0, joined1, n, ok)",
    ]
    mean = [
        "mean[k] = start[k] + t0  # μ = mean(x)",
        "c0[k] = mean[k]  # μ",
        "c1[k] = mean[k] - c0[k]  # what rounding took",
    ]
    assert [line.strip() for line in between if line.strip() in mean] == mean
    assert not any("are_near" in line for line in steps("layer_norm", False, False)[1])  # a row checks itself
    assert not any("are_near" in line for line in steps("l1_norm", True, False)[1])  # there is no x₀


@pytest.mark.parametrize(("name", "outer", "back"), WAYS)
def test_every_value_is_checked_once_and_those_of_the_gradient_may_be_of_any_size(name, outer, back):
    w = writer(norms[name], outer, back)
    lines = [line.strip() for parts in w.found for part in parts for line in part.lines]
    k = "k" if outer else "j"
    found = sorted(line for line in lines if line.startswith("ok"))
    sized = {*w.statistics, *(w.names.of[value] for value in w.program.lowering.values if not follows_gradient(value))}
    finite = []
    for (of, rest), name in w.coefficients.names.items():
        if follows_gradient(of):
            finite += [] if rest else [name]
        elif of not in w.names.of:  # which is checked by that name
            sized |= set() if rest else {name}
    expected = [f"ok[{k}] &= in_range({each}[{k}], single)" for each in sized]
    assert found == sorted([*expected, *(f"ok[{k}] &= np.isfinite({each}[{k}])" for each in finite)])


def test_what_follows_the_gradient():
    x, g = symbol("x", "x"), symbol("gradient", "g")
    assert follows_gradient(x * g)
    assert follows_gradient(adjoint_of(x) + 1)
    assert not follows_gradient(x + 1)


def test_statistics_that_are_given_are_checked_before_all():
    w = writer(normalize_inference, True, False, given=("mean", "var"))
    (((lines, used, _),),) = w.found
    checked = [f"    ok[k] &= in_range({name}[k], single)" for name in ("mean", "var")]
    assert [line for line in lines if line in checked] == checked
    assert {"mean", "var"} <= used


def test_a_step_tells_which_arrays_it_uses():
    for name, outer, back in WAYS:
        w = writer(norms[name], outer, back)
        arrays = {*w.names.values, *w.names.joins, *w.sums, *w.c, *w.program.totals, "start"}
        for lines, used, _ in (part for parts in w.found for part in parts):
            assert used == names_in(ast.parse("\n".join(lines).replace("{width}", "width"))) & arrays


def twice(x: Any, weight: Any, *, axes: Any, size: Any) -> Any:
    """Names that are used twice."""
    xp, given = x.__array_namespace__(), weight
    weight = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    m = xp.max(x, axis=axes, keepdims=True)
    top = xp.min(x, axis=axes, keepdims=True)
    y = x / (weight + size) * given + top
    top = xp.sum(xp.square(x - m), axis=axes, keepdims=True)
    return y + top * xp.mean(x * xp.abs(x), axis=axes, keepdims=True)


@pytest.mark.parametrize("back", [False, True])
def test_each_value_has_a_name_of_its_own(back):
    w = writer(twice, True, back)
    assert w.names.values[:5] == ["s1", "top_", "m0", "s4", "s5"]
    assert len({*w.names.of.values(), *w.parameters, *w.options}) == len(w.names.of) + 2
    adjoints = [name for value, name in w.names.of.items() if value.op == "adjoint"]
    assert adjoints == (["A_s5", "A_s4", "A_m0", "A_top_", "A_s1"] if back else [])
    assert [*w.names.sums.values()] == [f"sum{i}" for i in range(len(w.sums))]
