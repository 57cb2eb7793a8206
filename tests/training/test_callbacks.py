from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_norm.training.callbacks import Best, BestWeights, Callback, Checkpoint, EarlyStopping, JSONLLog

NAN = float("nan")


class FakeTrainer(SimpleNamespace):
    """What callbacks see of a Trainer."""

    def __init__(self, callback: Callback) -> None:
        super().__init__(epoch=0, batch=0, stopped=None, model=FakeModel(), callback=callback, saved=[], validation=[])

    def stop(self, reason):
        self.stopped = reason

    def save_checkpoint(self, path):
        self.saved.append((path.name, self.epoch, self.callback.state_dict()))


class FakeModel:
    def __init__(self) -> None:
        self.weight = np.zeros(2)

    def state_dict(self):
        return {"weight": self.weight.copy()}

    def load_state_dict(self, state):
        self.weight = state["weight"].copy()


def run(callback: Callback, values: Any, trainer: Any = None, name: str = "val_loss") -> Any:
    """Epochs that measure `values`, until the callback stops; the model's weights are the number of the epoch."""
    trainer = trainer or FakeTrainer(callback)
    callback.on_train_begin(trainer)
    for value in values:
        if trainer.stopped:
            break
        trainer.epoch += 1
        trainer.model.weight[...] = trainer.epoch
        callback.on_epoch_end(trainer, {"epoch": trainer.epoch, "lr": 0.1, name: value})
    return trainer


@pytest.mark.parametrize(
    ("monitor", "mode", "min_delta", "values", "expected"),
    [
        ("val_loss", None, 0.0, [3, 2, 2, 1, NAN, 0], [True, True, False, True, False, True]),
        ("val_accuracy", None, 0.0, [0.1, 0.3, 0.2, 0.4], [True, True, False, True]),
        ("val_accuracy", "min", 0.0, [0.1, 0.3, 0.05], [True, False, True]),
        ("val_loss", "max", 0.0, [1, 0, 2], [True, False, True]),
        ("val_loss", None, 0.5, [3, 2.6, 2.4, 2.0, 1.8], [True, False, True, False, True]),
        ("val_loss", None, 0.0, [NAN, 5, float("inf"), 4], [False, True, False, True]),
    ],
)
def test_best(monitor, mode, min_delta, values, expected):
    best = Best(monitor, mode, min_delta)
    assert [best.update({"epoch": 1, monitor: value}) for value in values] == expected


def test_early_stopping_waits_for_patience_epochs_in_a_row():
    trainer = run(EarlyStopping(patience=2), [5, 6, 4, 4, 5, 1, 1])
    assert trainer.epoch == 5
    assert trainer.stopped == "val_loss was no better for 2 epochs"


def test_early_stopping_counts_nan_as_no_better():
    assert run(EarlyStopping("train_loss", patience=3), [1, NAN, NAN, NAN, 0], name="train_loss").epoch == 4


def test_early_stopping_goes_on_counting_after_a_resume():
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    trainer = run(first, [1, 2, 2])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert run(second, [2, 0], trainer).epoch == 4


def test_a_run_that_had_stopped_stays_stopped_unless_patience_grows():
    first = EarlyStopping(patience=1)
    run(first, [1, 2])
    for patience, epochs in ((1, 0), (2, 1)):
        again = EarlyStopping(patience=patience)
        again.load_state_dict(first.state_dict())
        assert run(again, [2, 2]).epoch == epochs


def test_best_weights_come_back_at_the_end():
    callback = BestWeights()
    trainer = run(callback, [3, 1, 2, 1])
    assert trainer.model.weight.tolist() == [4, 4]
    callback.on_train_end(trainer)
    assert trainer.model.weight.tolist() == [2, 2]
    assert callback.epoch == 2


def test_best_weights_survive_a_resume():
    first, second = BestWeights(), BestWeights()
    trainer = run(first, [3, 1])
    second.load_state_dict(first.state_dict())
    run(second, [2], trainer)
    second.on_train_end(trainer)
    assert trainer.model.weight.tolist() == [2, 2]


def test_best_weights_leave_a_model_alone_that_was_never_measured():
    callback = BestWeights()
    trainer = run(callback, [NAN])
    callback.on_train_end(trainer)
    assert trainer.model.weight.tolist() == [1, 1]


def test_checkpoint_writes_the_last_and_the_best():
    trainer = run(Checkpoint("runs/digits.safetensors", monitor="val_loss"), [3, 4, 2])
    last, best = "digits.safetensors", "digits.best.safetensors"
    assert [(name, epoch) for name, epoch, _ in trainer.saved] == [
        (best, 1),  # first, for one that is killed in between goes on from the epoch before, and finds it again
        (last, 1),
        (last, 2),
        (best, 3),
        (last, 3),
    ]
    assert [state["best"] for _, _, state in trainer.saved] == [3, 3, 3, 2, 2]  # so that a resumed run knows it


