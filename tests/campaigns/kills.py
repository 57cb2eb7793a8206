"""SIGKILL at a random moment: what is on the disk is whole, and a run goes on from it exactly."""

from __future__ import annotations

import os
import signal
import time
from itertools import count
from pathlib import Path

import numpy as np

from tests.campaigns.campaign import Kind, end, start, wait
from tests.campaigns.subject import check_finished, check_no_temporary_files, train_on, whole
from tinygrad_norm.training.checkpoint import read_checkpoint, save_parts
from tinygrad_norm.training.saved_run import CHECKPOINT


class Counter:
    """A part whose state tells in each of its numbers when it was saved."""

    def __init__(self, size: int) -> None:
        self.size, self.step = size, 0

    def state_dict(self) -> dict[str, object]:
        return {"weight": np.full(self.size, self.step)}

    def load_state_dict(self, state: object) -> None:
        """Nobody loads it."""


def save_for_ever(path: Path, size: int) -> None:
    counter = Counter(size)
    for counter.step in count():
        save_parts(path, {"model": counter}, counter.step)


def during_saves(rng: np.random.Generator, folder: Path) -> None:
    path, size = folder / "checkpoint", int(rng.integers(1, 100_000))
    save_parts(path, {"model": Counter(size)}, -1)
    child = start(lambda: save_for_ever(path, size))
    time.sleep(rng.uniform(0, 0.05))
    assert end(child) == -signal.SIGKILL
    saved = read_checkpoint(path)
    assert (saved.states["model"]["weight"] == max(saved.extra, 0)).all()
    save_parts(path, {"model": Counter(3)}, 7)
    assert os.listdir(folder) == ["checkpoint"], os.listdir(folder)
    assert read_checkpoint(path).extra == 7


def during_training(rng: np.random.Generator, folder: Path) -> None:
    run, seconds = folder / "run", whole()[1]
    for _ in range(rng.integers(1, 4)):
        child = start(lambda: train_on(run))
        time.sleep(rng.uniform(0, 1.2 * seconds))
        assert end(child) in (0, -signal.SIGKILL)
        if (run / CHECKPOINT).exists():
            read_checkpoint(run / CHECKPOINT)
    assert wait(start(lambda: train_on(run))) == 0
    check_no_temporary_files(run)
    check_finished(run)


KINDS = [Kind("kills", "during saves", 200, during_saves), Kind("kills", "during training", 25, during_training)]
