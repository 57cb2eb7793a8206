from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_norm.experiments.papers import dyt as experiment
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, NOT_SHOWN
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, sizes=(20,), features=4, heads=2, blocks=1, batch_size=10, steps=2, seeds=(0,))


def test_each_norm_at_each_size():
    result = experiment.run(SMALL, Progress(show=False))
    assert [(row["size"], row["norm"]) for row in result["rows"]] == [(20, "layer"), (20, "dyt"), (20, "derf")]
    for row in result["rows"]:
        assert row["gap"] == pytest.approx(row["test_loss"] - row["train_loss"], abs=1e-4)
        assert 0 <= row["test_error"] <= 1


def measured(dyt, derf, layer=((1.0, 2.0, 0.3), (1.0, 2.0, 0.3))):
    """What was measured if training loss, test loss and error at 10 and 20 signals were these, for both seeds."""
    rows = [
        {"size": size, "norm": norm, "seed": seed, "train_loss": fit, "test_loss": loss, "gap": loss - fit}
        | {"test_error": error}
        for norm, both in (("layer", layer), ("dyt", dyt), ("derf", derf))
        for size, (fit, loss, error) in zip((10, 20), both, strict=True)
        for seed in (0, 1)
    ]
    return Measurements.of(replace(SMALL, sizes=(10, 20), seeds=(0, 1)), rows)


def outcomes(result):
    return [finding.outcome for finding in experiment.judge(result).findings]


AS_CLAIMED = measured(dyt=((1.0, 1.9, 0.3), (1.0, 2.1, 0.3)), derf=((1.2, 1.9, 0.2), (1.2, 1.9, 0.2)))


def test_verdicts_follow_from_the_figures():
    assert outcomes(AS_CLAIMED) == [AGREES] * 6
    against = measured(dyt=((1.0, 2.1, 0.4), (1.0, 1.9, 0.4)), derf=((0.5, 2.1, 0.4), (0.5, 2.1, 0.4)))
    assert outcomes(against) == [CONTRADICTS] * 6
    alike = measured(dyt=((1.0, 2.0, 0.3),) * 2, derf=((1.0, 2.0, 0.3),) * 2)
    assert outcomes(alike) == [AGREES, *[NOT_SHOWN] * 5]


def test_one_size_that_disagrees_spoils_each():
    mixed = measured(dyt=((1.0, 2.0, 0.3), (1.0, 2.0, 0.4)), derf=((1.2, 1.9, 0.2), (0.9, 1.9, 0.2)))
    assert outcomes(mixed)[:4] == [NOT_SHOWN, AGREES, NOT_SHOWN, AGREES]


def test_the_story_has_every_norm_at_every_size(draw):
    story = experiment.tell(AS_CLAIMED)
    assert [row[:2] for row in story.tables[0].rows] == [
        [size, norm] for size in ("10", "20") for norm in ("layer norm", "DyT", "Derf")
    ]
    assert "The test error is 20.0 % against 30.0 % at 10; 20.0 % against 30.0 % at 20 signals." in story.summary[3]
    assert {"training loss", "test loss", "test error", "Derf"} <= draw(experiment, AS_CLAIMED)
