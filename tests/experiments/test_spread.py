from __future__ import annotations

import math

import pytest

from tinygrad_norm.experiments.spread import Spread, caution, compare_spreads, percent, step_count


def said(a, b, form=percent):
    return compare_spreads("A", Spread.of(a), "B", Spread.of(b), form, words=("better", "worse"))


def test_mean_and_range():
    spread = Spread.of([1.0, 2.0, 6.0])
    assert (spread.mean, spread.low, spread.high) == (3.0, 1.0, 6.0)
    assert spread.words(lambda value: f"{value:g}") == "3 (1 to 6)"
    assert Spread.of([0.5, 0.5]).words(percent) == "50.0 %"


@pytest.mark.parametrize("value", [0.1, 0.3, 0.047887323943662, 1 / 3])
def test_rounding_takes_the_mean_of_equal_values_nowhere(value):
    for count in range(1, 12):
        spread = Spread.of([value] * count)
        assert spread.low <= spread.mean <= spread.high


def test_better_and_worse_only_where_ranges_are_apart():
    assert (
        said([0.1, 0.2], [0.3, 0.4])
        == "A is better than B: 15.0 % (10.0 % to 20.0 %) against 35.0 % (30.0 % to 40.0 %)."
    )
    assert said([0.3, 0.4], [0.1, 0.2]).startswith("A is worse than B: ")


@pytest.mark.parametrize("b", [[0.2, 0.4], [0.15, 0.17], [0.0, 0.9], [0.1, 0.2]])
def test_overlapping_ranges_are_no_difference(b):
    words = said([0.1, 0.2], b)
    assert words.startswith("A and B: no difference seen at 2 seeds; ")
    assert "better" not in words
    assert "worse" not in words


def test_one_seed_says_nothing():
    assert said([0.1], [0.9]).startswith("A and B: one seed says nothing of a difference")


def test_a_goal_that_was_not_reached():
    form = step_count(1000)
    assert said([10, 20], [None, None], form) == "A is better than B: 15 (10 to 20) against not within 1,000 steps."
    assert said([None, None], [None, None], form) == "A and B: not within 1,000 steps, either."
    assert said([10, None], [500, 900], form).startswith("A and B: no difference seen")
    assert math.isinf(Spread.of([10, None]).mean)


@pytest.mark.parametrize(("seeds", "odds"), [(2, 3), (3, 10), (5, 126)])
def test_caution_says_how_often_equal_things_come_apart(seeds, odds):
    assert f"once in {odds} comparisons" in caution(seeds)


def test_caution_of_one_seed():
    assert "nothing here is called better" in caution(1)
