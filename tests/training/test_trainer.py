from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import is_recording, nn, ops, optim, random
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.tables import plural
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training import BestWeights, Callback, EarlyStopping, Trainer, TrainingInterrupted
from tinygrad_norm.training.checkpoint import save_parts
from tinygrad_norm.training.state import split_state

EPOCHS = 4
SCHEDULES: dict[str, Any] = {
    "none": lambda optimizer: None,
    "by epoch": lambda optimizer: optim.StepLR(optimizer, 1, 0.7),
    "by batch": lambda optimizer: optim.OneCycleLR(optimizer, 0.1, epochs=EPOCHS, steps_per_epoch=5),
    "on a plateau": lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
}


def noisy(batch, generator):
    return batch + generator.normal(size=batch.shape).astype(batch.dtype)


def a_dataset(examples=37, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, examples)
    return ArrayDataset((rng.normal(size=(examples, 6)) + targets[:, None]).astype(np.float32), targets)


class Run:
    """All that makes up a training run, freshly made: with everything that could go wrong on a resume."""

    def __init__(
        self, schedule: str = "none", optimizer: Any = optim.Adam, callbacks: Any = (), **options: Any
    ) -> None:
        self.model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1D(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.optimizer = optimizer(self.model.parameters(), lr=0.05)
        self.loader = DataLoader(a_dataset(), 8, shuffle=True, seed=3, transform=noisy)
        self.validation: Any = DataLoader(a_dataset(10, seed=1), 4, shuffle=True, transform=noisy)
        self.trainer = Trainer(
            self.model,
            self.optimizer,
            nn.CrossEntropyLoss(),
            schedule=SCHEDULES[schedule](self.optimizer),
            callbacks=callbacks,
            **{"progress": False, "clip_norm": 2.0} | options,
        )

    def fit(self, epochs=EPOCHS):
        return self.trainer.fit(self.loader, epochs, self.validation)

    def resume(self, path):
        self.trainer.resume(path, self.loader)
        return self

    def state(self):
        """Every bit that the run consists of."""
        tree, arrays = split_state(
            [
                {name: np.asarray(array) for name, array in self.model.state_dict().items()},
                self.optimizer.state_dict(),
                self.loader.state_dict(),
                self.validation.state_dict(),
                self.trainer.schedule.state_dict() if self.trainer.schedule else None,
                self.trainer.state_dict(),
                random.state_dict(),
            ]
        )
        return json.dumps(tree), {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


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


class CtrlC(Callback):
    """Presses Ctrl-C once: in a batch of an epoch, when the epoch ends (batch 0), or in its validation (batch -1)."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.moment = (epoch, batch)

    def press(self, *moment: int) -> None:
        if moment == self.moment:
            self.moment = (0, 0)
            signal.raise_signal(signal.SIGINT)

    def on_batch_end(self, trainer, loss):
        self.press(trainer.epoch + 1, trainer.batch)

    def on_epoch_end(self, trainer, record):
        self.press(trainer.epoch, 0)


# Going on exactly


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "optimizer", [optim.Adam, lambda p, lr: optim.Lookahead(optim.SGD(p, lr=lr, momentum=0.9), k=3)]
)
def test_epochs_stop_and_epochs_are_as_many_at_once(tmp_path, schedule, optimizer):
    random.manual_seed(5)
    whole = Run(schedule, optimizer)
    whole.fit()
    expected = whole.state()

    random.manual_seed(5)
    Run(schedule, optimizer, checkpoint=tmp_path / "run").fit(EPOCHS // 2)
    random.manual_seed(77)  # another process would know nothing of the first one's generator
    resumed = Run(schedule, optimizer).resume(tmp_path / "run")
    resumed.fit()
    assert resumed.state() == expected
    assert [record["epoch"] for record in resumed.trainer.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("moment", [(1, 1), (3, 2), (3, 5), (3, 0), (3, -1), (4, 4), (4, 0)])
def test_ctrl_c_anywhere_leaves_a_checkpoint_that_goes_on_exactly(tmp_path, capsys, schedule, moment):
    random.manual_seed(5)
    whole = Run(schedule)
    whole.fit()
    expected = whole.state()

    random.manual_seed(5)
    ctrl_c = CtrlC(*moment)
    run = Run(schedule, callbacks=[ctrl_c], checkpoint=tmp_path / "run")
    if moment[1] == -1:
        plain = run.validation
        run.validation = PressingLoader(plain, ctrl_c, run.trainer)
    with pytest.raises(TrainingInterrupted):
        run.fit()
    done = {0: (moment[0], 0), -1: (moment[0] - 1, 5)}.get(moment[1], (moment[0] - 1, moment[1]))
    assert capsys.readouterr().err == (
        f"interrupted after {plural(done[0], 'epoch')} and {plural(done[1], 'batch', 'batches')}; "
        f"resume from {tmp_path / 'run'}\n"
    )
    generator = random.state_dict()
    random.manual_seed(77)
    resumed = Run(schedule).resume(tmp_path / "run")
    resumed.fit()
    assert resumed.state() == expected

    random.load_state_dict(generator)  # the interrupted run itself can go on, too
    if moment[1] == -1:
        run.validation = plain
    run.fit()
    assert run.state() == expected


class PressingLoader:
    """A validation loader in whose second batch Ctrl-C is pressed."""

    def __init__(self, loader, ctrl_c, trainer):
        self.loader, self.ctrl_c, self.trainer = loader, ctrl_c, trainer

    def __iter__(self):
        for number, batch in enumerate(self.loader):
            if number == 1:
                self.ctrl_c.press(self.trainer.epoch + 1, -1)
            yield batch

    def state_dict(self):
        return self.loader.state_dict()

    def load_state_dict(self, state):
        self.loader.load_state_dict(state)


def test_callbacks_go_on_exactly_too(tmp_path):
    def callbacks():
        return [EarlyStopping(patience=2, min_delta=0.05), BestWeights("val_accuracy"), EarlyStopping("train_loss", 9)]

    random.manual_seed(5)
    whole = Run(callbacks=callbacks())
    whole.fit(20)
    expected = whole.state()
    stopped = whole.trainer.epoch
    assert 3 <= stopped < 20
    assert whole.trainer.stopped == "val_loss was no better for 2 epochs"

    random.manual_seed(5)
    for epochs in (*range(1, stopped + 1), 20, 20):
        run = Run(callbacks=callbacks(), checkpoint=tmp_path / "run")
        if epochs > 1:
            run.resume(tmp_path / "run")
        run.fit(epochs)
    assert run.state() == expected


def test_any_iterable_of_batches_goes_on_where_it_was(tmp_path):
    batches = list(DataLoader(a_dataset(), 8))
    random.manual_seed(5)
    whole = Run()
    whole.trainer.fit(batches, 2)
    expected = whole.state()

    random.manual_seed(5)
    run = Run(callbacks=[CtrlC(1, 3)], checkpoint=tmp_path / "run")
    with pytest.raises(TrainingInterrupted):
        run.trainer.fit(batches, 2)
    resumed = Run()
    resumed.trainer.resume(tmp_path / "run", batches)
    resumed.trainer.fit(batches, 2)
    assert resumed.state() == expected


def test_a_state_of_version_0_1_goes_on():
    random.manual_seed(5)
    whole = Run()
    whole.fit(2)
    random.manual_seed(5)
    run = Run()
    run.fit(1)
    state = run.trainer.state_dict()
    del state["lr"], state["frozen"]
    run.trainer.load_state_dict(state)
    run.fit(2)
    assert run.state() == whole.state()


def test_a_second_fit_goes_on_to_a_higher_goal():
    random.manual_seed(5)
    whole = Run()
    whole.fit()
    expected = whole.state()
    random.manual_seed(5)
    run = Run()
    for epochs in (1, 3, 3, EPOCHS):
        run.fit(epochs)
    assert run.state() == expected


def test_a_resume_that_does_not_fit_changes_nothing(tmp_path):
    run = Run("by epoch", checkpoint=tmp_path / "run")
    run.fit(1)
    for schedule, batch_size, message in (("none", 8, "holds the state of schedule"), ("by epoch", 9, "batch_size=8")):
        other = Run(schedule)
        other.loader = DataLoader(a_dataset(), batch_size, shuffle=True, seed=3)
        before = other.state()
        with pytest.raises(ValueError, match=message):
            other.resume(tmp_path / "run")
        assert other.state() == before


@pytest.mark.parametrize(
    ("entry", "foreign", "message"),
    [
        ("epoch", -1, "the trainer's state.epoch is an integer of at least 0, got -1"),
        ("batch", 2.0, "the trainer's state.batch is an integer"),
        ("batches_done", 0, "the trainer's state.batches_done is True or False, got 0"),
        ("totals", {}, "the trainer's state.totals lacks 'loss'"),
        ("history", [{"lr": 0.1}], "the trainer's state.history.0 lacks 'epoch'"),
        ("history", [{"epoch": 1, "lr": "high"}], "the trainer's state.history.0.lr is a number, got 'high'"),
        ("callbacks", {"EarlyStopping1": 3}, "the trainer's state.callbacks.EarlyStopping1 is a dict, got 3"),
        ("callbacks", {"EarlyStopping1": {"best": 1.0}}, "the state of EarlyStopping lacks 'waited'"),
        ("more", 1, "the trainer's state has 'more', which is not known"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(tmp_path, entry, foreign, message):
    run = Run(callbacks=[EarlyStopping()], checkpoint=tmp_path / "run")
    run.fit(1)
    parts = run.trainer._parts(run.loader)
    state = run.trainer.state_dict() | {entry: foreign}
    parts["trainer"] = SimpleNamespace(state_dict=lambda: state)
    save_parts(tmp_path / "run", parts)
    other = Run(callbacks=[EarlyStopping()])
    before = other.state()
    with pytest.raises(ValueError, match=message) as caught:
        other.resume(tmp_path / "run")
    assert str(caught.value).startswith(f"{tmp_path / 'run'} was not loaded, and nothing was changed")
    assert other.state() == before


def test_a_looked_at_loader_begins_its_epoch_anew():
    random.manual_seed(5)
    whole = Run()
    whole.fit(1)
    random.manual_seed(5)
    run = Run()
    next(iter(run.loader))
    next(run.loader.resume())  # and another loop was left in the middle
    next(iter(run.validation))
    run.fit(1)
    assert run.trainer.history == whole.trainer.history


class Curious(Callback):
    """Reads the training loader between the batches: one batch, and all."""

    def on_batch_end(self, trainer, loss):
        next(iter(trainer.loader))
        assert len(list(trainer.loader)) == 5
        trainer.evaluate(trainer.validation)


def test_what_a_callback_reads_of_the_loaders_changes_nothing(tmp_path):
    random.manual_seed(5)
    whole = Run()
    whole.fit()
    expected = whole.state()
    random.manual_seed(5)
    run = Run(callbacks=[Curious(), CtrlC(2, 3)], checkpoint=tmp_path / "run")
    with pytest.raises(TrainingInterrupted):
        run.fit()
    resumed = Run(callbacks=[Curious()]).resume(tmp_path / "run")
    assert len(list(resumed.loader)) == 5
    resumed.fit()
    assert resumed.state() == expected


def test_a_loader_with_a_state_and_no_resume_is_refused_in_the_middle_of_an_epoch(tmp_path):
    ctrl_c = CtrlC(2, 3)
    run = Run(callbacks=[ctrl_c], checkpoint=tmp_path / "run")
    run.loader = PressingLoader(run.loader, ctrl_c, run.trainer)
    with pytest.raises(TrainingInterrupted):
        run.fit()
    with pytest.raises(TypeError, match=r"fit: PressingLoader has a state, but no resume\(\) that goes on from it"):
        run.fit()


# Ctrl-C


def test_a_second_ctrl_c_stops_at_once_and_keeps_the_last_checkpoint(tmp_path):
    class Impatient(Callback):
        def on_batch_end(self, trainer, loss):
            if (trainer.epoch, trainer.batch) == (1, 2):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    run = Run(callbacks=[Impatient()], checkpoint=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt) as caught:
        run.fit()
    assert not isinstance(caught.value, TrainingInterrupted)
    assert Run().resume(tmp_path / "run").trainer.epoch == 1


class SlowToClose:
    """A loader that is told of Ctrl-C while it ends, as one that waits for a thread may be."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        try:
            yield from self.loader
        finally:
            signal.raise_signal(signal.SIGINT)


def test_a_second_ctrl_c_while_a_loader_is_closed_is_not_lost(tmp_path):
    run = Run(callbacks=[CtrlC(2, 3)], checkpoint=tmp_path / "run")
    batches = list(run.loader)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.trainer.fit(OnlyOnceSlow(batches), EPOCHS, run.validation)
    assert not isinstance(caught.value, TrainingInterrupted)


class OnlyOnceSlow(SlowToClose):
    """Is told so in its second epoch."""

    epoch = 0

    def __iter__(self):
        self.epoch += 1
        return super().__iter__() if self.epoch == 2 else iter(self.loader)


def test_ctrl_c_without_a_checkpoint_says_so(capsys):
    with pytest.raises(TrainingInterrupted):
        Run(callbacks=[CtrlC(1, 2)]).fit()
    assert capsys.readouterr().err == "interrupted after 0 epochs and 2 batches; no checkpoint was asked for\n"


def test_ctrl_c_is_an_interruption_even_if_nobody_reads_what_it_says(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    with pytest.raises(TrainingInterrupted):
        Run(callbacks=[CtrlC(1, 2)]).fit()


def test_measuring_is_possible_after_an_interruption():
    run = Run(callbacks=[CtrlC(1, 2)])
    with pytest.raises(TrainingInterrupted):
        run.fit()
    assert set(run.trainer.evaluate(run.validation)) == {"loss", "accuracy"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


PROGRAM = """
import sys
import numpy as np
from tinygrad_norm import nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.training import Trainer, TrainingInterrupted

model = nn.Linear(4, 2)
loader = DataLoader(ArrayDataset(np.ones((64, 4), np.float32), np.zeros(64, np.int64)), 8)
trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), checkpoint=sys.argv[1])
try:
    trainer.fit(loader, 1_000_000)
except TrainingInterrupted:
    sys.exit(130)
"""


def test_ctrl_c_in_a_program(tmp_path, wait_for_line):
    path = tmp_path / "run.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        env=os.environ | {"TINYGRAD_NORM_KERNELS": "reference"},  # nothing to compile, and no line about it
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for_line(process, "epoch").startswith("epoch       1/1000000  loss 0.")
    process.send_signal(signal.SIGINT)
    *_, message = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert message.startswith("interrupted after ")
    assert message.endswith(f"; resume from {path}")
    model = nn.Linear(4, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss())
    trainer.resume(path, DataLoader(ArrayDataset(np.ones((64, 4), np.float32), np.zeros(64, np.int64)), 8))
    done = f"{plural(trainer.epoch, 'epoch')} and {plural(trainer.batch, 'batch', 'batches')}"
    assert message.startswith(f"interrupted after {done};")


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
