from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest

from tinygrad_norm import nn, random
from tinygrad_norm.data import load
from tinygrad_norm.training import (
    Callback,
    TrainingInterrupted,
    load_safetensors,
    load_trained,
    recipe_for,
    run,
    save_checkpoint,
    train,
)
from tinygrad_norm.training.evaluation import evaluate
from tinygrad_norm.training.run import Stopwatch


@pytest.fixture
def recipe(few_digits):
    return recipe_for("lenet5", data=few_digits, image_size=16, epochs=3, batch_size=32, lr=0.01)


class StopAfter(Callback):
    """Ctrl-C after so many batches."""

    def __init__(self, batches):
        self.batches = batches

    def on_batch_end(self, trainer, loss):
        self.batches -= 1
        trainer._interrupt.requested = self.batches == 0


def weights(path):
    return load_trained(path)[0].state_dict()


def test_a_run_is_written_down_and_comes_back_from_its_checkpoint(tmp_path, recipe):
    result = train(recipe, tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.best.safetensors",
        "checkpoint.safetensors",
        "log.jsonl",
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["recipe", "start", "epoch", "epoch", "epoch", "end", "test"]
    assert {key: lines[0][key] for key in recipe.to_dict()} == recipe.to_dict()
    assert lines[-1]["accuracy"] == result.test.accuracy
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]

    random.manual_seed(99)
    model, found = load_trained(result.checkpoint)
    assert found == recipe
    assert not model.training
    again = evaluate(model, load(recipe.data, "test", image_size=16))
    assert (again.accuracy, again.loss) == (result.test.accuracy, result.test.loss)
    np.testing.assert_array_equal(again.confusion, result.test.confusion)
    assert again.confusion.sum() == 40
    assert json.loads(json.dumps(result.to_dict()))["parameters"] == sum(p.size for p in model.parameters())


def test_a_net_of_computed_weights_comes_back_from_its_checkpoint(tmp_path, few_digits):
    options = {"norm_free": "nf", "width": 0.125}
    recipe = recipe_for("resnet18", data=few_digits, image_size=8, epochs=1, options=options, clip_adaptive=0.1)
    result = train(recipe, tmp_path, progress=False)
    model, found = load_trained(result.checkpoint)
    assert found == result.recipe
    assert evaluate(model, load(few_digits, "test", image_size=8)).loss == result.test.loss
    folded = nn.fold_parametrizations(model)
    assert evaluate(folded, load(few_digits, "test", image_size=8)).loss == pytest.approx(result.test.loss, rel=1e-5)


def test_a_picture_that_fails_is_a_warning_and_leaves_the_results(tmp_path, recipe, monkeypatch):
    def fail(*_):
        log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
        assert json.loads(log[-1])["event"] == "test"  # what was learned is written before
        raise ValueError("no picture of this")

    monkeypatch.setattr(run, "new_figure", lambda *_: None)
    monkeypatch.setattr(run, "plot_curves", fail)
    monkeypatch.setattr(run, "plot_confusion", fail)
    with pytest.warns(RuntimeWarning, match=r"(curves|confusion)\.png could not be drawn: no picture of this") as seen:
        result = train(recipe, tmp_path / "run", progress=False, plot=True, confusion=True)
    assert result.undrawn == (tmp_path / "run" / "curves.png", tmp_path / "run" / "confusion.png")
    assert len(seen) == 2
    assert 0 <= result.test.accuracy <= 1


def test_the_same_recipe_gives_the_same_net_and_another_seed_another(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=1)
    first, second, other = (
        train(dataclasses.replace(recipe, seed=seed), tmp_path / name, progress=False)
        for name, seed in (("first", 0), ("second", 0), ("other", 1))
    )
    state, again = load_safetensors(first.checkpoint), load_safetensors(second.checkpoint)
    assert len(state) > 30  # the optimizer's among them
    for name, array in state.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)
    assert first.history == second.history != other.history


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, recipe, schedule, capsys):
    recipe = dataclasses.replace(recipe, schedule=schedule, augment=("shift", "noise"), mixup=0.2)
    whole = train(recipe, tmp_path / "whole", progress=False)
    with pytest.raises(TrainingInterrupted):
        train(recipe, tmp_path / "part", progress=False, callbacks=[StopAfter(4)])
    assert "resume from" in capsys.readouterr().err
    checkpoint, left = tmp_path / "part" / "checkpoint.safetensors", StopAfter(100)
    rest = train(recipe, tmp_path / "part", resume=checkpoint, progress=False, callbacks=[left])
    assert left.batches == 100 - (3 * 3 - 4)
    assert rest.history == whole.history
    assert rest.test.loss == whole.test.loss
    for name, value in weights(whole.checkpoint).items():
        np.testing.assert_array_equal(weights(rest.checkpoint)[name], value)

    done = train(recipe, tmp_path / "elsewhere", resume=rest.checkpoint, progress=False)
    assert done.history == whole.history
    assert weights(done.checkpoint).keys() == weights(whole.checkpoint).keys()


