from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops, random
from tinygrad_norm.experiments.papers import santurkar as paper
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(
    paper.QUICK,
    width=2,
    convolutions=1,
    images=64,
    steps=12,
    window=4,
    looked_at=(1, 12),
    lengths=(0.5, 4.0),
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def result():
    return paper.run(SMALL, Progress(show=False))


def made_up(none, batch, noisy, ranges):
    """Two seeds of each net; `ranges` are those of the loss and the turn at the two looks, without a norm, and with."""
    rows = []
    for net, loss in (("none", none), ("batch", batch), ("noisy", noisy)):
        for seed in (0, 1):
            at = zip((1, 12), (2.3, 1.0), ranges[net == "batch"], strict=True)
            looks = [{"step": n, "loss": loss, "low": 0.0, "high": r, "turned": r + seed} for n, loss, r in at]
            rows.append(
                {
                    "net": net,
                    "seed": seed,
                    "loss": loss + seed / 100,
                    "test_error": 0.1,
                    "looks": looks,
                    "losses": [loss],
                }
            )
    return Measurements.of(SMALL, rows)


def test_every_net_with_every_seed(result):
    assert [(row["net"], row["seed"]) for row in result["rows"]] == [(n, s) for n in paper.NETS for s in (0, 1)]
    assert all(len(row["losses"]) == 12 for row in result["rows"])
    assert [len(row["looks"]) for row in result["rows"]] == [2, 2, 2, 2, 0, 0]
    losses = {net: result.pick(net=net, seed=0)[0]["losses"] for net in paper.NETS}
    assert losses["batch"] != losses["noisy"]


def test_noise_scales_and_shifts_each_channel_of_each_image_in_training_alone():
    random.manual_seed(0)
    noise, x = paper.Noise(), Tensor(np.random.default_rng(0).normal(size=(400, 3, 2, 5)), requires_grad=True)
    y = noise(x)
    flat, given = y.raw.reshape(400, 3, 10), x.raw.reshape(400, 3, 10)
    scale = (flat[..., 1] - flat[..., 0]) / (given[..., 1] - given[..., 0])
    shift = flat[..., 0] - scale * given[..., 0]
    np.testing.assert_allclose(flat, scale[..., None] * given + shift[..., None])
    assert ((scale.mean(axis=0) > 0.98) & (scale.mean(axis=0) < 1.27)).all()
    np.testing.assert_allclose(scale.std(axis=0), 0.1, rtol=0.2)
    assert (np.abs(shift - shift.mean(axis=0)) < 0.12).all()
    assert len(set(shift.mean(axis=0).round(3))) == 3
    y.backward(np.ones(y.shape))
    np.testing.assert_allclose(x.grad.raw[:, :, 0, 0], scale)
    assert noise(x) is not y
    noise.eval()
    assert noise(x) is x


def test_along_the_gradient_of_a_parabola():
    """A linear net without a norm: what is found is what a step by hand finds, and the model stays as it was."""
    random.manual_seed(0)
    model, rng = nn.Sequential(nn.Linear(3, 4)), np.random.default_rng(0)
    batch = rng.normal(size=(8, 3)).astype(np.float32), rng.integers(0, 4, 8)
    before = [parameter.raw.copy() for parameter in model.parameters()]
    found = paper.along_the_gradient(model, batch, [0.5, 2.0])
    losses = list[float]()
    gradients = list[list[np.ndarray]]()
    for length in (0.0, 0.5, 2.0):
        for parameter, start, *first in zip(model.parameters(), before, *gradients[:1], strict=False):
            parameter.replace(start - np.float32(length) * first[0] if first else start)
        model.zero_grad()
        loss = ops.cross_entropy(model(Tensor(batch[0])), batch[1])
        loss.backward()
        losses.append(loss.item())
        gradients.append([parameter.grad.raw.copy() for parameter in model.parameters()])
    turned = [np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(each, gradients[0], strict=True))) for each in gradients]
    assert found == pytest.approx(
        {"loss": losses[0], "low": min(losses[1:]), "high": max(losses[1:]), "turned": max(turned)}
        | {"norm": found["norm"]},
        rel=1e-4,
    )
    assert found["norm"] == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradients[0])), rel=1e-4)


def test_looking_changes_nothing():
    model = plain_net("batch", 2, 1)
    state = {name: value.copy() for name, value in model.state_dict().items()}
    batch = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32), np.arange(8)
    paper.along_the_gradient(model, batch, [1.0])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("losses", "ranges", "outcomes"),
    [
        ((0.9, 0.1, 0.1), ((5, 5), (1, 1)), ["agrees"] * 4),
        ((0.9, 0.1, 0.5), ((0.1, 5), (3, 1)), ["contradicts", "agrees", "contradicts", "agrees"]),
        ((0.1, 0.1, 0.1), ((1, 1), (1, 1)), ["agrees", "does not show", "does not show", "does not show"]),
        ((0.1, 0.1, 0.9), ((1, 1), (5, 5)), ["contradicts"] * 4),
    ],
)
def test_the_verdict_follows_from_the_figures(losses, ranges, outcomes):
    assert [finding.outcome for finding in paper.judge(made_up(*losses, ranges)).findings] == outcomes


def test_told_and_drawn(result, draw):
    assert "batch norm, then noise" in str(paper.tell(result).tables[0].rows)
    assert {"range of the loss along a step", *paper.NETS.values()} <= draw(paper, result)
