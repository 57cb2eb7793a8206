from __future__ import annotations

import io
import math
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_norm.training.progress import TrainingProgress, describe_epoch

RECORD = {
    "epoch": 3,
    "lr": 0.001,
    "train_loss": 0.51234,
    "train_accuracy": 0.875,
    "val_loss": 0.6,
    "val_accuracy": 0.75,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def a_trainer(**changes: Any) -> Any:
    return SimpleNamespace(
        **{"epoch": 2, "batch": 0, "epochs": 10, "loader": [None] * 4, "stopped": None, "frozen": []} | changes
    )


def test_one_line_an_epoch_off_a_terminal():
    stream = io.StringIO()
    shown = TrainingProgress(stream)
    trainer = a_trainer()
    shown.on_train_begin(trainer)
    for _ in range(2):
        shown.on_epoch_begin(trainer)
        shown.on_batch_end(trainer, 0.5)
        shown.on_epoch_end(trainer, RECORD)
    shown.on_train_end(a_trainer(epoch=3, stopped="val_loss was no better for 2 epochs"))
    shown.close()
    line = "epoch  3/10  loss 0.5123 (val 0.6000)  accuracy 87.50% (val 75.00%)  lr 0.001\n"
    assert stream.getvalue() == 2 * line + "stopped after epoch 3: val_loss was no better for 2 epochs\n"


def test_what_was_not_measured_is_left_out():
    assert describe_epoch({"epoch": 1, "lr": 0.1, "train_loss": 2.0}, 1) == "epoch 1/1  loss 2.0000  lr 0.1"


def test_an_accuracy_of_the_validation_alone_is_shown():
    record = {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "val_loss": 1.0, "val_accuracy": 0.5}
    assert describe_epoch(record, 1) == "epoch 1/1  loss 2.0000 (val 1.0000)  accuracy (val 50.00%)  lr 0.1"


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        (["1.0", "3", "3.0", "3.0.1", "3.1"], "1.0, 3"),
        (["", "0"], "(model)"),
        (list("abcdefg"), "a, b, c, d, e and 2 more"),
    ],
)
def test_parts_that_stay_in_inference_are_told(frozen, words):
    stream = io.StringIO()
    TrainingProgress(stream).on_train_begin(a_trainer(frozen=frozen))
    assert stream.getvalue() == f"in eval, and left so: {words}\n"


def test_a_batch_in_which_nothing_counts_leaves_the_bars_loss(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = TrainingProgress(stream)
    shown.on_epoch_begin(a_trainer())
    shown._bar.mininterval = 0
    shown.on_batch_end(a_trainer(batch=1), 0.25)
    shown.on_batch_end(a_trainer(batch=2), math.nan)
    last = stream.getvalue().rpartition("\r")[2]
    assert "2/4" in last
    assert "loss 0.2500" in last


def test_a_bar_on_a_terminal_begins_at_the_resumed_batch_and_makes_way_for_the_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = TrainingProgress(stream)
    shown.on_epoch_begin(a_trainer(batch=1))
    shown._bar.mininterval = 0  # draw at each step
    shown.on_batch_end(a_trainer(batch=2), 0.25)
    drawn = stream.getvalue()
    assert "epoch 3/10:  25%" in drawn
    assert "2/4" in drawn.rpartition("\r")[2]
    assert "loss 0.2500" in drawn.rpartition("\r")[2]
    shown.on_epoch_end(a_trainer(), RECORD)
    cleared, _, line = stream.getvalue()[len(drawn) :].rpartition("\r")
    assert cleared.strip("\r ") == ""
    assert line.startswith("epoch  3/10  loss")


@pytest.mark.parametrize("end", ["on_interrupt", "close"])
def test_the_bar_is_cleared_when_training_breaks_off(end, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    shown = TrainingProgress(stream)
    trainer = a_trainer(loader=iter([]))  # of unknown length
    shown.on_epoch_begin(trainer)
    shown.on_interrupt(trainer) if end == "on_interrupt" else shown.close()
    assert stream.getvalue().endswith("\r")
    assert shown._bar is None


@pytest.mark.parametrize("terminal", [False, True])
def test_a_stream_that_nobody_reads_any_more_stops_nothing(terminal, monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return terminal

        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setenv("TERM", "xterm")
    shown = TrainingProgress(Gone())
    trainer = a_trainer(stopped="early")
    shown.on_epoch_begin(trainer)
    shown.on_batch_end(trainer, 0.5)
    shown.on_epoch_end(trainer, RECORD)
    shown.on_interrupt(trainer)
    shown.on_train_end(trainer)
    shown.close()
    assert shown.stream.failed


def test_without_a_stream_there_is_nothing_to_see(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)  # as in a program without a console
    shown = TrainingProgress()
    shown.on_epoch_begin(a_trainer())
    shown.on_batch_end(a_trainer(batch=1), 0.5)
    shown.on_epoch_end(a_trainer(), RECORD)
    assert shown.stream.failed


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    shown = TrainingProgress(stream)
    shown.on_epoch_begin(a_trainer())
    shown.on_batch_end(a_trainer(batch=1), 0.5)
    shown.on_epoch_end(a_trainer(), RECORD)
    assert stream.getvalue() == f"{describe_epoch(RECORD, 10)}\n"