def test_the_stopwatch_adds_what_was_before_a_resume(monkeypatch):
    clock = iter([0.0, 10.0, 14.0, 100.0, 200.0, 203.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    first = Stopwatch()
    first.on_train_begin(None)
    state = first.state_dict()
    second = Stopwatch()
    second.load_state_dict(state)
    second.on_train_begin(None)
    assert (state["seconds"], second.seconds) == (4.0, 7.0)


def test_a_folder_with_another_run_is_left_alone(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=1)
    result = train(recipe, tmp_path / "run", progress=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    other = train(recipe, tmp_path / "other", progress=False)
    for resume in (None, other.checkpoint):
        with pytest.raises(FileExistsError, match="run holds another run"):
            train(recipe, result.checkpoint.parent, resume=resume, progress=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_that_failed_before_its_first_checkpoint_is_begun_anew(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=1)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError):
        train(dataclasses.replace(recipe, lr=1e38, optimizer="sgd"), tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.jsonl"]
    train(recipe, tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["recipe", "start", "epoch", "end", "test"]
    assert lines[0]["lr"] == recipe.lr


def test_the_best_epoch_is_gone_on_from_elsewhere_only(tmp_path, recipe):
    last = train(recipe, tmp_path / "run", progress=False).checkpoint
    best, before = last.with_name("checkpoint.best.safetensors"), last.read_bytes()
    with pytest.raises(FileExistsError, match=r"would overwrite .*checkpoint\.safetensors; choose another folder"):
        train(recipe, tmp_path / "run", resume=best, progress=False)
    assert last.read_bytes() == before
    train(recipe, tmp_path / "elsewhere", resume=best, progress=False)


@pytest.mark.parametrize("test_images", [np.zeros((0, 8, 8)), np.zeros((4, 3, 8, 8)), np.zeros((4, 8, 8))])
def test_test_images_of_another_kind_are_refused_before_training(tmp_path, few_digits, recipe, test_images):
    np.save(few_digits / "test_images.npy", test_images)
    np.save(few_digits / "test_labels.npy", np.full(len(test_images), 11))
    with pytest.raises(ValueError, match=r"test_|shape \(4, 3, 16, 16\), the training images \(110, 1, 16|12 classes"):
        train(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=1)
    checkpoint = train(recipe, tmp_path / "run", progress=False).checkpoint
    for changes, message in (
        ({"model": "mlp"}, "is a checkpoint of lenet5, not of mlp"),
        (
            {"epochs": 2, "lr": 0.1, "seed": 3},
            r"trained with lr=0.01 \(here 0.1\), seed=0 \(here 3\); only epochs and data_folder may change when a run",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(recipe, **changes), tmp_path / "new", resume=checkpoint, progress=False)
    assert not (tmp_path / "new").exists()
    moved = dataclasses.replace(recipe, data_folder="elsewhere")
    assert train(moved, tmp_path / "run", resume=checkpoint, progress=False).history


def test_a_resumed_run_builds_no_larger_net_than_the_file(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, model="baseline_cnn", options={"width": 50.0}, image_size=32)
    extra = {"recipe": recipe.to_dict(), "channels": 1, "classes": 10}
    save_checkpoint(tmp_path / "claims", nn.Linear(3, 2), extra=extra)
    with pytest.raises(
        ValueError, match="claims was altered: the net that it describes is larger than its 2 arrays of 8"
    ):
        train(recipe, tmp_path / "run", resume=tmp_path / "claims", progress=False)
    assert not (tmp_path / "run").exists()


class TrainAgain(Callback):
    """Trains into a folder while another run is at work there."""

    def __init__(self, recipe, folder, resume=None):
        self.recipe, self.folder, self.resume, self.errors = recipe, folder, resume, []

    def on_epoch_end(self, trainer, record):
        try:
            train(self.recipe, self.folder, resume=self.resume, progress=False)
        except OSError as error:
            self.errors.append(error)


def test_a_folder_is_trained_into_by_one_run_at_a_time(tmp_path, recipe):
    folder = tmp_path / "run"
    whole = train(recipe, tmp_path / "whole", progress=False)
    again = [TrainAgain(recipe, folder), TrainAgain(recipe, folder, folder / "checkpoint.safetensors")]
    result = train(recipe, folder, progress=False, callbacks=again)
    for callback in again:
        assert {type(error) for error in callback.errors} == {BlockingIOError}
        assert len(callback.errors) == 3
        words = f"{folder} is in use: it is trained into by process {os.getpid()} on "
        assert str(callback.errors[0]).startswith(words)
    assert result.history == whole.history
    events = [json.loads(line)["event"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert events == ["recipe", "start", "epoch", "epoch", "epoch", "end", "test"]
    assert not (folder / "run.lock").exists()


def test_the_lock_of_a_killed_run_is_no_obstacle(tmp_path, recipe):
    recipe = dataclasses.replace(recipe, epochs=1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_text("12345 elsewhere\n")
    train(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_finished_run_is_trained_longer_bit_for_bit(tmp_path, recipe):
    """With a constant learning rate, two epochs and then two more are four at once."""
    recipe = dataclasses.replace(recipe, schedule="constant", warmup=0.0, augment=("noise",))
    short, long = (dataclasses.replace(recipe, epochs=epochs) for epochs in (2, 4))
    whole = train(long, tmp_path / "whole", progress=False)
    checkpoint = train(short, tmp_path / "run", progress=False).checkpoint
    result = train(long, tmp_path / "run", resume=checkpoint, progress=False)
    assert result.history == whole.history
    for name, value in load_safetensors(whole.checkpoint).items():
        np.testing.assert_array_equal(load_safetensors(checkpoint)[name], value, err_msg=name)
    assert load_trained(checkpoint)[1] == long

    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    recipes = [line for line in lines if line["event"] == "recipe"]
    assert [(line["epochs"], line.get("changed")) for line in recipes] == [(2, None), (4, {"epochs": [2, 4]})]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_a_run_trained_longer_follows_the_longer_schedule(tmp_path, recipe, schedule):
    short, long = (dataclasses.replace(recipe, schedule=schedule, epochs=epochs) for epochs in (2, 5))
    whole = train(long, tmp_path / "whole", progress=False)
    checkpoint = train(short, tmp_path / "run", progress=False).checkpoint
    result = train(long, tmp_path / "run", resume=checkpoint, progress=False)
    assert result.history.column("lr")[2:] == whole.history.column("lr")[2:]


def test_a_run_can_be_ended_earlier_but_not_before_where_it_is(tmp_path, recipe):
    with pytest.raises(TrainingInterrupted):
        train(recipe, tmp_path / "run", progress=False, callbacks=[StopAfter(4)])  # in the second of three epochs
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors has begun 2 epochs; epochs=1 is fewer"):
        train(dataclasses.replace(recipe, epochs=1), tmp_path / "run", resume=checkpoint, progress=False)
    fewer = dataclasses.replace(recipe, epochs=2)
    assert len(train(fewer, tmp_path / "run", resume=checkpoint, progress=False).history) == 2
    train(recipe, tmp_path / "other", resume=checkpoint, progress=False)
    last = dataclasses.replace(recipe, data_folder="elsewhere")
    train(last, tmp_path / "other", resume=tmp_path / "other" / "checkpoint.safetensors", progress=False)
    assert load_trained(tmp_path / "other" / "checkpoint.safetensors")[1] == last  # though no epoch was left to train


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path, recipe):
    for changes, message in (
        ({"data": "digit"}, "did you mean digits?"),
        ({"image_size": 15}, "image_size is an integer of at least 16"),
        ({"options": {"colour": 1}}, "colour"),
        ({"batch_size": 500}, "batch_size=500"),
        ({"model": "mlp", "batch_size": 1}, "one value per channel"),
        ({"validation_every": 13}, "no class has validation_every=13 training images"),
    ):
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(recipe, **changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