def test_checkpoint_goes_on_comparing_after_a_resume():
    callback = Checkpoint("run", monitor="val_accuracy")
    callback.load_state_dict({"best": 0.9})
    assert [name for name, *_ in run(callback, [0.5, 0.95], name="val_accuracy").saved] == ["run", "run.best", "run"]


def test_checkpoint_without_monitor_writes_the_last_and_on_ctrl_c():
    callback = Checkpoint("run.safetensors")
    trainer = run(callback, [3])
    callback.on_interrupt(trainer)
    assert trainer.saved == [("run.safetensors", 1, {}), ("run.safetensors", 1, {})]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "patience is an integer of at least 1, got 0"),
        (lambda: EarlyStopping(mode="lowest"), "mode is 'min' or 'max', got 'lowest'"),
        (lambda: EarlyStopping(min_delta=-0.1), r"min_delta is a finite number of at least 0, got -0\.1"),
        (lambda: BestWeights(min_delta=NAN), "min_delta is a finite number of at least 0, got nan"),
        (lambda: run(EarlyStopping("val_los"), [1]), "epoch 1 measured no 'val_los', only epoch, lr, val_loss"),
        (lambda: run(BestWeights("val_loss"), [1], name="train_loss"), "give fit a validation loader"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_jsonl_log_tells_the_story_of_a_run_and_its_resume(tmp_path):
    path = tmp_path / "new folder" / "log.jsonl"
    callback = JSONLLog(path)
    trainer = run(callback, [0.5])
    trainer.batch = 3
    callback.on_interrupt(trainer)
    again = JSONLLog(path)
    run(again, [NAN], trainer)
    trainer.stopped, trainer.batch = "enough", 0
    again.on_train_end(trainer)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"event": "start", "epochs": 0, "batches": 0},
        {"event": "epoch", "epoch": 1, "lr": 0.1, "val_loss": 0.5},
        {"event": "interrupt", "epochs": 1, "batches": 3},
        {"event": "start", "epochs": 1, "batches": 3},
        {"event": "epoch", "epoch": 2, "lr": 0.1, "val_loss": "NaN"},
        {"event": "end", "epochs": 2, "batches": 0, "reason": "enough"},
    ]


@pytest.mark.parametrize("build", [EarlyStopping, BestWeights, lambda: Checkpoint("run.safetensors", "val_loss")])
def test_a_validation_that_there_is_not_is_missed_before_the_first_epoch(build):
    callback = build()
    trainer = FakeTrainer(callback)
    trainer.validation = None
    with pytest.raises(ValueError, match=r"'val_loss' is monitored: give fit a validation .* monitor 'train_loss'"):
        callback.on_train_begin(trainer)


def test_the_training_loss_needs_no_validation():
    for callback in (EarlyStopping("train_loss"), BestWeights("train_loss"), Checkpoint("x"), Checkpoint("x", "lr")):
        trainer = FakeTrainer(callback)
        trainer.validation = None
        callback.on_train_begin(trainer)
        assert trainer.stopped is None


@pytest.mark.parametrize(
    ("callback", "state", "message"),
    [
        (EarlyStopping(), {"best": None, "waited": -1}, "EarlyStopping.waited is an integer of at least 0"),
        (EarlyStopping(), {"best": "low", "waited": 1}, "EarlyStopping.best is a number, or None, got 'low'"),
        (BestWeights(), {"best": 1.0, "epoch": 1}, "BestWeights lacks 'weights'"),
        (BestWeights(), {"best": 1.0, "epoch": 1, "weights": {"a": 1}}, "BestWeights.weights.a is an array"),
        (Checkpoint("file", monitor="val_loss"), {"best": []}, "Checkpoint.best is a number, or None"),
    ],
)
def test_a_foreign_state_is_refused(callback, state, message):
    with pytest.raises(ValueError, match=f"the state of {message}"):
        callback.load_state_dict(state)


def test_the_best_weights_of_another_model_are_refused_before_training():
    callback = BestWeights()
    callback.load_state_dict({"best": 1.0, "epoch": 1, "weights": {"weight": np.zeros(3)}})
    with pytest.raises(ValueError, match="the weights that a checkpoint kept are of another model"):
        callback.on_train_begin(FakeTrainer(callback))


def test_a_checkpoint_that_cannot_be_written_is_refused_before_training(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        Checkpoint(tmp_path).on_train_begin(None)
