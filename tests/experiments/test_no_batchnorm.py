from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tinygrad_norm.experiments import no_batchnorm as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(
    experiment.QUICK, width=1 / 16, image_size=17, images=64, lrs=(0.01, 1e6), steps=6, window=2, seeds=(0, 1)
)


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


def test_divergence_is_recorded_and_no_crash(result):
    assert len(result["rows"]) == 2 * 2 * 2
    for row in result.pick(lr=1e6, norm="none"):
        assert row["outcome"] == "diverged"
        assert len(row["losses"]) == row["diverged"] - 1 < 6
    for row in result.pick(lr=0.01):
        assert row["diverged"] is None
        assert len(row["losses"]) == len(row["accuracies"]) == 6
        assert 0 <= row["test_accuracy"] <= 1


def test_outcome():
    chance = math.log(10)
    assert experiment.outcome([2.0], 2, 2) == "diverged"
    assert experiment.outcome([chance] * 5, None, 2) == "at chance"
    assert experiment.outcome([chance, chance, 1.0, 1.0], None, 2) == "learned"


def made_up(plain, normed):
    rows = [
        {"norm": norm, "lr": 0.1, "seed": seed, **dict(zip(("outcome", "steps", "test_accuracy"), values, strict=True))}
        for norm, by_seed in (("none", plain), ("batch", normed))
        for seed, values in enumerate(by_seed)
    ]
    return Measurements(settings={**vars(SMALL), "lrs": [0.1], "steps": 100}, rows=rows)


def test_words_follow_from_the_numbers():
    gone, slow, fast = ("diverged", None, 0.1), ("learned", 80, 0.8), ("learned", 20, 0.9)
    summary = experiment.tell(made_up([gone, slow], [fast, fast])).summary
    assert summary[0] == (
        "VGG-16 without batch norm learned with every seed at no rate; "
        "it diverged (NaN or infinity) with some seed at 0.1."
    )
    assert summary[1] == "VGG-16 with batch norm learned with every seed at lr 0.1; it never diverged."
    assert "the net with batch norm is faster than the one without: 20 against not within 100 steps" in summary[2]
    assert "without batch norm (lr 0.1) is lower than with it (lr 0.1)" in summary[3]


def test_words_where_batch_norm_is_no_better():
    slow, fast = ("learned", 80, 0.8), ("learned", 20, 0.9)
    summary = experiment.tell(made_up([fast, fast], [slow, slow])).summary
    assert "is slower than" in summary[2]
    assert "is higher than" in summary[3]
    assert "no difference seen at 2 seeds" in experiment.tell(made_up([fast, slow], [slow, fast])).summary[2]
