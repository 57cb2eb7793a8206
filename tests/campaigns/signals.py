"""Signals at random moments of `tinygrad-norm train`: the right status, no traceback, a run that goes on exactly."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.campaigns.campaign import Kind, start, wait
from tests.campaigns.subject import arguments, check_finished, train_on, whole
from tinygrad_norm.cli import main
from tinygrad_norm.training.checkpoint import read_checkpoint
from tinygrad_norm.training.saved_run import CHECKPOINT


def send(rng: np.random.Generator, folder: Path, *signals: signal.Signals) -> tuple[int, str]:
    """Train, send these signals at random moments, and return the status and what was printed."""
    run, output, seconds = folder / "run", folder / "output", whole()[1]
    given = arguments(run)  # here, so that the child shares its data
    child = start(lambda: main(given), output)
    for number in signals:
        time.sleep(rng.uniform(0, 1.2 * seconds / len(signals)))
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            os.kill(child, number)
    status, said = wait(child), output.read_text()
    assert "Traceback" not in said, said
    if (run / CHECKPOINT).exists():
        read_checkpoint(run / CHECKPOINT)
    return status, said


def go_on(folder: Path) -> None:
    train_on(folder / "run")
    check_finished(folder / "run")


def ctrl_c(rng: np.random.Generator, folder: Path) -> None:
    status, said = send(rng, folder, signal.SIGINT)
    assert status in (0, 130), f"status {status}: {said}"
    if status == 130 and (folder / "run" / CHECKPOINT).exists():
        assert "go on with: tinygrad-norm train mlp --resume " in said, said
    go_on(folder)


def two_ctrl_c(rng: np.random.Generator, folder: Path) -> None:
    status, said = send(rng, folder, signal.SIGINT, signal.SIGINT)
    assert status in (0, 130), f"status {status}: {said}"
    go_on(folder)


def terminate(rng: np.random.Generator, folder: Path) -> None:
    status, said = send(rng, folder, signal.SIGTERM)
    assert status in (0, -signal.SIGTERM), f"status {status}: {said}"
    go_on(folder)


def broken_pipe(rng: np.random.Generator, folder: Path) -> None:
    status, said = send(rng, folder, signal.SIGPIPE, signal.SIGPIPE)
    assert status == 0, f"status {status}: {said}"
    check_finished(folder / "run")


def reader_leaves(rng: np.random.Generator, folder: Path) -> None:
    """Nobody reads the progress any more; a run that does not say so by its status has ended as it should."""
    run, seconds = folder / "run", whole()[1]
    given = arguments(run)
    reading, writing = os.pipe()

    def work() -> int:
        os.close(reading)
        os.dup2(writing, 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 # the one there may want to seek, as in a file
        return main(given)

    child = start(work, folder / "output")
    os.close(writing)
    time.sleep(rng.uniform(0, seconds))
    os.close(reading)
    status = wait(child)
    assert status in (0, 1, 141), f"status {status}"
    if status == 0:
        check_finished(run)
    go_on(folder)


KINDS = [
    Kind("signals", "SIGINT", 25, ctrl_c),
    Kind("signals", "SIGINT twice", 25, two_ctrl_c),
    Kind("signals", "SIGTERM", 25, terminate),
    Kind("signals", "SIGPIPE", 25, broken_pipe),
    Kind("signals", "reader leaves", 25, reader_leaves),
]
