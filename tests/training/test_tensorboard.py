from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_norm.training.tensorboard import TensorBoardLog


def write_epochs(folder, first, last):
    log = TensorBoardLog(folder)
    trainer: Any = SimpleNamespace(epoch=first - 1)
    log.on_train_begin(trainer)
    for trainer.epoch in range(first, last + 1):
        log.on_epoch_end(
            trainer, {"epoch": trainer.epoch, "lr": 0.5, "train_loss": 2.0**-trainer.epoch, "val_loss": math.nan}
        )
    log.close()


def events(file):
    """The events of a file: TensorFlow's records, a length, its checksum, the bytes and their checksum each."""
    from tensorboardX.proto.event_pb2 import Event

    data = file.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_each_quantity_is_a_scalar_by_epoch(tmp_path):
    write_epochs(tmp_path / "run", 1, 2)
    (file,) = (tmp_path / "run").iterdir()
    scalars = {(value.tag, event.step): value.simple_value for event in events(file) for value in event.summary.value}
    assert math.isnan(scalars.pop(("loss/val", 1)))
    assert math.isnan(scalars.pop(("loss/val", 2)))
    assert scalars == {("lr", 1): 0.5, ("lr", 2): 0.5, ("loss/train", 1): 0.5, ("loss/train", 2): 0.25}


def test_a_resumed_run_hides_the_epochs_it_repeats(tmp_path):
    write_epochs(tmp_path, 1, 3)
    first = set(tmp_path.iterdir())
    write_epochs(tmp_path, 3, 3)
    (second,) = set(tmp_path.iterdir()) - first
    starts = [event.step for event in events(second) if event.HasField("session_log")]
    assert starts == [3]


def test_missing_tensorboardx_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad-norm\[tensorboard\]"'):
        TensorBoardLog(tmp_path)
