from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.experiments.papers import ioffe as paper
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(paper.QUICK, width=2, samples=100, batch_size=8, steps=6, begin=1, r_end=3, d_end=3, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


def made_up(errors):
    """Two seeds; errors of batch norm and renorm on mixed, sorted and small batches."""
    rows = [
        {"batches": kind, "norm": norm, "seed": seed, "loss": 0.1, "test_error": errors[kind][place] + seed / 100}
        for kind, (place, norm), seed in itertools.product(paper.BATCHES, enumerate(paper.NORMS), (0, 1))
    ]
    return Measurements.of(SMALL, rows)


def test_every_norm_on_every_kind_of_batches(result):
    cases = [(row["batches"], row["norm"], row["seed"]) for row in result["rows"]]
    assert cases == list(itertools.product(paper.BATCHES, paper.NORMS, (0, 1)))


def test_batches_of_few_classes():
    labels = np.arange(100) % 10
    batches = paper.arranged(labels, 6, 30, 2, np.random.default_rng(0)).reshape(30, 6)
    for batch in batches:
        assert [len(set(labels[half])) for half in (batch[:3], batch[3:])] == [1, 1]
        assert len(set(labels[batch])) == 2
        assert len(set(batch)) == 6
    assert len({tuple(labels[batch]) for batch in batches}) > 10


def test_ordinary_batches_have_each_image_once_an_epoch():
    order = paper.arranged(np.zeros(10), 4, 6, None, np.random.default_rng(0))
    assert len(order) == 24
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert list(order[:10]) != list(order[10:20])


def test_both_norms_have_one_momentum_and_renorm_its_limits():
    batch, renorm = (paper.choose(norm, SMALL)(3) for norm in paper.NORMS)
    assert type(batch) is nn.BatchNorm2D
    assert batch.momentum == renorm.momentum == SMALL.momentum
    assert renorm.limits() == {"r_max": 1, "d_max": 0}
    renorm.num_batches_tracked.replace(np.array(3))
    assert renorm.limits() == {"r_max": 3, "d_max": 5}


@pytest.mark.parametrize(
    ("errors", "outcomes"),
    [
        ({"mixed": (0.1, 0.1), "sorted": (0.5, 0.1), "small": (0.5, 0.1)}, ["agrees"] * 4),
        ({"mixed": (0.1, 0.1), "sorted": (0.1, 0.1), "small": (0.1, 0.1)}, ["agrees"] + ["does not show"] * 3),
        ({"mixed": (0.3, 0.5), "sorted": (0.1, 0.3), "small": (0.1, 0.3)}, ["contradicts"] * 4),
    ],
)
def test_the_verdict_follows_from_the_figures(errors, outcomes):
    assert [finding.outcome for finding in paper.judge(made_up(errors)).findings] == outcomes


def test_told_and_drawn(result, draw):
    assert len(paper.tell(result).tables[0].rows) == 6
    assert {*paper.BATCHES.values(), *paper.NORMS.values()} <= draw(paper, result)
