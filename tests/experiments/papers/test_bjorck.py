from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm.experiments.papers import bjorck as paper
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(paper.QUICK, blocks=2, width=4, batch_size=16, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


def made_up(net, means, gradient, kurtosis):
    return [
        {"net": net, "seed": seed, "means": [1.0, means + seed], "variances": [1.0, means + seed]}
        | {"gradient": gradient + seed, "kurtosis": kurtosis + seed, "histogram": [0.5] * 64}
        for seed in (0, 1)
    ]


def test_a_row_for_each_net_and_seed_with_a_number_for_each_block(result):
    assert [(row["net"], row["seed"]) for row in result["rows"]] == [(n, s) for n in paper.NETS for s in (0, 1)]
    for row in result["rows"]:
        assert len(row["means"]) == len(row["variances"]) == 4
        assert sum(row["histogram"]) == pytest.approx(1, abs=1e-4)


def test_the_shape_of_a_gradient():
    normal = np.random.default_rng(0).normal(size=100_000)
    found = paper._shape_of(3 * normal + 1)
    assert found["kurtosis"] == pytest.approx(0, abs=0.1)
    assert found["gradient"] == pytest.approx(np.abs(3 * normal + 1).mean(), rel=1e-4)
    assert paper._shape_of(normal**3)["kurtosis"] > 10
    outliers = paper._shape_of(np.append(normal, [100.0]))["histogram"]
    assert outliers[-1] == pytest.approx(1 / 100_001, rel=1e-3)


@pytest.mark.parametrize(
    ("none", "outcome", "verdict"),
    [
        ((50, 50, 50), "agrees", "agrees"),
        ((5, 5, 5), "does not show", "does not show it"),
        ((1, 1, 1), "contradicts", "contradicts"),
    ],
)
def test_the_verdict_follows_from_the_figures(none, outcome, verdict):
    rows = made_up("none", *none) + made_up("batch", 5, 5, 5)
    judgement = paper.judge(Measurements.of(SMALL, rows))
    assert [finding.outcome for finding in judgement.findings] == [outcome] * 4
    assert judgement.verdict == verdict


def test_growth_is_of_the_last_block_over_the_first():
    result = Measurements.of(SMALL, made_up("none", 50, 1, 1))
    assert paper.growth(result, "none", "means").values == (50, 51)
    assert paper._times(1234.5) == "1,234-fold"


def test_told_and_drawn(result, draw):
    assert paper.tell(result).tables[0].header[-1] == "block 4"
    assert {"channels’ means, absolute", "gradient of a convolution half way", "batch norm"} <= draw(paper, result)
