from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.checks import (
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    UP_TO_INFINITY,
    Range,
    RefusesUnknownKeywords,
    check_choice,
    check_flag,
    check_float_dtype,
    check_integer,
    check_number,
    check_pair,
    check_type,
    closest,
    did_you_mean,
    refuse_unknown,
)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_integers_of_any_kind_become_int(value):
    number = check_integer("count", value, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [3.0, "3", None, True, np.True_, np.float32(3)])
def test_anything_else_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"count is an integer of at least 1, got .*\("):
        check_integer("count", value, 1)


def test_too_small_a_value_names_the_bound():
    with pytest.raises(ValueError, match="count is an integer of at least 3, got 2"):
        check_integer("count", 2, 3)
    assert check_integer("count", sys.maxsize, 0) == sys.maxsize
    with pytest.raises(ValueError, match=r"count is an integer of at most \d+, got an integer of about 401 digits"):
        check_integer("count", 10**400, 0)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1)])
def test_real_numbers_of_any_kind_become_float(value):
    number = check_number("p", value, FRACTION)
    assert number == value
    assert type(number) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, [0.5]])
def test_what_is_no_real_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="p is a number from 0 to 1, got"):
        check_number("p", value, FRACTION)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), -float("inf")])
def test_a_real_number_outside_its_bounds_is_refused(value):
    with pytest.raises(ValueError, match=f"p is a number from 0 to 1, got {value}"):
        check_number("p", value, FRACTION)


def test_a_real_number_without_an_upper_bound_is_finite_all_the_same():
    assert check_number("std", 1e300, NOT_NEGATIVE) == 1e300
    for value in (-1, float("inf")):
        with pytest.raises(ValueError, match=f"std is a finite number of at least 0, got {value}"):
            check_number("std", value, NOT_NEGATIVE)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (10**400, "an integer of about 401 digits"),
        (-(10**400), "a negative integer of about 401 digits"),
        (10**5000, "an integer of about 5001 digits"),  # which Python refuses to write
        (Fraction(10**400), "a Fraction"),
    ],
    ids=["long", "negative", "longer", "fraction"],
)
def test_a_number_beyond_floats_is_infinite_and_is_shown_as_it_was_given(value, shown):
    with pytest.raises(ValueError, match=f"^eps is a finite number of at least 0, got {shown}, beyond all floats$"):
        check_number("eps", value, NOT_NEGATIVE)
    if isinstance(value, int):
        with pytest.raises(ValueError, match=f"^n is an integer of at (most|least) [0-9]+, got {shown}$"):
            check_integer("n", value, 0)
    if value > 0:
        assert check_number("r_max", value, UP_TO_INFINITY) == math.inf
    else:
        with pytest.raises(ValueError, match="at least 0, or infinite, got a negative"):
            check_number("r_max", value, UP_TO_INFINITY)


def test_a_number_of_ones_own():
    assert check_number("k", 4, Range("even", lambda value: value % 2 == 0)) == 4.0
    with pytest.raises(ValueError, match="k is even, got 3"):
        check_number("k", 3, Range("even", lambda value: value % 2 == 0))


def test_a_whole_number_is_one_that_an_index_can_be():
    assert check_integer("steps", sys.maxsize, 0) == sys.maxsize
    with pytest.raises(ValueError, match=r"steps is an integer of at most \d+, got an integer of about 401 digits"):
        check_integer("steps", 10**400, 0)


def test_whole_numbers_come_back_as_pythons_own():
    for given, found in ((3, 3), (1, 1), (np.int64(7), 7)):
        checked = check_integer("k", given, 1)
        assert (checked, type(checked)) == (found, int)
    with pytest.raises(ValueError, match="k is an integer of at least 1, got 0"):
        check_integer("k", 0, 1)
    for wrong in (1.0, True, "3"):
        with pytest.raises(TypeError, match="k is an integer of at least 1, got "):
            check_integer("k", wrong, 1)


