from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_norm.experiments import steps_to_loss as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.experiments.runs import steps_until

SMALL = replace(
    experiment.QUICK,
    activations=("relu",),
    width=16,
    lrs=(0.01, 0.1),
    factors=(1, 30),
    target=0.5,
    steps=120,
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


def test_the_rate_is_the_best_of_the_scan_at_a_seed_of_its_own(result):
    assert [row["seed"] for row in result["scan"]] == [2, 2]
    arrived = [row for row in result["scan"] if row["steps"]]
    assert result["best_lr"] == {"relu": min(arrived, key=lambda row: row["steps"])["lr"]}


def test_steps_are_those_of_the_losses_and_a_run_ends_there(result):
    assert len(result["rows"]) == 2 * 2 * 2
    for row in result["rows"]:
        assert row["steps"] == steps_until(row["losses"], 0.5, SMALL.window)
        if row["steps"]:
            assert len(row["losses"]) == row["steps"]
        elif not row["diverged"]:
            assert len(row["losses"]) == SMALL.steps
    assert any(row["steps"] for row in result["rows"])


def made_up(plain, normed, at_five=(None, None)):
    rows = [
        {"activation": "relu", "factor": factor, "batch_norm": norm, "seed": seed, "steps": steps}
        for factor, by_norm in ((1, (plain, normed)), (5, (at_five, at_five)))
        for norm, values in zip((False, True), by_norm, strict=True)
        for seed, steps in enumerate(values)
    ]
    settings = {**vars(experiment.QUICK), "factors": [1, 5], "steps": 1000, "seeds": [0, 1]}
    return Measurements(settings=settings, best_lr={"relu": 0.1}, rows=rows)


def test_words_follow_from_the_numbers():
    first, second = experiment.tell(made_up((400, 600), (40, 60))).summary
    assert "with batch norm at 1× (lr 0.1) the net is faster than without it at 1× (lr 0.1)" in first
    assert first.endswith("; 10.0 times fewer steps.")
    assert "with batch norm at 5× (lr 0.5) the net is slower than without it at 1×" in second
    assert "times fewer" not in second


def test_words_where_the_paper_is_contradicted_or_nothing_is_seen():
    assert "is slower than" in experiment.tell(made_up((40, 60), (400, 600))).summary[0]
    assert "no difference seen at 2 seeds" in experiment.tell(made_up((40, 60), (50, 70))).summary[0]


def test_a_net_that_never_arrives_gives_a_lower_bound():
    assert experiment.tell(made_up((None, None), (50, 50))).summary[0].endswith("over 20.0 times fewer steps.")
