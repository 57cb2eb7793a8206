from __future__ import annotations

from dataclasses import replace

from tinygrad_norm import nn
from tinygrad_norm.experiments.papers import wu_he as experiment
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, NOT_SHOWN
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, groups=(1,), channels=(8,), batch_size=4, steps=2, seeds=(0,))


def test_each_number_with_each_seed():
    result = experiment.run(SMALL, Progress(show=False))
    assert [(row["half"], row["number"]) for row in result["rows"]] == [("groups", 1), ("channels", 8)]
    assert result["tested_on"] == 1000
    assert all(0 <= row["test_error"] <= 1 for row in result["rows"])


def test_groups_and_channels_in_each():
    def groups_of(net):
        return [layer.num_groups for layer in net if isinstance(layer, nn.GroupNorm)]

    assert groups_of(experiment.create("groups", 4)) == [4, 4, 4]
    assert groups_of(experiment.create("channels", 4)) == [8, 16, 16]


def measured(groups, channels):
    """What was measured if the error with one, two and four were this, twice."""
    rows = [
        {"half": half, "number": number, "seed": seed, "test_error": error, "loss": 1.0}
        for half, errors in (("groups", groups), ("channels", channels))
        for number, error in zip((1, 2, 4), errors, strict=True)
        for seed in (0, 1)
    ]
    return Measurements.of(replace(SMALL, groups=(1, 2, 4), channels=(1, 2, 4)), rows, tested_on=1000)


def outcomes(result):
    return [finding.outcome for finding in experiment.judge(result).findings]


AS_CLAIMED = measured(groups=(0.2, 0.1, 0.1), channels=(0.3, 0.2, 0.1))


def test_verdicts_follow_from_the_figures(draw):
    assert outcomes(AS_CLAIMED) == [AGREES] * 4
    assert outcomes(measured(groups=(0.1, 0.2, 0.3), channels=(0.05, 0.2, 0.3))) == [CONTRADICTS] * 4
    assert outcomes(measured(groups=(0.1, 0.1, 0.1), channels=(0.1, 0.1, 0.2))) == [NOT_SHOWN] * 1 + [
        CONTRADICTS,
        NOT_SHOWN,
        NOT_SHOWN,
    ]
    story = experiment.tell(AS_CLAIMED)
    assert "The error is 20.0 % with 2, 10.0 % with 4, against 30.0 %." in story.summary[3]
    assert [row[0] for row in story.tables[1].rows] == ["1", "2", "4"]
    assert {"1: layer norm", "1: instance norm", "channels in each group"} <= draw(experiment, AS_CLAIMED)