def test_a_pair_is_one_number_for_both_or_two_of_them():
    assert check_pair("op: stride", 3, 1) == (3, 3)
    assert check_pair("op: stride", (1, 4), 1) == check_pair("op: stride", [np.int64(1), 4], 1) == (1, 4)
    assert {type(n) for n in check_pair("op: stride", (np.int32(1), 4), 1)} == {int}


@pytest.mark.parametrize("value", [0, (2, 0), (0, 2), -1])
def test_a_pair_of_too_little_is_refused(value):
    with pytest.raises(
        ValueError, match="op: stride is an integer of at least 1, or one for height and one for width, got "
    ):
        check_pair("op: stride", value, 1)
    if min(np.atleast_1d(value)) == 0:
        assert check_pair("op: padding", value, 0) == tuple(np.broadcast_to(value, 2))


@pytest.mark.parametrize("value", [1.0, True, (1,), (1, 2, 3), (1, 2.0), (False, 1), "12", None])
def test_what_is_no_pair_is_refused(value):
    with pytest.raises(
        TypeError, match="op: stride is an integer of at least 0, or one for height and one for width, got "
    ):
        check_pair("op: stride", value, 0)


def test_a_flag_is_true_or_false():
    for flag in (True, False, np.True_, np.False_):
        check_flag("op: keepdims", flag)
    for other in (1, 0, "no", None):
        with pytest.raises(TypeError, match="op: keepdims is True or False, got "):
            check_flag("op: keepdims", other)


@pytest.mark.parametrize("value", ["naerest", "", None, 1])
def test_what_is_no_choice_is_refused_with_what_was_meant(value):
    meant = r"; did you mean nearest\?$" if value == "naerest" else "$"
    with pytest.raises(ValueError, match=f"^op: mode is 'nearest' or 'bilinear', got {value!r}{meant}"):
        check_choice("op: mode", value, ("nearest", "bilinear"))
    check_choice("op: mode", "nearest", ("nearest", "bilinear"))


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (POSITIVE, [1e-300, 1], [0, -1, math.inf, math.nan]),
        (NOT_NEGATIVE, [0, 1e300], [-1e-300, math.inf, math.nan]),
        (UP_TO_INFINITY, [0, math.inf], [-1e-300, math.nan]),
        (FRACTION, [0, 1], [-0.01, 1.01, math.nan]),
        (BELOW_ONE, [0, 0.99], [-0.01, 1, math.nan]),
    ],
)
def test_each_range_holds_what_its_words_say(allowed, inside, outside):
    assert [check_number("x", value, allowed) for value in inside] == inside
    for value in outside:
        with pytest.raises(ValueError, match=f"^x is {allowed.words}, got {value:g}$"):
            check_number("x", value, allowed)


def test_closest_prefers_the_same_word_in_other_capitals():
    assert closest("batchnorm2d", ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D"]) == "BatchNorm2D"


def test_closest_finds_a_typing_error_and_nothing_far_away():
    assert closest("wieght", ["bias", "weight"]) == "weight"
    assert closest("mpl", ["mlp", "lenet5"]) == "mlp"
    assert closest("gamma", ["bias", "weight"]) is None
    assert closest("Batchnorm", ["BatchNorm1D", "BatchNorm2D", "BatchNorm3D"]) == "BatchNorm2D"
    assert did_you_mean("wieght", ["weight"]) == "; did you mean weight?"
    assert did_you_mean("gamma", ["weight"]) == ""


def test_an_attribute_spelled_wrong_is_answered():
    with pytest.raises(AttributeError, match=r"no attribute 'BatchNorm2d'; did you mean BatchNorm2D\?"):
        getattr(nn, "BatchNorm2d")  # noqa: B009 - a type checker knows that it is not there


def test_an_import_spelled_wrong_is_answered():
    with pytest.raises(ImportError, match=r"no attribute 'BatchNorm2d'; did you mean BatchNorm2D\?"):
        exec("from tinygrad_norm.nn import BatchNorm2d")


def test_an_import_whose_name_has_a_large_number_in_the_bytecode_is_answered():
    many = "\n".join(f"n{number} = {number}" for number in range(300))  # IMPORT_FROM then needs an EXTENDED_ARG
    with pytest.raises(ImportError, match="did you mean Linear"):
        exec(f"{many}\nfrom tinygrad_norm.nn import Linaer", {})


def test_hasattr_and_getattr_keep_their_promise():
    assert not hasattr(nn, "BatchNorm2d")
    assert getattr(nn, "BatchNorm2d", None) is None


def test_submodules_can_still_be_imported_by_name():
    code = "from tinygrad_norm.nn import summary; print(summary.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "tinygrad_norm.nn.summary"


def test_the_front_door_has_what_it_lists_and_lists_each_once():
    assert [name for name in nn.__all__ if not hasattr(nn, name)] == []
    assert len(set(nn.__all__)) == len(nn.__all__)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("learning_rate", "lr"), ("Epsilon", "eps"), ("beta1", "betas"), ("weight_decey", "weight_decay")],
)
def test_an_unknown_name_is_answered_with_the_one_that_was_meant(name, meant):
    with pytest.raises(TypeError, match=rf"Adam has no option '{name}' \(it has .*\); did you mean {meant}\?"):
        refuse_unknown("Adam", ["lr", name], ["lr", "eps", "betas", "weight_decay"])


