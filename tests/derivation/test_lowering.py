"""What a norm is summed from: nothing that could be taken out of a loop is left in it, and nothing is summed twice."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.derivation.expression import walk
from tinygrad_norm.derivation.lowering import LoweringError, subtracted
from tinygrad_norm.derivation.program import Program, backward, forward
from tinygrad_norm.derivation.writing import Style
from tinygrad_norm.derived import DerivedNorm, derive

norms = run_path(str(Path(__file__).parent / "norms.py"))


def programs(norm: DerivedNorm, outer: bool) -> tuple[Program, Program]:
    names = ["x", *(each.value for each in norm.traced.parameters)]
    gradients = dict(zip(names, norm.gradients, strict=True))
    return forward(norm.traced, norm.way, outer), backward(norm.traced, norm.way, gradients, outer)


def summed(norm: DerivedNorm, program: Program) -> list[str]:
    style = Style(False, norm.traced.names)
    return [f"{node.value} {style.write(node.inputs[0])}" for stage in program.stages for node in stage.sums]


@pytest.mark.parametrize(
    ("name", "outer", "there", "back"),
    [
        ("layer_norm", False, ["sum x − x₀", "sum (x − x₀)²"], ["sum g · γ · (x − μ)", "sum g · γ"]),
        ("layer_norm", True, ["sum x − x₀", "sum (x − x₀)²"], ["sum g · (x − μ)", "sum g"]),
        ("grn", True, ["sum x²"], ["sum g · x", "sum g"]),
        ("linf_norm", True, ["max |x|"], ["sum g · x", "sum where(|x| = top, 1, 0)"]),
        ("l1_norm", False, ["sum |x|"], ["sum g · γ · x"]),
        ("fourth_moment_norm", True, ["sum x − x₀", "sum (x − x₀)²", "sum (x − μ)^4"],
         ["sum g · (x − μ)", "sum g", "sum (x − μ)^3"]),
    ],
)  # fmt: skip
def test_what_is_summed(name, outer, there, back):
    norm = derive(norms[name])
    assert [summed(norm, program) for program in programs(norm, outer)] == [there, back]


def test_what_is_subtracted_from_x_is_summed_in_float64():
    norm = derive(norms["masked_norm"])
    sums = summed(norm, programs(norm, False)[0])
    assert sums == ["exact x · mask", "exact mask", "sum mask · (x − s2 / n)²"]
    assert len(subtracted(norm.traced.y)) == 2


def test_a_mean_far_from_0_keeps_its_digits_where_it_is_no_mean_of_x(rng):
    x, mask = rng.normal(2000, 1, (4, 700)).astype(np.float32), np.ones((4, 700), np.float32)
    y, _, var = derive(norms["masked_norm"])(x, mask, axes=1)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(axis=1, keepdims=True)) / np.sqrt(exact.var(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.raw, expected, atol=2e-6)
    np.testing.assert_allclose(var.raw, exact.var(axis=1, keepdims=True), rtol=3e-6)


def test_a_norm_of_statistics_has_no_inner_reduction():
    with pytest.raises(LoweringError, match="it reduces statistics over channels"):
        programs(derive(norms["grn"]), False)


def over_both_and_one(x: Any, *, batch: Any, pixels: Any, eps: Any = 1e-5) -> Any:
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=(*batch, *pixels), keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=(*batch, *pixels), keepdims=True)
    centre = xp.mean(x, axis=pixels, keepdims=True)
    own = xp.mean(xp.square(x - centre), axis=pixels, keepdims=True)
    return x / xp.maximum(xp.sqrt(var + eps), x + xp.sqrt(own + eps))


def test_a_reduction_over_several_sets_goes_over_rows_first():
    norm = derive(over_both_and_one)
    there, back = programs(norm, True)
    assert there.lowering.rows == {"pixels"}
    assert there.lowering.others == ("batch",)
    assert summed(norm, there) == ["sum x − x₀", "sum (x − x₀)²"]
    mean, *_ = [there.lowering.values[each] for each in norm.way.statistics if norm.traced.names[each] == "mean"]
    assert [(node.op, node.value) for node in walk(mean) if node.op == "join"] == [("join", ("sum", 0))]
    assert len(back.stages) == 2


def test_a_square_is_one_however_it_is_written():
    def by_product(x: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
        xp = x.__array_namespace__()
        d = x - xp.mean(x, axis=axes, keepdims=True)
        return d / xp.sqrt(xp.mean(d * d, axis=axes, keepdims=True) + eps)

    norm = derive(by_product)
    assert summed(norm, programs(norm, True)[0]) == ["sum x − x₀", "sum (x − x₀)²"]


def over_two_sets(x: Any, *, rows: Any, columns: Any, eps: Any = 0.1) -> Any:
    xp = x.__array_namespace__()
    one = xp.mean(xp.square(x), axis=rows, keepdims=True)
    other = xp.mean(xp.square(x), axis=columns, keepdims=True)
    return x / xp.sqrt(one + other + eps)


def test_a_norm_that_reduces_x_over_two_sets_has_no_kernels_and_works_all_the_same(rng):
    norm, x = derive(over_two_sets), rng.normal(size=(3, 4))
    with pytest.raises(LoweringError, match="it reduces values over columns and over rows"):
        programs(norm, True)
    assert norm.source == ""
    size = (x**2).mean(axis=0, keepdims=True) + (x**2).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(norm(x, rows=0, columns=1).raw, x / np.sqrt(size + 0.1))
