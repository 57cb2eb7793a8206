from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, ops, random
from tinygrad_norm.experiments.papers import frankle as paper
from tinygrad_norm.experiments.papers.nets import residual_net
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(paper.QUICK, blocks=(1, 2), width=4, images=128, batch_size=32, steps=8, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


def made_up(affine, others):
    """Two seeds; accuracies at the two depths."""
    rows = []
    for trained, accuracies in (("affine", affine), ("random", others)):
        for blocks, accuracy, seed in itertools.product((1, 2), (0,), (0, 1)):
            accuracy = accuracies[blocks - 1] + seed / 100
            rows.append(
                {
                    "blocks": blocks,
                    "trained": trained,
                    "seed": seed,
                    "parameters": 5,
                    "of": 9,
                    "test_accuracy": accuracy,
                }
            )
    return Measurements.of(SMALL, rows)


def test_each_depth_trains_as_many_weights_either_way(result):
    cases = [(row["blocks"], row["trained"], row["seed"]) for row in result["rows"]]
    assert cases == list(itertools.product((1, 2), paper.TRAINED, (0, 1)))
    for blocks in (1, 2):
        norms, wide_norms = 1 + 2 * blocks, 1 + 2 * blocks
        assert {row["parameters"] for row in result.pick(blocks=blocks)} == {2 * (4 * norms + 8 * wide_norms)}


@pytest.mark.parametrize("trained", paper.TRAINED)
def test_only_what_the_masks_say_moves(trained):
    random.manual_seed(0)
    model = residual_net("batch", 1, 4)
    masks = paper.masked(model, trained, np.random.default_rng(0))
    before = {name: parameter.raw.copy() for name, parameter in model.named_parameters()}
    optimizer = paper.PartSGD(masks, 0.1)
    x = Tensor(np.random.default_rng(0).normal(size=(16, 1, 8, 8)).astype(np.float32))
    for _ in range(2):
        optimizer.zero_grad()
        ops.cross_entropy(model(x), np.arange(16) % 10).backward()
        optimizer.step()
    moved = {name: parameter.raw != before[name] for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        mask = masks.get(parameter, np.zeros(parameter.shape))
        assert not moved[name][mask == 0].any(), name
    assert sum(each.sum() for each in moved.values()) > 0.8 * sum(mask.sum() for mask in masks.values())


def test_gamma_begins_between_0_and_1():
    model = residual_net("batch", 1, 8)
    paper.masked(model, "random", np.random.default_rng(0))
    gammas = np.concatenate(
        [p.raw for name, p in model.named_parameters() if p.raw.ndim == 1 and name.endswith("weight")]
    )
    assert 0 <= gammas.min() < 0.2
    assert 0.8 < gammas.max() <= 1


@pytest.mark.parametrize(
    ("affine", "others", "outcomes"),
    [
        ((0.5, 0.8), (0.1, 0.1), ["agrees", "agrees"]),
        ((0.5, 0.505), (0.1, 0.5), ["does not show", "does not show"]),
        ((0.8, 0.5), (0.9, 0.9), ["contradicts", "contradicts"]),
    ],
)
def test_the_verdict_follows_from_the_figures(affine, others, outcomes):
    assert [finding.outcome for finding in paper.judge(made_up(affine, others)).findings] == outcomes


def test_told_and_drawn(result, draw):
    assert paper.tell(result).tables[0].rows[0][:3] == ["6", "γ and β alone", "72 of 1,670"]
    assert {"layers", "a guess", *paper.TRAINED.values()} <= draw(paper, result)
