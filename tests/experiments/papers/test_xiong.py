from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_norm.experiments.papers import xiong as experiment
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, NOT_SHOWN
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, depths=(1, 2), features=8, signals=4, seeds=(0, 1))


def test_a_gradient_of_each_layer_of_each_net():
    result = experiment.run(SMALL, Progress(show=False))
    assert len(result["rows"]) == 2 * 2 * 2
    for row in result["rows"]:
        assert len(row["all"]) == row["depth"]
        assert (row["all"][0], row["all"][-1]) == (row["first"], row["last"])
        assert min(row["all"]) > 0


def measured(pre, post):
    """What was measured if the gradients by layer of the nets of 4 and of 16 layers were these, for both seeds."""
    rows = [
        {"depth": depth, "place": place, "seed": seed, "all": found, "first": found[0], "last": found[-1]}
        for place, both in (("pre", pre), ("post", post))
        for depth, found in zip((4, 16), both, strict=True)
        for seed in (0, 1)
    ]
    return Measurements.of(replace(SMALL, depths=(4, 16)), rows)


def outcomes(result):
    return [finding.outcome for finding in experiment.judge(result).findings]


AS_IN_THE_PAPER = measured(pre=([1.0, 1.0], [0.5, 0.5]), post=([2.0, 2.0], [0.1, 2.0]))


def test_the_power_of_the_depth():
    assert experiment.exponents(AS_IN_THE_PAPER, "pre").mean == pytest.approx(-0.5)
    assert experiment.exponents(AS_IN_THE_PAPER, "post").mean == pytest.approx(0)


def test_verdicts_follow_from_the_figures():
    assert outcomes(AS_IN_THE_PAPER) == [AGREES] * 5
    against = measured(pre=([1.0, 1.0], [9.0, 3.0]), post=([2.0, 2.0], [1.5, 1.0]))
    assert outcomes(against) == [CONTRADICTS] * 5
    alike = measured(pre=([1.0, 1.0], [1.0, 1.0]), post=([1.0, 1.0], [1.0, 1.0]))
    assert outcomes(alike) == [NOT_SHOWN, AGREES, NOT_SHOWN, NOT_SHOWN, NOT_SHOWN]


def test_the_story_has_every_depth(draw):
    story = experiment.tell(AS_IN_THE_PAPER)
    assert [row[0] for row in story.tables[0].rows] == ["4", "4", "16", "16"]
    assert "as a power of the depth, -0.50." in story.summary[2]
    assert {"of the last layer", "of each of 16 layers", "post-norm"} <= draw(experiment, measured_deep())


def measured_deep():
    return measured(pre=([1.0] * 4, [0.5] * 16), post=([2.0] * 4, [2.0] * 16))
