"""What the texts of all kernels have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import norms
from tests.derivation.written import writer
from tinygrad_norm.derivation.adjoints import way_back
from tinygrad_norm.derivation.builtin import normalize_inference
from tinygrad_norm.derivation.expression import reduction, symbol
from tinygrad_norm.derivation.kernels import _INNER, _OUTER
from tinygrad_norm.derivation.program import forward
from tinygrad_norm.derivation.trace import trace
from tinygrad_norm.derivation.writer import FIRST, Writer, block, function, has_word, taken, terms, tuple_of


def test_a_block_has_its_lines_indented_under_its_head():
    assert block("if near:", "break", *block("else:", "top = 1")) == [
        "if near:",
        "    break",
        "    else:",
        "        top = 1",
    ]


def test_a_function_is_python_with_a_docstring():
    text = function("device", "_add", ["a", "b"], "The sum.", "c = a + b", "return c")
    assert text == '@device\ndef _add(a, b):\n    """The sum."""\n    c = a + b\n    return c'


@pytest.mark.parametrize(("parts", "text"), [([], "()"), (["a"], "(a,)"), (["a", "b[0]"], "(a, b[0])")])
def test_the_text_of_a_tuple_is_one(parts, text):
    assert tuple_of(iter(parts)) == text
    assert isinstance(eval(text, {"a": 1, "b": [2]}), tuple)


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [("sum", 3.0, 5.0), ("exact", 3.0, 5.0), ("max", 3.0, 3.0), ("min", 3.0, 2.0), ("max", 1.0, 2.0)],
)
def test_a_value_is_taken_into_an_accumulation(op, value, expected):
    names = {"total": 2.0, "value": value, "maximum": max, "minimum": min}
    exec(taken(op, "total", "value"), names)
    assert names["total"] == expected


@pytest.mark.parametrize("op", FIRST)
def test_what_an_accumulation_begins_with_changes_nothing(op):
    for value in (-3.5, 7.0):
        names = {"np": np, "total": eval(FIRST[op], {"np": np}), "value": value, "maximum": max, "minimum": min}
        exec(taken(op, "total", "value"), names)
        assert names["total"] == value


@pytest.mark.parametrize(
    ("name", "found"),
    [("n", False), ("mean", True), ("c1", False), ("c10", True), ("k", True), ("mea", False), ("np", True)],
)
def test_a_word_is_no_part_of_another(name, found):
    assert has_word(name, "mean[k] = c10[k] / np.sqrt(2)") is found


def test_a_kernel_is_given_what_it_needs_and_no_more():
    assert writer(norms["layer_norm"], False, False).given() == [
        "x",
        "parameters",
        "options",
        "units",
        "statistics",
        "fine",
    ]
    back = writer(norms["layer_norm"], False, True)
    assert back.given() == ["dy", "x", "parameters", "options", "units", "statistics", "fine"]
    assert writer(norms["linf_norm"], True, False).given() == ["x", "options", "units", "statistics", "fine"]
    activated = writer(norms["layer_norm"], False, False, activation=True)
    assert activated.given() == ["x", "parameters", "options", "line", "units", "statistics", "fine"]
    assert (activated.has_line(1), activated.has_line(0)) == (True, False)


@pytest.mark.parametrize(("outer", "back", "name"), [(False, False, "inner_forward"), (True, True, "outer_gradient")])
def test_a_kernel_has_the_name_of_its_kind_and_its_way(outer, back, name):
    w = writer(norms["layer_norm"], outer, back)
    assert (w.name, w.result) == (name, "dx" if back else "y")


def test_options_that_name_axes_are_none_of_a_kernel():
    assert writer(norms["grn"], True, False).options == ["eps"]
    assert writer(norms["batch_renorm"], True, True).options == ["eps", "r_max", "d_max"]


def test_statistics_are_stored_on_the_way_there_and_loaded_on_the_way_back():
    there, back = writer(norms["batch_norm"], True, False), writer(norms["batch_norm"], True, True)
    assert (there.loaded, there.stored) == ([], ["mean", "var"])
    assert (back.loaded, back.stored) == (["mean", "var"], [])
    given = writer(normalize_inference, True, False, given=("mean", "var"))
    assert (given.loaded, given.stored, given.parameters) == (["mean", "var"], [], ["weight", "bias"])


def test_the_gradients_of_parameters_are_added_by_element_in_an_inner_reduction_alone():
    inner, outer = writer(norms["layer_norm"], False, True), writer(norms["layer_norm"], True, True)
    assert inner.added == ["dweight", "dbias"]
    assert outer.added == []
    added = [each for stage in range(len(inner.stages)) for each in inner.added_codes(stage)]
    assert added == [("dweight", "dy[i] * c2 * v0"), ("dbias", "dy[i]")]


def test_a_pass_knows_whether_it_takes_values_from_x0():
    assert [writer(norms["fourth_moment_norm"], True, False).starts(stage) for stage in range(3)] == [
        True,
        False,
        False,
    ]
    assert not writer(norms["l1_norm"], True, False).starts(0)


def test_what_code_needs_is_named_before_it():
    w = writer(norms["soft_norm"], False, False)
    assert w.real(0) == ["real = x.dtype.type"]  # softplus asks for it
    assert writer(norms["linf_norm"], False, False).real(0) == []
    assert writer(norms["layer_norm"], True, True).find(0, "length")[1] == []  # eps is for later
    lines, head, used = w.find(1, "length_of(groups)")
    assert lines[0] == "for j in range(length_of(groups)):"
    assert head == ["eps = options[0]"]
    assert used >= {"size", "sum0"}
    (reciprocal,) = {tuple(writer(normalize_inference, True, False, given=("mean", "var")).find(0, "length")[1])}
    assert reciprocal == ("eps = options[0]", "one = 1.0")


def test_rows_have_the_names_that_are_wanted():
    w = writer(norms["layer_norm"], True, False)
    assert w.rows({"b", "c"}, "sums", ["a", "b", "c", "d"]) == ["b = sums[1]", "c = sums[2]"]
    assert w.listed(options=[1], sums=[], c=True, line=False) == ["options", "c"]
    assert w.uses(1, ["weight", "bias", "gamma"]) == ["bias"]  # the weight is in a coefficient


def test_the_terms_of_a_pass_stand_beside_their_formulas():
    w = writer(norms["layer_norm"], True, True)
    lines = terms(w, 0, "inline", ["r", "k", "dy", "x", "c0", "c1"]).splitlines()
    assert lines[:3] == [
        "@inline",
        "def _outer_gradient_terms_0(r, k, dy, x, c0, c1):",
        '    """What a number adds to the sums."""',
    ]
    assert lines[3:] == [
        "    return (",
        "        dy[r, k] * less(x[r, k], c0[k], c1[k]),  # g · (x − μ)",
        "        dy[r, k],  # g",
        "    )",
    ]


def test_what_is_exact_is_summed_in_float64():
    w = writer(norms["masked_norm"], False, False)
    assert w.codes[0] == ["np.float64(x[i]) * np.float64(mask[i])", "np.float64(mask[i])"]
    assert w.names.of[reduction("sum", symbol("parameter", "mask"), frozenset({"axes"}))] == "n_"


def test_data_are_arguments_beside_x_and_indexed_as_x_is():
    def norm(x: Any, mask: Any, weight: Any, *, axes: Any) -> Any:
        total = x.__array_namespace__().sum(mask * x, axis=axes, keepdims=True)
        return weight * mask * x - total

    traced = trace(norm, data=("mask",))
    way = way_back(traced.y, (traced.x, *traced.parameters))
    for outer, at in ((True, _OUTER), (False, _INNER)):
        w = Writer(traced, way.statistics, forward(traced, way, outer), False, at)
        assert w.data == ["x", "mask"]
        assert w.given()[:3] == ["x", "mask", "parameters"]
        row = "r, k" if outer else "i"
        assert sorted(w.codes[0][0].split(" * ")) == [f"np.float64(mask[{row}])", f"np.float64(x[{row}])"]
