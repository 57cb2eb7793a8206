"""What is attacked: a small run of the zoo, its checkpoint, and how it ends if nobody disturbs it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_norm.data import digits
from tinygrad_norm.training import Recipe, recipe_for, train
from tinygrad_norm.training.checkpoint import read_checkpoint
from tinygrad_norm.training.saved_run import CHECKPOINT
from tinygrad_norm.training.state import split_state

EPOCHS, BEST = 4, "checkpoint.best.safetensors"


@cache
def scratch() -> Path:
    """A folder for what all cases share, which goes with the process that asked first."""
    holder = tempfile.TemporaryDirectory(prefix="campaign-shared-")
    _kept.append(holder)
    return Path(holder.name)


_kept: list[Any] = []


@cache
def recipe() -> Recipe:
    """A run of less than a second, with all that a resume has to get right."""
    folder = scratch() / "digits"
    folder.mkdir()
    for split, count in (("train", 12), ("test", 4)):
        images, labels = digits(split)[:]
        chosen = np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)])
        np.save(folder / f"{split}_images.npy", images[chosen])
        np.save(folder / f"{split}_labels.npy", labels[chosen])
    return recipe_for(
        "mlp", data=folder, image_size=8, epochs=EPOCHS, batch_size=16, augment=("noise",), options={"hidden": [16]}
    )


def arguments(folder: Path) -> list[str]:
    """The command line that trains so, and goes on where there is a checkpoint."""
    own = recipe()
    given = ["--data", own.data, "--image-size", "8", "--epochs", str(EPOCHS), "--batch-size", "16"]
    given += ["--augment", "noise", "--option", "hidden=[16]", "-o", str(folder)]
    return ["train", "mlp", *given, *(["--resume"] if (folder / CHECKPOINT).exists() else [])]


def train_on(folder: Path) -> None:
    """Train, from where a run in the folder had come."""
    checkpoint = folder / CHECKPOINT
    train(recipe(), folder, resume=checkpoint if checkpoint.exists() else None, progress=False)


@cache
def whole() -> tuple[Path, float]:
    """A checkpoint of the run undisturbed, and how many seconds it took."""
    train_on(scratch() / "first")  # which reads and imports what is there for the next
    started = time.perf_counter()
    train_on(scratch() / "whole")
    return scratch() / "whole" / CHECKPOINT, time.perf_counter() - started


def contents(checkpoint: Path) -> tuple[Any, dict[str, bytes]]:
    """All that a checkpoint holds but the clock's seconds, to be compared."""
    saved = read_checkpoint(checkpoint)
    saved.states["trainer"]["callbacks"].pop("Stopwatch1")
    tree, arrays = split_state([saved.states, saved.generator, dataclasses.asdict(recipe())])
    return tree, {name: array.tobytes() for name, array in arrays.items()}


def check_finished(folder: Path) -> None:
    """The run ended as it would have ended undisturbed, and nothing else lies about."""
    for name in (CHECKPOINT, BEST):
        assert contents(folder / name) == contents(whole()[0].parent / name), f"{name} ended otherwise"
    left = {path.name for path in folder.iterdir()}
    assert left == {CHECKPOINT, BEST, "log.jsonl"}, f"the folder holds {sorted(left)}"


def check_no_temporary_files(folder: Path) -> None:
    """No writer left anything that has no name of its own."""
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")], os.listdir(folder)
