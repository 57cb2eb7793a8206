"""Norms that are wrong on purpose deviate in the checks that are for it, and in no other."""

from __future__ import annotations

import math
import os
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from tinygrad_norm.conformance import checks
from tinygrad_norm.conformance.checks import BATCHES, THREADS, run
from tinygrad_norm.conformance.kinds import KINDS
from tinygrad_norm.conformance.norm import find_norm

own = run_path(str(Path(__file__).parent / "own.py"))
SIZE = 2**15
ROWS = {"values": (4, 60), "sets": (5, 67), "long sets": (2, 4001)}
IMAGES = {"values": (3, 4, 20), "sets": (5, 4, 7), "long sets": (2, 4, 501)}
VALUES = [f"value, {given.name}" for given in checks.INPUTS]
FIRST = [f"first derivative, {given.name}" for given in checks.INPUTS]
HIGHER = [f"{order} derivative, float64" for order in ("first", "second", "third")]
MANY = "value, 2^15 values"


@pytest.fixture(autouse=True)
def _smaller(monkeypatch):
    """Thousands of values in the place of millions."""
    monkeypatch.setattr(checks, "MANY", SIZE)
    for name, kind in KINDS.items():
        fewer = {2**24: SIZE, 2**18: SIZE // 64}
        small = {"many": tuple(fewer.get(length, length) for length in kind.shapes["many"])}
        small |= ROWS if name in ("layer", "rms") else IMAGES
        for shape, lengths in small.items():
            monkeypatch.setitem(kind.shapes, shape, lengths)


def found(name, framework="Own", kind="layer", eps=1e-5):
    norm = find_norm(own[framework](), name, KINDS[kind], eps)
    return {check: run(function, check, norm) for check, function in checks.checks().items()}


def deviating(findings):
    return {check for check, finding in findings.items() if finding.verdict == checks.DEVIATES}


def test_a_right_norm_deviates_nowhere_and_every_check_compares_it():
    findings = found("right")
    assert list(findings) == [*VALUES, MANY, *FIRST, *HIGHER, THREADS, BATCHES]
    assert {finding.verdict for finding in findings.values()} == {checks.OK}
    assert {finding.words for finding in findings.values()} == {""}
    assert all(finding.error <= finding.bound for finding in findings.values())


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
    finding = found("held")[HIGHER[0]]
    assert finding.words.startswith("the derivative by x is ")
    a, b = finding.words.removeprefix("the derivative by x is ").removesuffix(" is right").split(" where ")
    assert a != b
    assert finding.error > 0.01
    assert found("no_bias_gradient")[HIGHER[0]].words.startswith("the derivative by bias is 0 where ")
    words = found("in_a_batch")[BATCHES].words
    assert " in a batch and " in words
    assert " alone; " in words
    assert words.endswith(" differ")
    assert f" on {os.cpu_count()} threads and " in found("with_threads")[THREADS].words


def test_no_number_is_an_infinite_error():
    finding = found("parts")[VALUES[3]]
    assert finding.error == math.inf
    assert " where " in finding.words
    deviation = checks._worst(1e-6, {"y": (np.array([1.0, np.nan]), np.array([1.0, -0.43]))}, {})
    assert deviation == (math.inf, 1e-6, "y is NaN where -0.43 is right")


def test_errors_are_relative_to_the_largest_value_and_the_worst_array_counts():
    pairs = {"y": (np.array([9.0, 1.5]), np.array([10.0, 1.0])), "z": (np.array([0.5]), np.array([0.0]))}
    assert checks._worst(1e-6, {"y": pairs["y"]}, {}) == (0.1, 1e-6, "y is 9 where 10 is right")
    assert checks._worst(1e-6, pairs, {}) == (0.5, 1e-6, "z is 0.5 where 0 is right")
    assert checks._worst(1e-6, pairs, {"y": 100.0, "z": 50.0}).error == 0.01
    assert (
        checks._worst(1, {"y": (np.array([1.0]), np.array([1 + 1e-8]))}, {}).words == "y is 1 where 1.00000001 is right"
    )


def test_what_raises_is_refused_and_what_has_no_meaning_is_left_out():
    findings = found("raising")
    assert findings[HIGHER[2]].verdict == checks.REFUSED
    assert findings[HIGHER[2]].words == "ArithmeticError: too few values of x"
    assert findings[VALUES[0]].verdict == checks.OK
    assert found("transposed")[HIGHER[1]].verdict == checks.REFUSED
    findings = found("right_for_eps_of_1e_5")
    assert (findings[VALUES[3]].verdict, findings[VALUES[3]].words) == (checks.INAPPLICABLE, "it takes no eps")
    assert not deviating(findings)
    findings = found("BatchNorm2D", "Layers", "batch")
    assert findings[BATCHES].words == "its statistics are those of the batch"
    assert (findings[VALUES[5]].verdict, findings[FIRST[5]].verdict) == (checks.REFUSED, checks.REFUSED)


def test_one_core_has_no_other_number_of_threads(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert found("with_threads")[THREADS].words == "there is one core"


def test_a_framework_without_gradients_is_checked_for_values():
    findings = found("norm", "Plain")
    assert not deviating(findings) - {VALUES[3]}  # which has an eps of its own
    assert {findings[check].words for check in (*FIRST, *HIGHER)} == {"NumPy has no gradients"}
    assert findings[THREADS].verdict == findings[BATCHES].verdict == checks.OK


@pytest.mark.parametrize(
    ("name", "kind"),
    [("GroupNorm", "group"), ("InstanceNorm2D", "instance"), ("LayerNorm2D", "layer-2d"), ("RMSNorm2D", "rms-2d")],
)
def test_our_layers_of_every_kind_deviate_nowhere(name, kind):
    assert deviating(found(name, "Layers", kind)) == set()


def test_one_bit_is_a_difference():
    one, other = np.array([1, 2], np.float32), np.array([1, np.nextafter(np.float32(2), np.float32(3))])
    assert checks._bits([("y", one)], [("y", one)], "here", "there") == (0.0, 0.0, "")
    error, bound, words = checks._bits([("y", one)], [("y", other)], "here", "there")
    assert (bound, words) == (0.0, "y is 2 here and 2.00000024 there; 1 of 2 differ")
    assert error == pytest.approx(2**-23)
    assert checks._bits([("y", one)], [("y", 0 * one)], "here", "there").error == 2.0
