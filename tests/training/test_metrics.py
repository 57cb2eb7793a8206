from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops, optim
from tinygrad_norm.data import DataLoader
from tinygrad_norm.nn.loss import as_loss
from tinygrad_norm.training import BestWeights, Callback, EarlyStopping, Trainer
from tinygrad_norm.training.metrics import Totals, agreement, mean_of, weight_of

NAN = math.nan


def a_trainer(loss: Any, model: nn.Module | None = None, **options: Any) -> Trainer:
    model = model or nn.Linear(2, 2)
    return Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss, progress=False, **options)


class Given(nn.Module):
    """Its outputs are its inputs."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(1, 1)  # an optimizer wants something to train

    def forward(self, x):
        return x


def measured(loss, outputs, targets, batch_size=4):
    """What evaluation says of a model that gives these outputs."""
    return a_trainer(loss, Given()).evaluate(DataLoader((np.asarray(outputs), np.asarray(targets)), batch_size))


# Means over batches of any size


def draw(rng, *positions):
    """Logits of 5 classes and labels, of which some are -100."""
    logits = rng.normal(size=(16, 5, *positions))
    labels = rng.integers(0, 5, size=(16, *positions))
    labels[rng.random(labels.shape) < 0.3] = -100
    return logits, labels


WEIGHT = np.array([0.1, 3.0, 1.0, 0.0, 7.0])
LOSSES = {
    "ignored": nn.CrossEntropyLoss(),
    "weighted": nn.CrossEntropyLoss(WEIGHT),
    "another ignored": nn.CrossEntropyLoss(WEIGHT + 0.1, ignore_index=1, label_smoothing=0.2),
    "a sum": nn.CrossEntropyLoss(WEIGHT, reduction="sum"),
    "of log-probabilities": nn.NLLLoss(WEIGHT),
    "an op": ops.cross_entropy,
    "an op with arguments": partial(ops.nll_loss, weight=WEIGHT),
}


@pytest.mark.parametrize("positions", [(), (3, 2)])
@pytest.mark.parametrize("name", LOSSES)
def test_a_mean_loss_does_not_depend_on_the_size_of_batches(name, positions, rng):
    loss = LOSSES[name]
    logits, labels = draw(rng, *positions)
    if getattr(loss, "ignore_index", 0) == 1:
        labels[labels == -100] = 1
    whole = float(loss(Tensor(logits), labels).item())
    if name == "a sum":
        whole /= WEIGHT[labels[labels != -100]].sum()
    for batch_size in (1, 2, 3, 4, 7, 8, 16):
        assert measured(loss, logits, labels, batch_size)["loss"] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss([0.5, 2.0]), ops.mse_loss]
)
def test_other_losses_count_every_element(loss, rng):
    outputs, targets = rng.normal(size=(7, 2)), rng.random((7, 2))
    for batch_size in (1, 2, 3, 7):
        found = measured(loss, outputs, targets, batch_size)
        assert found == {"loss": pytest.approx(float(loss(Tensor(outputs), targets).item()), rel=1e-12)}


def test_class_probabilities_count_one_for_each_position(rng):
    logits, chances = rng.normal(size=(7, 3, 2)), rng.dirichlet(np.ones(3), size=(7, 2)).swapaxes(1, 2)
    loss = nn.CrossEntropyLoss([1.0, 2.0, 5.0], label_smoothing=0.1)
    assert loss.total_weight(chances) == 14
    found = measured(loss, logits, chances, 3)
    assert found == {"loss": pytest.approx(float(loss(Tensor(logits), chances).item()), rel=1e-12)}


def test_under_any_other_function_each_example_counts_one(rng):
    outputs, targets = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    found = measured(lambda output, target: ops.abs(output - target).max(), outputs, targets, 3)
    largest = np.abs(outputs - targets).max(axis=1)
    assert found["loss"] == pytest.approx((3 * largest[:3].max() + 3 * largest[3:6].max() + largest[6]) / 7)


def test_a_loss_of_ones_own_may_say_what_counts(rng):
    class Masked(nn.Module):
        def forward(self, output, target):
            known = np.isfinite(target)
            return ops.where(known, ops.square(output - np.where(known, target, 0)), 0.0).sum() / known.sum()

        def total_weight(self, target):
            return np.isfinite(target).sum()

    outputs, targets = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    targets[rng.random((12, 3)) < 0.4] = NAN
    targets[:2] = NAN
    for batch_size in (1, 2, 5, 12):
        expected = np.nanmean((outputs - targets) ** 2)
        assert measured(Masked(), outputs, targets, batch_size)["loss"] == pytest.approx(expected)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss([1.0, 1.0, 0.0], ignore_index=9)])
def test_a_batch_in_which_nothing_counts_counts_nothing(loss, rng):
    logits, labels = rng.normal(size=(6, 3)), np.array([0, 1, 0, 1, 1, 0])
    nothing = np.full(3, -100 if loss.weight is None else 2)
    expected = float(loss(Tensor(logits), labels).item())
    found = measured(loss, np.concatenate([logits, logits[:3]]), np.concatenate([labels, nothing]), 3)
    assert found["loss"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="there is no mean loss: every target is ignored by the loss, or has weight 0"):
        measured(loss, logits[:3], nothing)


def test_a_batch_in_which_nothing_counts_takes_no_step(rng):
    inputs = rng.normal(size=(8, 2)).astype(np.float32)
    labels = np.array([0, 1, 1, 0, -100, -100, -100, -100])

    losses = []

    class Losses(Callback):
        def on_batch_end(self, trainer, loss):
            losses.append((trainer.batch, math.isnan(loss)))

    def trained(batches):
        model = nn.Sequential(nn.BatchNorm1D(2), nn.Linear(2, 2))
        model[1].weight.data = np.eye(2, dtype=np.float32)
        model[1].bias.data = np.zeros(2, np.float32)
        optimizer = optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
        trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), callbacks=[Losses()], progress=False)
        return trainer.fit(batches, 3), {name: array.tolist() for name, array in model.state_dict().items()}

    full, empty = (inputs[:4], labels[:4]), (inputs[4:], labels[4:])
    expected = trained([full])
    assert trained([empty, full]) == expected
    losses.clear()
    assert trained([full, empty]) == expected
    assert losses == [(1, False), (2, True)] * 3
    with pytest.raises(ValueError, match="there is no mean loss: every target is ignored"):
        trained([empty])


def test_the_mean_of_training_is_that_of_all_that_counts(rng):
    inputs, labels = rng.normal(size=(8, 2)).astype(np.float32), np.array([0, 1, 1, 0, 0, -100, -100, -100])
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=1e-12)  # so that the weights stay as they are
    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), progress=False)
    (record,) = trainer.fit(DataLoader((inputs, labels), 4), 1)
    assert record["train_loss"] == pytest.approx(ops.cross_entropy(model(inputs), labels).item(), rel=1e-6)
    assert record["train_accuracy"] == np.mean(model(inputs).numpy().argmax(axis=1)[:5] == labels[:5])


def test_a_class_that_there_is_not_is_refused_by_the_loss():
    with pytest.raises(ValueError, match="class 3 is out of range; the input has 3 classes"):
        measured(nn.CrossEntropyLoss([1.0, 2.0, 3.0]), np.eye(3), [0, 1, 3])
    with pytest.raises(ValueError, match="floating-point target holds probabilities and needs the shape"):
        measured(nn.CrossEntropyLoss([1.0, 2.0, 3.0]), np.eye(3), [0.0, 1.0, 2.0])


# Accuracy


def columns(*values):
    return np.array(values, float)[:, None]


class Squeezed(nn.BCEWithLogitsLoss):
    def forward(self, output, target):
        return super().forward(output[:, 0], target)


BINARY = columns(-2, 0.4, 3, -0.1)
SCORES = np.array([[0.1, 0.2, 0.9], [0.8, 0.1, 0.3], [0.2, 0.3, 0.1], [0.5, 0.6, 0.7]])  # 2, 0, 1, 2
IMAGES = np.stack([np.eye(3)[[[0, 1], [2, 2]]], np.eye(3)[[[1, 1], [0, 2]]]]).transpose(0, 3, 1, 2)
ANY = lambda output, target: ops.sum(output) * 0.0  # noqa: E731

ACCURACIES = {
    "labels": (nn.CrossEntropyLoss(), SCORES, [2, 0, 0, 1], 2 / 4),
    "labels of few bits": (nn.CrossEntropyLoss(), SCORES, np.array([2, 0, 0, 1], np.uint8), 2 / 4),
    "labels of log-probabilities": (nn.NLLLoss(), SCORES, [2, 0, 0, 1], 2 / 4),
    "labels, any function": (ANY, SCORES, [2, 0, 0, 1], 2 / 4),
    "ignored labels": (nn.CrossEntropyLoss(), SCORES, [2, 0, -100, -100], 1.0),
    "other ignored labels": (nn.CrossEntropyLoss(ignore_index=0), SCORES, [2, 0, 0, 1], 1 / 2),
    "an ignored label beyond the classes": (
        nn.CrossEntropyLoss(ignore_index=255),
        SCORES,
        np.array([2, 255, 0, 1], np.uint8),
        1 / 3,
    ),
    "ignored labels, an op": (partial(ops.cross_entropy, ignore_index=0), SCORES, [2, 0, 0, 1], 1 / 2),
    "ignored labels, any function": (ANY, SCORES, [2, 0, -1, 1], 2 / 3),
    "dense labels": (nn.CrossEntropyLoss(), IMAGES, [[[0, 1], [2, 0]], [[-100, 0], [0, 2]]], 5 / 7),
    "one class": (nn.CrossEntropyLoss(), BINARY, [0, 0, 0, 0], 1.0),
    "one logit": (nn.BCEWithLogitsLoss(), BINARY, columns(0, 1, 1, 1), 3 / 4),
    "one logit, integers": (nn.BCEWithLogitsLoss(), BINARY, columns(0, 1, 1, 1).astype(int), 3 / 4),
    "one logit without an axis": (nn.BCEWithLogitsLoss(), BINARY[:, 0], [0.0, 1, 1, 1], 3 / 4),
    "one logit, an op": (ops.binary_cross_entropy_with_logits, BINARY, columns(0, 1, 1, 1), 3 / 4),
    "one logit, labels without an axis": (Squeezed(), BINARY, [0, 1, 1, 1], 3 / 4),
    "one logit for each pixel": (nn.BCEWithLogitsLoss(), BINARY.reshape(2, 1, 1, 2), [[[[0.0, 1]]], [[[1, 1]]]], 3 / 4),
    "one output, any function": (ANY, BINARY, [0, 1, 1, 1], None),  # it may be a probability
    "one output, any function, floats": (ANY, BINARY, columns(0, 1, 1, 1), None),
    "several labels": (nn.BCEWithLogitsLoss(), SCORES, np.eye(4, 3), None),
    "several labels of one example": (nn.BCEWithLogitsLoss(), SCORES[:1], np.eye(1, 3), None),
    "several labels, integers": (nn.BCEWithLogitsLoss(), SCORES, np.eye(4, 3, dtype=int), None),
    "soft labels of one logit": (nn.BCEWithLogitsLoss(), BINARY, columns(0, 1, 0.5, 0), None),
    "probabilities": (nn.CrossEntropyLoss(), SCORES, np.eye(3)[[2, 0, 0, 1]], None),
    "mixed probabilities": (nn.CrossEntropyLoss(), SCORES, np.full((4, 3), 1 / 3), None),
    "numbers": (nn.MSELoss(), SCORES, np.zeros((4, 3)), None),
    "whole numbers": (nn.MSELoss(), BINARY[:, 0], [0, 1, 2, 3], None),
    "counts beyond the outputs, any function": (ANY, SCORES, [2, 0, 5, 1], None),
    "outputs of NaN": (nn.CrossEntropyLoss(), SCORES * NAN, [2, 0, 0, 1], None),
    "one output of NaN": (nn.CrossEntropyLoss(), np.where(np.eye(4, 3), NAN, SCORES), [2, 0, 0, 1], None),
    "an output of NaN, ignored": (nn.CrossEntropyLoss(), np.where(np.eye(4, 3), NAN, SCORES), [-100] * 3 + [2], 1.0),
    "one logit of NaN": (nn.BCEWithLogitsLoss(), columns(-2, 0.4, NAN, -0.1), columns(0, 1, 1, 1), None),
}


@pytest.mark.parametrize("batch_size", [1, 3, 4])
@pytest.mark.parametrize("name", ACCURACIES)
def test_accuracy_is_right_or_there_is_none(name, batch_size):
    loss, outputs, targets, expected = ACCURACIES[name]
    assert measured(loss, outputs, targets, batch_size).get("accuracy") == expected


def test_a_model_of_several_outputs_has_no_accuracy(rng):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 3)

        def forward(self, x):
            return self.head(x), x

    trainer = a_trainer(lambda outputs, target: ops.cross_entropy(outputs[0], target), Two())
    batch = rng.normal(size=(4, 2)).astype(np.float32), np.array([0, 1, 2, 0])
    assert set(trainer.fit([batch], 1, [batch])[0]) == {"epoch", "lr", "train_loss", "val_loss"}


def test_a_classifier_of_one_logit_is_told_how_good_it_is(rng):
    """It learns to tell the sign of a number; the share of label 0 is far from that."""
    x = rng.normal(size=(200, 1)).astype(np.float32)
    targets = (x > 0.5).astype(np.float32)
    model = nn.Linear(1, 1)
    trainer = Trainer(model, optim.Adam(model.parameters(), lr=0.3), nn.BCEWithLogitsLoss(), progress=False)
    best = BestWeights("val_accuracy")
    trainer.callbacks.append(best)
    history = trainer.fit(DataLoader((x, targets), 32), 20, [(x, targets)])
    assert history[-1]["val_accuracy"] == ((model(x).numpy() > 0) == targets).mean() > 0.95
    assert best.best == max(history.column("val_accuracy"))


def test_who_waits_for_an_accuracy_that_there_is_not_says_so():
    batch = np.eye(2, dtype=np.float32), np.eye(2)
    words = (
        "epoch 1 measured no 'val_accuracy', only epoch, lr, train_loss, val_loss; there is an accuracy of class num"
    )
    for callback in (EarlyStopping("val_accuracy"), BestWeights("val_accuracy")):
        with pytest.raises(ValueError, match=words):
            a_trainer(nn.CrossEntropyLoss(), callbacks=[callback]).fit([batch], 1, [batch])
    trainer = a_trainer(nn.CrossEntropyLoss())
    trainer.schedule = optim.ReduceLROnPlateau(trainer.optimizer, mode="max")
    with pytest.raises(ValueError, match=words):
        trainer.fit([batch], 1, [batch])


def test_an_epoch_whose_validation_is_nan_is_no_better_and_no_end():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.calls = nn.Linear(2, 2), 0

        def forward(self, x):
            self.calls += not self.training
            return self.head(x) * (NAN if not self.training and self.calls == 2 else 1.0)

    batch = np.eye(2, dtype=np.float32), np.array([0, 1])
    stopping = EarlyStopping("val_accuracy", patience=9)
    trainer = a_trainer(nn.CrossEntropyLoss(), Sometimes(), callbacks=[stopping])
    trainer.schedule = optim.ReduceLROnPlateau(trainer.optimizer, mode="max")
    history = trainer.fit([batch], 3, [batch])
    assert ["val_accuracy" in record for record in history] == [True, False, True]
    assert np.isnan(history.column("val_accuracy")).tolist() == [False, True, False]
    assert not math.isnan(stopping.best)


# The parts by themselves


def test_totals_are_sums():
    totals = Totals()
    totals.add(1.0, 3, (2, 3))
    totals.add(5.0, 1, (1, 1))
    assert totals.means() == {"loss": 2.0, "accuracy": 0.75}
    totals.add(2.0, 0, (0, 0))
    assert totals.means() == {"loss": 2.0, "accuracy": 0.75}
    totals.add(2.0, 4, None)
    totals.add(2.0, 8, (8, 8))
    assert totals.means() == {"loss": 2.0}


def test_what_a_batch_counts():
    labels = np.array([0, 3, 1, -100])
    assert weight_of(nn.CrossEntropyLoss(WEIGHT), labels) == pytest.approx(0.1 + 0.0 + 3.0)
    assert weight_of(as_loss(partial(ops.cross_entropy, weight=WEIGHT, ignore_index=1)), labels[:3]) == pytest.approx(
        0.1
    )
    assert weight_of(lambda output, target: output, labels) == 4
    assert weight_of(partial(ops.cross_entropy, np.eye(3)), labels) == 4  # not called with outputs and targets
    assert mean_of(nn.CrossEntropyLoss(reduction="sum"), 6.0, 3.0) == 2.0
    assert mean_of(nn.CrossEntropyLoss(), 6.0, 3.0) == 6.0


def test_agreement_counts():
    assert agreement(nn.CrossEntropyLoss(), Tensor(SCORES), np.array([2, 0, -100, 1])) == (2, 3)
    assert agreement(nn.CrossEntropyLoss(), (Tensor(SCORES),), np.array([2, 0, -100, 1])) is None
    assert agreement(ANY, Tensor(SCORES[0]), np.array([2, 0, 1])) is None
    assert agreement(ANY, Tensor([[0.3], [2.0]]), np.array([0, 0])) is None  # a logit, or a probability
