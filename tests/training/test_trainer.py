"""The trainer: what an epoch does, and what it refuses."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.training.training_runs import EPOCHS, Run, a_dataset
from tinygrad_norm import is_recording, nn, ops, optim, random
from tinygrad_norm.data import DataLoader
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training import Callback, Trainer


class Recorder(Callback):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_train_begin(self, trainer):
        self.events.append("train begins")

    def on_epoch_begin(self, trainer):
        self.events.append(f"epoch {trainer.epoch + 1} begins")

    def on_batch_end(self, trainer, loss):
        self.events.append((trainer.batch, loss))

    def on_epoch_end(self, trainer, record):
        assert trainer.history[-1] is record
        self.events.append(f"epoch {trainer.epoch} ends")

    def on_train_end(self, trainer):
        self.events.append("train ends")

    def on_interrupt(self, trainer):
        self.events.append("interrupt")

    def close(self):
        self.events.append("close")


# What an epoch does


def test_callbacks_are_told_in_order():
    recorder = Recorder()
    run = Run(callbacks=[recorder])
    run.fit(2)
    told = [event if isinstance(event, str) else event[0] for event in recorder.events]
    epochs = [["epoch 1 begins", 1, 2, 3, 4, 5, "epoch 1 ends"], ["epoch 2 begins", 1, 2, 3, 4, 5, "epoch 2 ends"]]
    assert told == ["train begins", *epochs[0], *epochs[1], "train ends", "close"]
    losses = [event[1] for event in recorder.events if not isinstance(event, str)][:5]
    assert run.trainer.history[0]["train_loss"] == pytest.approx(np.average(losses, weights=[8, 8, 8, 8, 5]), rel=1e-6)


def test_callbacks_are_closed_whatever_happens():
    class Failing(Callback):
        def on_batch_end(self, trainer, loss):
            raise OSError("disk full")

    recorder = Recorder()
    with pytest.raises(OSError, match="disk full"):
        Run(callbacks=[recorder, Failing()]).fit()
    assert recorder.events[-1] == "close"


def test_measures_weigh_every_example_alike():
    run = Run()
    run.model.eval()
    inputs, targets = a_dataset()[np.arange(37)]
    output = run.model(Tensor(inputs)).numpy()
    found = run.trainer.evaluate(DataLoader(a_dataset(), 8))  # the last batch has 5
    assert found["loss"] == pytest.approx(ops.cross_entropy(output, targets).item(), rel=1e-6)
    assert found["accuracy"] == np.mean(output.argmax(axis=1) == targets)


def test_evaluation_records_nothing_and_changes_nothing():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append((is_recording(), self.training))
            return x

    run = Run()
    run.trainer.model = nn.Sequential(run.model, Watched(), nn.Sequential(nn.Dropout(0.5)))
    run.trainer.model.get_submodule("2").eval()  # modes may differ
    next(iter(run.validation))
    before = run.state(), [module.training for module in run.trainer.model.modules()]
    run.trainer.evaluate(run.validation)
    run.trainer.evaluate(run.validation)
    assert seen == [(False, False)] * 6  # 3 batches each: from the beginning, though one was looked at
    assert (run.state(), [module.training for module in run.trainer.model.modules()]) == before


def test_the_mode_comes_back_when_evaluation_fails():
    run = Run()
    with pytest.raises(TypeError, match="a batch is a tuple"):
        run.trainer.evaluate([(1, 2, 3)])
    assert all(module.training for module in run.model.modules())


def test_training_happens_in_training_mode():
    modes = []
    run = Run()
    run.model.eval()
    run.model.register_forward_hook(lambda module, arguments, output: modes.append(module.training))
    run.fit(1)
    assert modes == [True] * 5 + [False] * 3


def test_schedules_are_stepped_as_they_say():
    by_epoch = Run("by epoch").fit().column("lr")
    np.testing.assert_allclose(by_epoch, [0.05 * 0.7**epoch for epoch in range(EPOCHS)])
    run = Run("by batch")
    run.fit()
    assert run.trainer.schedule.last_epoch == 5 * EPOCHS


def test_the_rate_of_an_epoch_is_that_of_its_last_step(capsys):
    class Rates(Callback):
        def on_batch_end(self, trainer, loss):
            used.append(rates[-1])
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    used: list[float] = []
    run = Run(callbacks=[Rates()], progress=True)
    run.trainer.schedule = optim.CosineAnnealingLR(run.optimizer, 5 * EPOCHS, per_batch=True)
    rates = [run.optimizer.param_groups[0]["lr"]]
    history = run.fit()
    assert history.column("lr") == used[4::5]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"  lr {used[-1]:.3g}")
    assert used[-1] > 1e-4 > rates[-1]  # which was never trained with


def test_the_advice_names_the_rate_that_was_trained_with():
    class Spoils(Callback):
        def on_batch_end(self, trainer, loss):
            trainer.model.get_submodule("4").weight.data[0, 0] = np.inf

    run = Run(callbacks=[Spoils()], schedule="by batch")
    with pytest.raises(FloatingPointError, match=r"try lr below 0\.0") as caught:
        run.trainer.fit([next(iter(run.loader))], 1)
    assert f"try lr below {0.1 / 25:g}," in str(caught.value)
    assert run.optimizer.param_groups[0]["lr"] > 0.1 / 25


@pytest.mark.parametrize(("mode", "column"), [("min", "val_loss"), ("max", "val_accuracy")])
def test_a_plateau_is_watched_for_in_the_validation(mode, column):
    run = Run()
    run.trainer.schedule = optim.ReduceLROnPlateau(run.optimizer, mode=mode, threshold=0.0)
    best = {"min": min, "max": max}[mode](run.fit().column(column))
    assert run.trainer.schedule.best == best


def test_without_validation_the_plateau_is_the_training_loss():
    run = Run()
    run.trainer.schedule = optim.ReduceLROnPlateau(run.optimizer, threshold=0.0)
    history = run.trainer.fit(run.loader, 3)
    assert run.trainer.schedule.best == min(history.column("train_loss"))
    assert set(history[0]) == {"epoch", "lr", "train_loss", "train_accuracy"}


def test_clip_norm_bounds_the_step():
    sizes = []
    for clip_norm in (None, 0.01):
        random.manual_seed(5)
        run = Run(optimizer=lambda p, lr: optim.SGD(p, lr=1.0), clip_norm=clip_norm)
        before = [parameter.numpy().copy() for parameter in run.model.parameters()]
        run.trainer.fit([next(iter(run.loader))], 1)
        after = [parameter.numpy() for parameter in run.model.parameters()]
        sizes.append(float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(after, before, strict=True)))))
    assert sizes[0] > 0.02
    assert sizes[1] == pytest.approx(0.01, rel=1e-3)


def test_clip_adaptive_bounds_the_step_of_each_unit():
    for clip_adaptive in (None, 0.001):
        random.manual_seed(5)
        run = Run(optimizer=lambda p, lr: optim.SGD(p, lr=1.0), clip_norm=None, clip_adaptive=clip_adaptive)
        weight = run.model[0].weight
        before = weight.numpy().copy()
        run.trainer.fit([next(iter(run.loader))], 1)
        ratios = np.linalg.norm(weight.numpy() - before, axis=1) / np.linalg.norm(before, axis=1)
        assert (ratios.max() > 0.01) if clip_adaptive is None else (ratios.max() == pytest.approx(0.001, rel=1e-3))


@pytest.mark.parametrize("seed", range(5))
def test_training_learns(seed):
    random.manual_seed(seed)
    history = Run().fit(15)
    assert all(later["epoch"] == earlier["epoch"] + 1 for earlier, later in pairwise(history))
    assert history[-1]["train_loss"] < 0.95  # a guess among three costs 1.1; of 150 seeds, the worst ends at 0.84


def test_progress_and_log_are_written_where_asked(tmp_path, capsys):
    Run(progress=True, log=tmp_path / "log.jsonl").fit(2)
    written = capsys.readouterr()
    assert [line[:15] for line in written.err.splitlines()] == ["epoch 1/2  loss", "epoch 2/2  loss"]
    assert "\r" not in written.err
    assert written.out == ""
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "epoch", "epoch", "end"]
    Run().fit(1)
    assert capsys.readouterr().err == ""


# Bad input


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training_before_it_spoils_anything(tmp_path, bad):
    run = Run(checkpoint=tmp_path / "run")
    count = 0

    def loss(output, targets):
        nonlocal count
        count += 1
        return nn.CrossEntropyLoss()(output, targets) * (bad if count == 5 + 3 + 3 else 1.0)  # validation has 3 batches

    run.trainer.loss = loss
    with pytest.raises(
        FloatingPointError, match=rf"epoch 2, batch 3: the loss is {bad}; try lr below 0\.05.*detect_anomaly"
    ):
        run.fit()
    assert all(np.isfinite(array).all() for array in run.model.state_dict().values())
    assert Run().resume(tmp_path / "run").trainer.epoch == 1


def test_weights_spoilt_by_the_last_step_never_reach_the_checkpoint(tmp_path):
    class Spoils(Callback):
        def on_batch_end(self, trainer, loss):
            if (trainer.epoch, trainer.batch) == (1, 5):
                trainer.model.get_submodule("4").weight.data[0, 0] = np.inf

    run = Run(callbacks=[Spoils()], checkpoint=tmp_path / "run")
    with pytest.raises(FloatingPointError, match=r"epoch 2: 4\.weight is no longer finite; try lr below"):
        run.fit()
    assert Run().resume(tmp_path / "run").trainer.epoch == 1


INPUTS, TARGETS = np.ones((4, 6), np.float32), np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        ([], ValueError, "the training loader gave no batches in epoch 1"),
        ([INPUTS], TypeError, r"a batch is a tuple \(inputs, targets\), got a ndarray"),
        ([(INPUTS,)], TypeError, "got a tuple of 1"),
        (
            [(INPUTS, TARGETS[:3])],
            ValueError,
            r"as many inputs as targets, and at least 1; got shapes \(4, 6\) and \(3,\)",
        ),
        ([(INPUTS[:0], TARGETS[:0])], ValueError, "at least 1"),
        ([(np.float32(1), np.int64(1))], ValueError, r"got shapes \(\) and \(\)"),
    ],
)
def test_bad_batches(loader, error, message):
    run = Run()
    before = run.model.state_dict()
    with pytest.raises(error, match=message):
        run.trainer.fit(loader, 1)
    assert all((array == before[name]).all() for name, array in run.model.state_dict().items())


def test_a_loader_that_runs_dry():
    run = Run()
    with pytest.raises(ValueError, match="the training loader gave no batches in epoch 2"):
        run.trainer.fit(iter([(INPUTS, TARGETS)]), 2)
    with pytest.raises(ValueError, match="evaluate: the loader gave no batches"):
        run.trainer.evaluate([])


def test_bad_arguments():
    run = Run()
    parts: Any = (run.model, run.optimizer, nn.CrossEntropyLoss())
    with pytest.raises(TypeError, match="model is a Module, got function"):
        Trainer(*[lambda x: x, *parts[1:]])
    with pytest.raises(TypeError, match="optimizer is an Optimizer, got generator"):
        Trainer(*[run.model, run.model.parameters(), parts[2]])
    for clip_norm in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="clip_norm is a number above 0, or None for no clipping, got"):
            Trainer(*parts, clip_norm=clip_norm)
    with pytest.raises(ValueError, match="epochs is an integer of at least 1, got 0"):
        run.fit(0)
    with pytest.raises(TypeError, match="epochs is an integer"):
        run.fit(2.5)
    run.trainer.loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(ValueError, match=r"the loss.s result is one number, the mean over the batch, got shape \(8,\)"):
        run.fit()


def test_the_module_of_an_op_is_made_once(monkeypatch):
    made = []
    plain = nn.CrossEntropyLoss.__init__

    def init(self, **given):
        made.append(given)
        plain(self, **given)

    monkeypatch.setattr(nn.CrossEntropyLoss, "__init__", init)
    run = Run()
    trainer = Trainer(run.model, run.optimizer, ops.cross_entropy, progress=False)
    made.clear()
    trainer.fit(run.loader, 2, run.validation)
    assert made == []
    trainer.loss = partial(ops.cross_entropy, ignore_index=1)
    targets = np.array([0, 1, 1, 1])
    assert trainer.evaluate([(INPUTS, targets)])["loss"] == pytest.approx(
        trainer.evaluate([(INPUTS[:1], targets[:1])])["loss"], rel=1e-5
    )
    assert made == [{"ignore_index": 1}]
