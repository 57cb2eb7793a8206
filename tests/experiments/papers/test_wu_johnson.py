from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, data, nn
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.papers import wu_johnson as paper
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(paper.QUICK, width=4, steps=8, early=3, small_steps=20, samples=(4, 64), images=128, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


def made_up(early, late, small):
    """Two seeds; early and late: the error with the running statistics, with those of 4, of 64 and of all images."""
    rows = []
    for seed, (step, errors) in itertools.product((0, 1), ((3, early), (8, late))):
        for name, error in zip(("running", "4", "64", "all"), errors, strict=True):
            rows.append(
                {"part": "precise", "seed": seed, "step": step, "statistics": name, "test_error": error + seed / 100}
            )
    for seed, (name, error) in itertools.product((0, 1), zip(paper.VARIANTS, small, strict=True)):
        rows.append({"part": "small", "seed": seed, "variant": name, "test_error": error + seed / 100})
    keys = {"step": None, "statistics": None, "variant": None}
    return Measurements.of(SMALL, [keys | row for row in rows], training_images=128)


def test_every_kind_of_statistics_at_both_moments_and_both_small_nets(result):
    precise = [(row["step"], row["statistics"]) for row in result.pick(part="precise", seed=1)]
    assert precise == list(itertools.product((3, 8), ("running", "4", "64", "all")))
    assert [row["variant"] for row in result.pick(part="small", seed=0)] == list(paper.VARIANTS)
    assert result["training_images"] == 128


def test_precise_statistics_are_those_of_the_images_drawn():
    sets = runs.standard_digits(images=32)
    model = plain_net("batch", 2, 1)
    with_all = paper.errors_with(model, sets, (4, 32), 0)
    assert list(with_all) == ["running", "4", "32", "all"]
    assert with_all["32"] == with_all["all"]
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2D))
    np.testing.assert_array_equal(first.running_mean.raw, 0)  # the model's own are left


@pytest.mark.parametrize("precise", [False, True])
def test_frozen_norms_no_longer_move_in_training(precise):
    model, train = plain_net("batch", 2, 1), runs.standard_digits(images=32)[0]
    expected = copy.deepcopy(model)
    if precise:
        nn.recalibrate(expected, data.DataLoader(train, 32))
    paper.freeze(model, precise, train)
    model.train()
    model(Tensor(np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype(np.float32)))
    for layer, other in zip(model.modules(), expected.modules(), strict=True):
        if isinstance(layer, nn.BatchNorm2D):
            np.testing.assert_allclose(layer.running_mean.raw, other.running_mean.raw, atol=1e-6)


@pytest.mark.parametrize(
    ("early", "late", "small", "outcomes"),
    [
        ((0.9, 0.5, 0.3, 0.3), (0.1, 0.3, 0.1, 0.1), (0.3, 0.1, 0.1), "AAAAA"),
        ((0.3, 0.5, 0.3, 0.3), (0.1, 0.5, 0.5, 0.1), (0.1, 0.1, 0.1), "NANNN"),
        ((0.1, 0.5, 0.3, 0.3), (0.5, 0.1, 0.1, 0.1), (0.1, 0.3, 0.3), "CCACC"),
        ((0.1, 0.5, 0.3, 0.3), (0.5, 0.1, 0.1, 0.1), (0.2, 0.3, 0.1), "CCACA"),
    ],
)
def test_the_verdict_follows_from_the_figures(early, late, small, outcomes):
    found = [finding.outcome for finding in paper.judge(made_up(early, late, small)).findings]
    words = {"A": "agrees", "N": "does not show", "C": "contradicts"}
    assert found == [words[letter] for letter in outcomes]


def test_enough_is_the_least_number_from_which_on_none_is_worse():
    assert paper.enough(made_up([0.1] * 4, (0.1, 0.3, 0.1, 0.1), (0, 0, 0)), 8) == 64
    assert paper.enough(made_up([0.1] * 4, (0.1, 0.1, 0.3, 0.1), (0, 0, 0)), 8) is None
    assert paper.enough(made_up([0.1] * 4, (0.1, 0.1, 0.1, 0.1), (0, 0, 0)), 8) == 4


def test_told_and_drawn(result, draw):
    assert paper.tell(result).tables[0].header == ["after", "moving averages", "4 images", "64 images", "all images"]
    assert {"after 3 steps", "after 8 steps", paper.FROZEN, "statistics of so many training images"} <= draw(
        paper, result
    )