def test_an_alias_of_what_is_not_there_is_no_answer():
    with pytest.raises(TypeError, match=r"SGD has no option 'epsilon' \(it has lr, momentum\)$"):
        refuse_unknown("SGD", ["epsilon"], ["lr", "momentum"])
    refuse_unknown("SGD", ["lr"], ["lr", "momentum"])


def test_what_takes_nothing_says_so():
    with pytest.raises(TypeError, match=r"Tanh has no option 'x' \(it has none\)$"):
        refuse_unknown("Tanh", ["x"], [])


def test_keywords_are_those_of_init_and_any_where_it_takes_any():
    class Some(RefusesUnknownKeywords):
        def __init__(self, weight: int = 0) -> None: ...

    class Every(RefusesUnknownKeywords):
        def __init__(self, **options: int) -> None: ...

    Some(weight=1)
    Every(wieght=1)
    with pytest.raises(TypeError, match=r"Some has no option 'wieght' \(it has weight\); did you mean weight\?"):
        Some(wieght=1)


def test_the_nearest_of_several_names_is_meant():
    assert closest("momentun", ["moment", "momentum", "monument"]) == "momentum"
    assert closest("Dropout", ["dropout2d", "Dropout2D", "dropout"]) == "dropout"
    assert closest("xyz", ["abc"]) is None


@pytest.mark.parametrize("value", [np.float32, "float64", float, np.dtype("f4")])
def test_floating_dtypes(value):
    assert check_float_dtype("dtype", value) == np.dtype(value)


@pytest.mark.parametrize(
    ("value", "given"), [(None, "None"), ("half", "float16"), (int, "int64"), ("no", "'no'"), (">f4", ">f4"), (3, "3")]
)
def test_other_dtypes_are_refused(value, given):
    with pytest.raises(TypeError, match=f"^images: dtype is float32 or float64, got {given}$"):
        check_float_dtype("images: dtype", value)


def test_types():
    check_type("hook", print, Callable, "callable")
    check_type("k", 3, int | str, "a number or text")
    with pytest.raises(TypeError, match=r"^k is a number or text, got list$"):
        check_type("k", [], int | str, "a number or text")


def test_a_choice_or_a_function():
    check_choice("norm", "batch", ["batch", "none"], "a function")
    check_choice("norm", print, ["batch", "none"], "a function")
    with pytest.raises(ValueError, match=r"^norm is 'batch' or .* a function, got 'bach'; did you mean batch\?$"):
        check_choice("norm", "bach", ["batch", "none"], "a function")
    with pytest.raises(TypeError, match=r"^norm is 'batch' or 'none' or a function, got 3$"):
        check_choice("norm", 3, ["batch", "none"], "a function")
    with pytest.raises(ValueError, match=r"^norm is 'batch', got <built-in"):
        check_choice("norm", print, ["batch"])
