from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, data, nn, random
from tinygrad_norm.experiments.papers import evalnorm as paper
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.nn.training_mode import in_inference

SMALL = replace(paper.QUICK, width=4, images=128, batch_sizes=(2, 8), steps=10, batches=4, seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


@pytest.fixture
def net():
    """A net whose statistics, weights and biases are not those that it begins with."""
    random.manual_seed(0)
    model, rng = plain_net("batch", 3, 1), np.random.default_rng(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2D):
            for values in (layer.running_mean, layer.running_var, layer.weight, layer.bias):
                values.replace(rng.uniform(0.5, 1.5, values.shape).astype(np.float32))
    return model


def made_up(small, large):
    """Two seeds; errors in each way after the smallest and the largest batches."""
    rows = [
        {"batch_size": size, "way": way, "seed": seed, "test_error": errors[place] + seed / 100, "shares": [[0.5, 0.5]]}
        for (size, errors), (place, way), seed in itertools.product(
            ((2, small), (8, large)), enumerate(paper.WAYS), (0, 1)
        )
    ]
    return Measurements.of(SMALL, rows)


def images(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 1, 8, 8)).astype(np.float32)


def test_every_way_at_every_batch_size(result):
    cases = [(row["batch_size"], row["seed"], row["way"]) for row in result["rows"]]
    assert cases == list(itertools.product((2, 8), (0, 1), paper.WAYS))
    assert np.shape([row["shares"] for row in result.pick(way=paper.FITTED)]) == (4, 3, 2)


def test_without_a_share_it_is_batch_norm_in_inference(net):
    x = Tensor(images(5))
    with in_inference(net):
        expected = net(x).raw
    norms = [path for path, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2D)]
    shares = dict.fromkeys(norms, paper.Shares(0.0, 0.0))
    np.testing.assert_allclose(paper.corrected(net, shares)(x).raw, expected, rtol=1e-4, atol=1e-5)


def test_with_the_whole_share_an_image_is_normalized_by_itself():
    layer = nn.BatchNorm2D(3)
    x = np.random.default_rng(0).normal(2, 3, (4, 3, 5, 5)).astype(np.float32)
    y = paper.EvalNorm(layer, paper.Shares(1.0, 1.0))(Tensor(x)).raw
    own = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + layer.eps)
    np.testing.assert_allclose(y, np.maximum(own, 0), atol=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_the_estimated_share_of_the_first_mean_is_one_over_the_batch_size(net, size):
    """Of independent images, whose true mean is known; an image alone is its batch."""
    net[0].bias = None
    first = next(layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2D))
    x = images(300 * size)
    out = net[0](Tensor(x)).raw
    first.running_mean.replace(out.mean((0, 2, 3)))
    first.running_var.replace(out.var((0, 2, 3)))
    before = first.running_mean.raw.copy()
    loader = data.DataLoader((x, np.zeros(len(x), np.int64)), size)
    shares = next(iter(paper.estimate(net, loader).values()))
    assert shares.mean == pytest.approx(1 / size, rel=0.2)
    if size == 1:
        assert shares == pytest.approx((1, 1))
    np.testing.assert_array_equal(first.running_mean.raw, before)


@pytest.mark.parametrize(
    ("small", "large", "outcomes"),
    [
        ((0.5, 0.3, 0.1), (0.1, 0.1, 0.1), ["agrees", "agrees", "agrees"]),
        ((0.5, 0.5, 0.5), (0.3, 0.1, 0.1), ["does not show", "does not show", "agrees"]),
        ((0.1, 0.3, 0.3), (0.1, 0.1, 0.3), ["contradicts", "contradicts", "contradicts"]),
    ],
)
def test_the_verdict_follows_from_the_figures(small, large, outcomes):
    assert [finding.outcome for finding in paper.judge(made_up(small, large)).findings] == outcomes


def test_told_and_drawn(result, draw):
    errors, shares = paper.tell(result).tables
    assert [row[0] for row in errors.rows] == list(paper.WAYS)
    assert len(shares.rows) == 6
    assert {"batches of 2", *paper.WAYS} <= draw(paper, result)
