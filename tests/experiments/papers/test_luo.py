from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, data, ops, random
from tinygrad_norm.experiments.papers import luo as experiment
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, NOT_SHOWN
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, signals=12, batch_size=4, steps=2, decays=(0.1,), sizes=(4, 12), seeds=(0,))
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(12, 40)).astype(np.float32), RNG.integers(10, size=12)


def test_each_net_and_what_batches_add():
    result = experiment.run(SMALL, Progress(show=False))
    kinds = [("batch", 0.0), ("population", 0.0), ("population", 0.1)]
    assert [(row["kind"], row["decay"]) for row in result["rows"]] == kinds
    by_size = {row["size"]: row["added"] for row in result["added"]}
    assert by_size[4] > by_size[12] > 0


def test_population_norm_sees_all_and_returns_the_batch():
    random.manual_seed(0)
    net = experiment.create(40)
    found = experiment.Population(net, Tensor(X))(Tensor(X[:3]))
    expected = net(Tensor(np.concatenate([X[:3], X])))
    np.testing.assert_allclose(found.numpy(), expected.numpy()[:3], rtol=1e-5)
    net.eval()
    model = experiment.Population(net, Tensor(X))
    model.eval()
    np.testing.assert_array_equal(model(Tensor(X[:3])).numpy(), net(Tensor(X[:3])).numpy())


def test_added_loss_leaves_the_net_as_it_was():
    random.manual_seed(0)
    net = experiment.create(40)
    before = net[1].running_mean.numpy().copy()
    dataset = data.ArrayDataset(X, LABELS)
    added = experiment.added_loss(net, dataset, 6, 1, 0)
    np.testing.assert_array_equal(net[1].running_mean.numpy(), before)
    rng = np.random.default_rng(0)
    halves = [rng.integers(12, size=6) for _ in range(2)]
    losses = [ops.cross_entropy(net(Tensor(X[half])), LABELS[half]).item() for half in halves]
    assert added == pytest.approx(np.mean(losses) - ops.cross_entropy(net(Tensor(X)), LABELS).item(), abs=1e-5)


def measured(batch, population, decayed, added=(0.4, 0.1)):
    """What was measured if γ² and test loss were these, twice; a decay of 1 is far worse than one of 0.1."""
    nets = {("batch", 0.0): batch, ("population", 0.0): population, ("population", 0.1): decayed}
    nets["population", 1.0] = (0.0, 9.0)
    rows = [
        {"kind": kind, "decay": decay, "seed": seed, "gamma": gamma, "test_loss": loss, "train_loss": 0.1}
        | {"test_error": 0.5}
        for (kind, decay), (gamma, loss) in nets.items()
        for seed in (0, 1)
    ]
    more = [
        {"seed": seed, "size": size, "added": value}
        for size, value in zip((8, 32), added, strict=True)
        for seed in (0, 1)
    ]
    return Measurements.of(replace(SMALL, decays=(0.1, 1.0), sizes=(8, 32), seeds=(0, 1)), rows, added=more)


def outcomes(result):
    return [finding.outcome for finding in experiment.judge(result).findings]


AS_CLAIMED = measured(batch=(0.5, 1.0), population=(1.0, 2.0), decayed=(0.5, 1.0))


def test_verdicts_follow_from_the_figures(draw):
    assert outcomes(AS_CLAIMED) == [AGREES] * 7
    against = measured(batch=(1.0, 2.0), population=(0.5, 1.0), decayed=(0.5, 3.0), added=(0.1, 0.4))
    assert outcomes(against) == [CONTRADICTS] * 7
    alike = measured(batch=(1.0, 1.0), population=(1.0, 1.0), decayed=(1.0, 1.0), added=(0.1, 0.1))
    assert outcomes(alike) == [NOT_SHOWN, CONTRADICTS, *[NOT_SHOWN] * 3, AGREES, AGREES]
    assert experiment.best_decay(AS_CLAIMED) == 0.1
    assert experiment.power(AS_CLAIMED).mean == pytest.approx(-1)
    story = experiment.tell(AS_CLAIMED)
    assert "The power of the size is -1.00." in story.summary[3]
    assert [row[0] for row in story.tables[0].rows][2] == "population norm, γ decay 0.1"
    assert {"test loss", "mean of γ²", "batch norm"} <= draw(experiment, AS_CLAIMED)
