"""Ctrl-C: training stops soon, says so, and loses nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.training.training_runs import EPOCHS, CtrlC, Run
from tinygrad_norm import nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.tables import plural
from tinygrad_norm.training import Callback, Trainer, TrainingInterrupted


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
