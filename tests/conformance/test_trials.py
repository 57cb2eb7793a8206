"""Norms that are wrong on purpose deviate in the checks that are for it, and in no other."""

from __future__ import annotations

import math
import os
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from tinygrad_norm.conformance import trials
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.norm import find_norm
from tinygrad_norm.conformance.trials import BATCHES, THREADS, run_trial

own = run_path(str(Path(__file__).parent / "own.py"))
SIZE = 2**15
ROWS = {"values": (4, 60), "sets": (5, 67), "long sets": (2, 4001)}
IMAGES = {"values": (3, 4, 20), "sets": (5, 4, 7), "long sets": (2, 4, 501)}
VALUES = [f"value, {given.name}" for given in trials.INPUTS]
FIRST = [f"first derivative, {given.name}" for given in trials.INPUTS]
HIGHER = [f"{order} derivative, float64" for order in ("first", "second", "third")]
MANY = "value, 2^15 values"


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    """Thousands of values in the place of millions."""
    monkeypatch.setattr(trials, "MANY", SIZE)
    for name, kind in NORM_KINDS.items():
        fewer = {2**24: SIZE, 2**18: SIZE // 64}
        small = {"many": tuple(fewer.get(length, length) for length in kind.shapes["many"])}
        small |= ROWS if name in ("layer", "rms") else IMAGES
        for shape, lengths in small.items():
            monkeypatch.setitem(kind.shapes, shape, lengths)


def found(name, framework="Own", kind="layer", eps=1e-5):
    norm = find_norm(own[framework](), name, NORM_KINDS[kind], eps)
    return {check: run_trial(function, check, norm) for check, function in trials.trials().items()}


def deviating(outcomes):
    return {check for check, outcome in outcomes.items() if outcome.verdict == trials.DEVIATES}


def test_a_right_norm_deviates_nowhere_and_every_check_compares_it():
    outcomes = found("right")
    assert list(outcomes) == [*VALUES, MANY, *FIRST, *HIGHER, THREADS, BATCHES]
    assert {outcome.verdict for outcome in outcomes.values()} == {trials.OK}
    assert {outcome.words for outcome in outcomes.values()} == {""}
    assert all(outcome.error <= outcome.bound for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("name", "certain", "possible"),
    [
        ("parts", {VALUES[2], VALUES[3], FIRST[2], FIRST[3]}, {VALUES[1], FIRST[1], VALUES[4], FIRST[4]}),
        ("one_pass", {VALUES[1], VALUES[2], VALUES[3], FIRST[1], FIRST[2], FIRST[3]}, {VALUES[4], FIRST[4]}),
        ("held", {FIRST[0], FIRST[4], *HIGHER}, {*FIRST, *VALUES}),
        ("no_bias_gradient", {*FIRST, HIGHER[0]}, set()),
        ("of_half", {MANY}, {THREADS, BATCHES, *VALUES, *FIRST}),
        ("wrong_in_one_place", {MANY}, set()),
        ("in_a_batch", {BATCHES}, set()),
        ("with_threads", {THREADS}, set()),
        ("wrong_kernel", {*FIRST[:3], HIGHER[0]}, {FIRST[4], *HIGHER}),
        ("third_is_zero", {HIGHER[2]}, {*VALUES, *FIRST}),
        ("transposed", set(), set()),
    ],
)
def test_a_wrong_norm_deviates_where_it_is_wrong(name, certain, possible):
    deviations = deviating(found(name))
    assert certain <= deviations <= certain | possible


def test_what_deviates_is_named_with_what_is_right():
    outcome = found("held")[HIGHER[0]]
    assert outcome.words.startswith("the derivative by x is ")
    a, b = outcome.words.removeprefix("the derivative by x is ").removesuffix(" is right").split(" where ")
    assert a != b
    assert outcome.error > 0.01
    assert found("no_bias_gradient")[HIGHER[0]].words.startswith("the derivative by bias is 0 where ")
    words = found("in_a_batch")[BATCHES].words
    assert " in a batch and " in words
    assert " alone; " in words
    assert words.endswith(" differ")
    assert f" on {os.cpu_count()} threads and " in found("with_threads")[THREADS].words


def test_no_number_is_an_infinite_error():
    outcome = found("parts")[VALUES[3]]
    assert outcome.error == math.inf
    assert " where " in outcome.words
    deviation = trials._worst(1e-6, {"y": (np.array([1.0, np.nan]), np.array([1.0, -0.43]))}, {})
    assert deviation == (math.inf, 1e-6, "y is NaN where -0.43 is right")


def test_errors_are_relative_to_the_largest_value_and_the_worst_array_counts():
    pairs = {"y": (np.array([9.0, 1.5]), np.array([10.0, 1.0])), "z": (np.array([0.5]), np.array([0.0]))}
    assert trials._worst(1e-6, {"y": pairs["y"]}, {}) == (0.1, 1e-6, "y is 9 where 10 is right")
    assert trials._worst(1e-6, pairs, {}) == (0.5, 1e-6, "z is 0.5 where 0 is right")
    assert trials._worst(1e-6, pairs, {"y": 100.0, "z": 50.0}).error == 0.01
    assert (
        trials._worst(1, {"y": (np.array([1.0]), np.array([1 + 1e-8]))}, {}).words == "y is 1 where 1.00000001 is right"
    )


def test_what_raises_is_refused_and_what_has_no_meaning_is_left_out():
    outcomes = found("raising")
    assert outcomes[HIGHER[2]].verdict == trials.REFUSED
    assert outcomes[HIGHER[2]].words == "ArithmeticError: too few values of x"
    assert outcomes[VALUES[0]].verdict == trials.OK
    assert found("transposed")[HIGHER[1]].verdict == trials.REFUSED
    outcomes = found("right_for_eps_of_1e_5")
    assert (outcomes[VALUES[3]].verdict, outcomes[VALUES[3]].words) == (trials.INAPPLICABLE, "it takes no eps")
    assert not deviating(outcomes)
    outcomes = found("BatchNorm2D", "Layers", "batch")
    assert outcomes[BATCHES].words == "its statistics are those of the batch"
    assert (outcomes[VALUES[5]].verdict, outcomes[FIRST[5]].verdict) == (trials.REFUSED, trials.REFUSED)


def test_one_core_has_no_other_number_of_threads(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert found("with_threads")[THREADS].words == "there is one core"


def test_a_framework_without_gradients_is_checked_for_values():
    outcomes = found("norm", "Plain")
    assert not deviating(outcomes) - {VALUES[3]}  # which has an eps of its own
    assert {outcomes[check].words for check in (*FIRST, *HIGHER)} == {"NumPy has no gradients"}
    assert outcomes[THREADS].verdict == outcomes[BATCHES].verdict == trials.OK


@pytest.mark.parametrize(
    ("name", "kind"),
    [("GroupNorm", "group"), ("InstanceNorm2D", "instance"), ("LayerNorm2D", "layer-2d"), ("RMSNorm2D", "rms-2d")],
)
def test_our_layers_of_every_kind_deviate_nowhere(name, kind):
    assert deviating(found(name, "Layers", kind)) == set()


def test_one_bit_is_a_difference():
    one, other = np.array([1, 2], np.float32), np.array([1, np.nextafter(np.float32(2), np.float32(3))])
    assert trials._bits([("y", one)], [("y", one)], "here", "there") == (0.0, 0.0, "")
    error, bound, words = trials._bits([("y", one)], [("y", other)], "here", "there")
    assert (bound, words) == (0.0, "y is 2 here and 2.00000024 there; 1 of 2 differ")
    assert error == pytest.approx(2**-23)
    assert trials._bits([("y", one)], [("y", 0 * one)], "here", "there").error == 2.0
