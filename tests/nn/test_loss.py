from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.nn.loss import LOSS_OF, as_loss

WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


@pytest.fixture
def logits(rng):
    return rng.normal(size=(6, 4))


LABELS = np.array([0, 3, 1, 1, 2, 3])


def test_cross_entropy_is_the_weighted_mean_of_surprise(logits):
    surprise = -log_softmax(logits)[range(6), LABELS]
    assert nn.CrossEntropyLoss()(logits, LABELS).item() == pytest.approx(surprise.mean())
    expected = (WEIGHT[LABELS] * surprise).sum() / WEIGHT[LABELS].sum()
    assert nn.CrossEntropyLoss(weight=WEIGHT)(logits, LABELS).item() == pytest.approx(expected)


def test_cross_entropy_passes_every_argument_on(logits):
    loss = nn.CrossEntropyLoss(WEIGHT, ignore_index=3, reduction="none", label_smoothing=0.2)
    expected = ops.cross_entropy(logits, LABELS, WEIGHT, reduction="none", label_smoothing=0.2, ignore_index=3).numpy()
    np.testing.assert_array_equal(loss(logits, LABELS).numpy(), expected)
    assert not expected[LABELS == 3].any()
    assert repr(loss) == "CrossEntropyLoss(ignore_index=3, reduction='none', label_smoothing=0.2)"


def test_nll_takes_log_probabilities(logits):
    chosen = -log_softmax(logits)[range(6), LABELS]
    kept = LABELS != 1
    expected = (WEIGHT[LABELS] * chosen)[kept].sum() / WEIGHT[LABELS][kept].sum()
    found = nn.NLLLoss(WEIGHT, ignore_index=1)(log_softmax(logits), LABELS)
    assert found.item() == pytest.approx(expected)
    assert nn.NLLLoss(reduction="sum")(log_softmax(logits), LABELS).item() == pytest.approx(chosen.sum())


def huber(d, delta):
    return np.where(np.abs(d) <= delta, d**2 / 2, delta * (np.abs(d) - delta / 2))


@pytest.mark.parametrize(
    ("build", "formula"),
    [
        (nn.MSELoss, lambda d: d**2),
        (nn.L1Loss, np.abs),
        (nn.HuberLoss, lambda d: huber(d, 1)),
        (lambda reduction="mean": nn.HuberLoss(reduction, delta=0.4), lambda d: huber(d, 0.4)),
    ],
    ids=["mse", "l1", "huber", "huber with delta"],
)
def test_losses_of_a_difference(rng, build, formula):
    x, target = rng.normal(size=(2, 5, 3))
    each = formula(x - target)
    assert build()(Tensor(x), target).item() == pytest.approx(each.mean())
    assert build(reduction="sum")(Tensor(x), target).item() == pytest.approx(each.sum())
    np.testing.assert_allclose(build(reduction="none")(Tensor(x), target).numpy(), each, rtol=1e-12)


def test_binary_cross_entropy_with_both_weights(rng):
    x, target = rng.normal(size=(5, 3)), rng.uniform(size=(5, 3))
    weight, positive = rng.uniform(size=(5, 1)), rng.uniform(size=3)
    p = 1 / (1 + np.exp(-x))
    each = -weight * (positive * target * np.log(p) + (1 - target) * np.log(1 - p))
    assert nn.BCEWithLogitsLoss(weight, pos_weight=positive)(x, target).item() == pytest.approx(each.mean())
    found = nn.BCEWithLogitsLoss(weight, "none", positive)(x, target)
    np.testing.assert_allclose(found.numpy(), each, rtol=1e-9)


