from __future__ import annotations

import json
import math
from pathlib import Path
from runpy import run_path

import pytest

from tinygrad_norm import random
from tinygrad_norm.conformance import Conformance, Outcome, measure, measurement, trials
from tinygrad_norm.conformance.frameworks import TinygradNorm

own = run_path(str(Path(__file__).parent / "own.py"))
FINDINGS = [
    Outcome("value, randn", trials.OK, 8.7e-08, 1e-06),
    Outcome("value, 1e30 randn", trials.DEVIATES, math.inf, 1e-06, "y is NaN where -0.43 is right"),
    Outcome("value, one value", trials.REFUSED, words="ValueError: more than one"),
    Outcome("first derivative, randn", trials.INAPPLICABLE, words="it has no gradients"),
    Outcome("second derivative, float64", trials.INAPPLICABLE, words="it has no gradients"),
]


def test_the_table_names_each_deviation():
    found = Conformance("a.Norm", "Framework 1.2", "rms", FINDINGS)
    assert not found
    assert str(found).splitlines() == [
        "a.Norm of Framework 1.2, as RMS norm, beside its formula in 420 digits",
        "",
        "check                         error    bound",
        "value, randn                8.7e-08  1.0e-06  ok",
        "value, 1e30 randn               inf  1.0e-06  DEVIATES",
        "value, one value                  -        -  refused",
        "first derivative, randn           -        -  -",
        "second derivative, float64        -        -  -",
        "  value, 1e30 randn: y is NaN where -0.43 is right",
        "  value, one value: ValueError: more than one",
        "  -: it has no gradients",
        "",
        "1 of 5 checks deviate",
    ]


def test_json_has_the_same_and_no_infinity():
    found = Conformance("a.Norm", "Framework 1.2", "rms", FINDINGS).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["ok"], found["name"], found["framework"], found["kind"]) == (False, "a.Norm", "Framework 1.2", "rms")
    assert [row["error"] for row in found["outcomes"]] == [8.7e-08, None, None, None, None]


def test_what_is_refused_or_has_no_meaning_is_no_deviation():
    found = Conformance("a.Norm", "Framework 1.2", "rms", [FINDINGS[0], *FINDINGS[2:]])
    assert found
    assert str(found).endswith("\n\nno check deviates")


@pytest.fixture
def few(monkeypatch):
    every = trials.trials()
    names = ("value, randn", "third derivative, float64")
    monkeypatch.setattr(measurement, "trials", lambda: {name: every[name] for name in names})


def test_two_measurements_are_alike_and_leave_the_generator_alone(few):
    random.manual_seed(7)
    state = random.state_dict()
    one, two = (measure("GroupNorm", "tinygrad_norm") for _ in range(2))
    assert one == two
    assert one
    assert (one.name, one.framework, one.kind) == ("GroupNorm", str(TinygradNorm()), "group")
    assert random.state_dict() == state


def test_what_a_norm_draws_is_put_back(few, monkeypatch):
    monkeypatch.setattr(measurement, "FRAMEWORKS", {"own": own["Own"]})
    state = random.state_dict()
    assert measure("drawing", "own")
    assert random.state_dict() == state


def test_progress_sees_each_check(few):
    seen = []

    def progress(checks, doing):
        for name, check in checks:
            seen.append((doing, name))
            yield name, check

    measure("LayerNorm", "tinygrad_norm", progress=progress)
    assert seen == [("LayerNorm", "value, randn"), ("LayerNorm", "third derivative, float64")]


def test_bad_input():
    with pytest.raises(ValueError, match=r"framework is 'tinygrad_norm' or .*, got 'touch'; did you mean torch"):
        measure("LayerNorm", "touch")
    with pytest.raises(ValueError, match=r"measure: kind is 'layer' or .*, got 'bach'; did you mean batch"):
        measure("LayerNorm", "tinygrad_norm", "bach")
