"""Contenders in processes of their own: who is timed, how often, and what becomes of one that fails."""

from __future__ import annotations

import time
from functools import partial

import pytest

from benchmarks.timing import Team, Timing, spread


def sleeper(milliseconds):
    return partial(time.sleep, milliseconds / 1e3)


def failing():
    raise OSError("no such contender")


def test_times_each_contender_in_every_round():
    with Team(turn_ms=4) as team:
        found = team.time({"slow": partial(sleeper, 8), "fast": partial(sleeper, 2)}, rounds=3)
    assert [len(timing.rounds) for timing in found.values()] == [3, 3]
    assert 8 <= found["slow"].least < 40
    assert 2 <= found["fast"].least < found["slow"].least


def test_a_slow_rival_stops_after_two_rounds_and_others_go_on():
    makers = {"ours": partial(sleeper, 9), "fast": partial(sleeper, 2), "slow": partial(sleeper, 9)}
    with Team(turn_ms=2) as team:
        found = team.time(makers, rounds=4, rivals=("fast", "slow"))
    assert {name: len(timing.rounds) for name, timing in found.items()} == {"ours": 4, "fast": 4, "slow": 2}


def test_a_failure_names_the_contender_and_says_why():
    with Team() as team, pytest.raises(RuntimeError, match=r"theirs: (.|\n)*OSError: no such contender"):
        team.time({"theirs": failing})


def test_median_and_spread():
    timing = Timing((1.0, 2.0, 3.0, 4.0, 100.0))
    assert (timing.least, timing.median) == (1, 3)
    assert spread([1.0] * 9 + [5.0]) == (1, pytest.approx(1.4))
    assert spread([7.0]) == (7, 7)