@pytest.mark.parametrize("positions", [(), (2, 3)])
@pytest.mark.parametrize(
    ("build", "target"),
    [
        (nn.CrossEntropyLoss, "labels"),
        (partial(nn.CrossEntropyLoss, WEIGHT, ignore_index=3, label_smoothing=0.2), "labels"),
        (partial(nn.CrossEntropyLoss, WEIGHT, label_smoothing=0.2), "chances"),
        (nn.NLLLoss, "labels"),
        (partial(nn.NLLLoss, WEIGHT, ignore_index=1), "labels"),
        (nn.MSELoss, "numbers"),
        (nn.L1Loss, "numbers"),
        (nn.HuberLoss, "numbers"),
        (partial(nn.BCEWithLogitsLoss, pos_weight=[3.0]), "chances"),
    ],
)
def test_the_total_weight_is_what_the_mean_divides_the_sum_by(build, target, positions, rng):
    x = log_softmax(rng.normal(size=(6, 4, *positions)))
    targets = {
        "labels": rng.integers(0, 4, (6, *positions)),
        "chances": rng.dirichlet(np.ones(4), size=(6, *positions)),
        "numbers": rng.normal(size=x.shape),
    }
    given = np.moveaxis(targets[target], -1, 1) if target == "chances" else targets[target]
    mean, total = build()(x, given).item(), build(reduction="sum")(x, given).item()
    assert mean * build().total_weight(given) == pytest.approx(total, rel=1e-12)
    assert build().total_weight(Tensor(given)) == build().total_weight(given)


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(WEIGHT, ignore_index=3, label_smoothing=0.2), nn.NLLLoss(WEIGHT, ignore_index=1)]
)
def test_gradients_added_up_over_unequal_parts_are_those_of_the_whole(rng, loss):
    x, labels, parts = rng.normal(size=(7, 5)), np.array([0, 3, 1, 1, 2, 3, 0]), (slice(2), slice(2, 7))
    matrices = [Tensor(values, requires_grad=True) for values in [rng.normal(size=(5, 4))] * 2]
    whole, added = matrices
    loss(ops.log_softmax(Tensor(x) @ whole, axis=1), labels).backward()
    total = sum(loss.total_weight(labels[part]) for part in parts)
    for part in parts:
        output = ops.log_softmax(Tensor(x[part]) @ added, axis=1)
        (loss(output, labels[part]) * (loss.total_weight(labels[part]) / total)).backward()
    np.testing.assert_allclose(added.grad.numpy(), whole.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_an_op_is_the_loss_of_that_name():
    loss = as_loss(partial(ops.cross_entropy, ignore_index=3, reduction="sum"))
    assert repr(loss) == "CrossEntropyLoss(ignore_index=3, reduction='sum', label_smoothing=0.0)"
    for op, kind in LOSS_OF.items():
        assert type(as_loss(op)) is kind
    for other in (len, nn.MSELoss(), partial(ops.mse_loss, 1.0), partial(len), lambda x: x):
        assert as_loss(other) is other


def test_weights_are_buffers_that_follow_the_module():
    loss = nn.CrossEntropyLoss(weight=WEIGHT)
    assert list(loss.state_dict()) == ["weight"]
    assert loss.astype(np.float32).weight.dtype == np.float32
    assert list(loss.parameters()) == []
    assert list(nn.BCEWithLogitsLoss(pos_weight=[1.0]).state_dict()) == ["pos_weight"]
    assert list(nn.NLLLoss().state_dict()) == []


def test_the_gradient_of_cross_entropy_is_probability_minus_target(logits):
    given = Tensor(logits, requires_grad=True)
    nn.CrossEntropyLoss(reduction="sum")(given, LABELS).backward()
    np.testing.assert_allclose(
        given.grad.numpy(), np.exp(log_softmax(logits)) - np.eye(4)[LABELS], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss]
)
def test_an_unknown_reduction_is_refused(loss):
    with pytest.raises(ValueError, match=f"{loss.__name__}: reduction is 'none' or 'mean' or 'sum', got 'avg'"):
        loss(reduction="avg")


def test_a_class_of_minus_100_does_not_count_if_nothing_is_said(logits):
    labels, few = LABELS.copy(), LABELS != 1
    labels[~few] = -100
    for loss, scores in ((nn.CrossEntropyLoss(), logits), (nn.NLLLoss(), log_softmax(logits))):
        assert loss(scores, labels).item() == pytest.approx(loss(scores[few], LABELS[few]).item())


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.L1Loss, nn.HuberLoss])
def test_the_mean_is_taken_if_nothing_is_said(loss, logits):
    target = LABELS if loss in (nn.CrossEntropyLoss, nn.NLLLoss) else np.zeros_like(logits)
    assert loss()(logits, target).item() == loss(reduction="mean")(logits, target).item()
    assert repr(loss()) == repr(loss(reduction="mean"))
