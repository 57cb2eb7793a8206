from __future__ import annotations

import pytest

from tinygrad_norm.experiments.papers.paper import (
    AGREES,
    CONTRADICTS,
    NOT_SHOWN,
    Finding,
    Judgement,
    Paper,
    is_lower,
    is_no_higher,
    retell,
    together,
)
from tinygrad_norm.experiments.spread import Spread

LOW, HIGH, BETWEEN = Spread((1.0, 2.0)), Spread((3.0, 4.0)), Spread((1.5, 3.5))
ONE = Spread((0.0,))


def judged(*outcomes):
    return Judgement(tuple(Finding(f"part {n}", outcome, "Figures.") for n, outcome in enumerate(outcomes)), "smaller.")


def test_lower_only_where_ranges_are_apart():
    assert is_lower(LOW, HIGH) == AGREES
    assert is_lower(HIGH, LOW) == CONTRADICTS
    assert is_lower(LOW, BETWEEN) == is_lower(BETWEEN, LOW) == is_lower(ONE, ONE) == NOT_SHOWN


def test_no_higher_is_contradicted_only_where_ranges_are_apart():
    assert is_no_higher(HIGH, LOW) == CONTRADICTS
    assert is_no_higher(LOW, HIGH) == is_no_higher(LOW, BETWEEN) == is_no_higher(BETWEEN, LOW) == AGREES
    assert is_no_higher(ONE, ONE) == NOT_SHOWN


@pytest.mark.parametrize(
    ("outcomes", "joined"),
    [
        ((AGREES, AGREES), AGREES),
        ((AGREES, NOT_SHOWN), NOT_SHOWN),
        ((AGREES, CONTRADICTS), NOT_SHOWN),
        ((NOT_SHOWN, CONTRADICTS), CONTRADICTS),
        ((), NOT_SHOWN),
    ],
)
def test_several_settings(outcomes, joined):
    assert together(outcomes) == joined


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ((AGREES,), "agrees"),
        ((NOT_SHOWN, NOT_SHOWN), "does not show it"),
        ((CONTRADICTS,), "contradicts"),
        ((CONTRADICTS, AGREES, AGREES), "agrees in 2, contradicts 1 of 3 parts"),
        ((NOT_SHOWN, CONTRADICTS), "does not show 1, contradicts 1 of 2 parts"),
    ],
)
def test_the_verdict_in_words(outcomes, verdict):
    assert judged(*outcomes).verdict == verdict


def test_a_story_has_claim_number_ours_verdict_and_difference():
    paper = Paper("A. One and B. Two", "On Norms", 2018, "Norms help.", "9 % on ImageNet.")
    summary = retell(paper, judged(AGREES, NOT_SHOWN), [], "how").summary
    assert list(summary) == [
        "The paper (A. One and B. Two, On Norms, 2018): Norms help.",
        "Its figures: 9 % on ImageNet.",
        "part 0: ours agrees. Figures.",
        "part 1: ours does not show it. Figures.",
        "Verdict: agrees in 1, does not show 1 of 2 parts.",
        "The setting differs: smaller.",
    ]
