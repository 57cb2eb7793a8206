"""Training goes on exactly where it was, whatever stopped it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.training.training_runs import EPOCHS, SCHEDULES, CtrlC, Run, a_dataset
from tinygrad_norm import optim, random
from tinygrad_norm.data import DataLoader
from tinygrad_norm.tables import plural
from tinygrad_norm.training import BestWeights, Callback, EarlyStopping, TrainingInterrupted
from tinygrad_norm.training.checkpoint import save_parts


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
