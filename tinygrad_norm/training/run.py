"""One run of the zoo: from a recipe to a trained, measured net, and back from its checkpoint."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_norm.data import DataLoader
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.figures import new_figure
from tinygrad_norm.files import locked_folder
from tinygrad_norm.nn import CrossEntropyLoss, Module
from tinygrad_norm.output import printable
from tinygrad_norm.schema import NUMBER
from tinygrad_norm.training import preparation
from tinygrad_norm.training.callbacks import Callback, Checkpoint
from tinygrad_norm.training.confusion import plot_confusion
from tinygrad_norm.training.curves import plot_curves
from tinygrad_norm.training.evaluation import Evaluation, evaluate
from tinygrad_norm.training.history import History
from tinygrad_norm.training.logs import append_jsonl, strict_json
from tinygrad_norm.training.recipe import Recipe
from tinygrad_norm.training.saved_run import CHECKPOINT, Changes, changes, read_run
from tinygrad_norm.training.trainer import Trainer

LOG, LOCK = "log.jsonl", "run.lock"


@dataclass(frozen=True, eq=False)
class Result:
    """What a run made of its recipe.

    Args:
        recipe: what was done.
        history: loss and accuracy, epoch by epoch.
        test: what the net after the last epoch makes of the test images.
        parameters: how many numbers were learned.
        seconds: that training took, of a resumed run in all.
        checkpoint: the file with the net, for `load_trained`.
        undrawn: the pictures that were asked for and could not be drawn.
    """

    recipe: Recipe
    history: History
    test: Evaluation
    parameters: int
    seconds: float
    checkpoint: Path
    undrawn: tuple[Path, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures in values that JSON knows."""
        figures = {
            "model": self.recipe.model,
            "parameters": self.parameters,
            "epochs": len(self.history),
            "seconds": self.seconds,
            "test_accuracy": self.test.accuracy,
            "test_loss": self.test.loss,
            "confusion": self.test.confusion,
            "class_names": self.test.class_names,
            "checkpoint": os.fspath(self.checkpoint),
            "recipe": self.recipe.to_dict(),
            "history": self.history,
        }
        plain: dict[str, Any] = strict_json(figures)
        return plain


class Stopwatch(Callback):
    """Counts the seconds of training, with those before a resume."""

    state_form: Mapping[str, Any] = {"seconds": NUMBER}

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """The seconds so far; those of a resumed run are set."""
        return self.before + time.perf_counter() - self.started

    @seconds.setter
    def seconds(self, before: float) -> None:
        self.before = before

    def on_train_begin(self, trainer: Trainer) -> None:
        self.started = time.perf_counter()


def train(
    recipe: Recipe,
    folder: StrPath,
    *,
    resume: StrPath | None = None,
    download: bool = False,
    plot: bool = False,
    confusion: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train a net as the recipe says, and measure it on the test images.

    The folder gets `log.jsonl`, `checkpoint.safetensors` after each epoch and on Ctrl-C, and beside it
    `checkpoint.best.safetensors` of the epoch with the lowest validation loss. Pictures are drawn when all of that is
    written; one that fails is a RuntimeWarning. Until the end, `run.lock` keeps other runs out of the folder.

    Args:
        recipe: from `recipe_for`.
        folder: of this run alone; it is made.
        resume: a checkpoint of the same recipe, to go on from as if nothing had happened. The recipe may have other
            `epochs`, even of a finished run: the learning rate then goes on as in the schedule of so many. And
            `data_folder` may be another.
        download: fetch the data if they are not there.
        plot: draw `curves.png`.
        confusion: draw `confusion.png`.
        progress: a bar on a terminal, a line an epoch elsewhere; False shows nothing.
        callbacks: called before those that this adds.

    Raises:
        BlockingIOError: the folder is being trained into.
        FileExistsError: the folder holds another run, or other than the last checkpoint of this one is given.
        ValueError: the data or the net refuse what the recipe says, or `resume` is of another recipe.
        ImportError: a picture is wanted, and matplotlib is not installed.
        FloatingPointError: the loss is no longer finite.
        TrainingInterrupted: Ctrl-C; the checkpoint is written.

    Example:
        >>> recipe = training.recipe_for("mlp", epochs=1, batch_size=512)
        >>> result = training.train(recipe, "run", progress=False)
        >>> sorted(path.name for path in result.checkpoint.parent.iterdir())
        ['checkpoint.best.safetensors', 'checkpoint.safetensors', 'log.jsonl']
    """
    if plot or confusion:
        new_figure(1, 1)  # refuses now rather than after training
    folder = Path(folder)
    with locked_folder(folder, LOCK, f"{printable(folder)} is in use: it is trained into"):
        check_folder(folder, resume)
        result = _train(recipe, folder, resume, download, progress, callbacks)
        return dataclasses.replace(result, undrawn=tuple(_draw(result, folder, plot, confusion)))


def _train(
    recipe: Recipe,
    folder: Path,
    resume: StrPath | None,
    download: bool,
    progress: bool,
    callbacks: Sequence[Callback],
) -> Result:
    """Train and measure in a folder that is held."""
    saved = None if resume is None else read_run(resume)
    changed = {} if saved is None else changes(recipe, saved)
    training, validation, test = preparation.load_data(recipe, download)
    with nullcontext() if saved is None else saved.at_most_its_parameters():
        model, optimizer, loader = preparation.prepare(recipe, training)
    preparation.rehearse(model, loader)
    stopwatch = Stopwatch()
    trainer = Trainer(
        model,
        optimizer,
        CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        schedule=preparation.make_schedule(recipe, optimizer, len(loader)),
        callbacks=[*callbacks, stopwatch],
        clip_norm=recipe.clip_norm,
        clip_adaptive=recipe.clip_adaptive,
        log=folder / LOG,
        progress=progress,
        extra={
            "recipe": recipe.to_dict(),
            "channels": training.inputs.shape[1],
            "classes": training.num_classes,
            "class_names": training.class_names,
        },
    )
    trainer.callbacks.append(Checkpoint(folder / CHECKPOINT, monitor="val_loss"))  # holds what the others remember
    if resume is not None:
        trainer.resume(resume, loader)
    _begin_log(folder, recipe, changed)
    history = trainer.fit(loader, recipe.epochs, DataLoader(validation, recipe.batch_size))
    seconds = stopwatch.seconds
    if changed or not (folder / CHECKPOINT).exists():  # there may have been no epoch to train
        trainer.save_checkpoint(folder / CHECKPOINT)
    found = evaluate(model, test)
    append_jsonl(folder / LOG, {"event": "test", "accuracy": found.accuracy, "loss": found.loss})
    return Result(recipe, history, found, preparation.count_parameters(model), seconds, folder / CHECKPOINT)


def check_folder(folder: Path, resume: StrPath | None = None) -> None:
    """Raise a FileExistsError if a checkpoint is in the folder that is not the one to go on from."""
    last = folder / CHECKPOINT
    if not last.exists() or (resume is not None and Path(resume).resolve() == last.resolve()):
        return
    if resume is not None and Path(resume).resolve().parent == folder.resolve():
        raise FileExistsError(f"to go on from {resume} would overwrite {last}; choose another folder (-o)")
    choice = "go on with it by --resume, or choose another folder"
    raise FileExistsError(f"{folder} holds another run ({CHECKPOINT}); {choice}")


def load_trained(path: StrPath) -> tuple[Module, Recipe]:
    """Rebuild the net that `train` saved, in inference mode, and return it with its recipe. Nothing is unpickled.

    Raises:
        ValueError: the file is no checkpoint, was not written by `train`, is cut short or altered, or its weights are
            of another net than its recipe's.

    Example:
        >>> recipe = training.recipe_for("mlp", epochs=1, batch_size=512)
        >>> net, recipe = training.load_trained(training.train(recipe, "run", progress=False).checkpoint)
        >>> type(net).__name__, recipe.epochs, net.training
        ('MLP', 1, False)
    """
    saved = read_run(path)
    return saved.net(), saved.recipe


def _draw(result: Result, folder: Path, plot: bool, confusion: bool) -> Iterator[Path]:
    """Draw what is asked for, and give the pictures that failed: what was learned is worth more than they are."""
    title, test = f"{result.recipe.model} on {printable(result.recipe.data)}", result.test
    drawings: dict[str, Callable[[Path], None]] = {}
    if plot:
        drawings["curves.png"] = lambda path: plot_curves(result.history, path, title)
    if confusion:
        drawings["confusion.png"] = lambda path: plot_confusion(test.confusion, path, test.class_names, title)
    for name, draw in drawings.items():
        try:
            draw(folder / name)
        except Exception as error:
            warnings.warn(f"{folder / name} could not be drawn: {error}", RuntimeWarning, stacklevel=3)
            yield folder / name


def _begin_log(folder: Path, recipe: Recipe, changed: Changes) -> None:
    """Write the recipe down where the log does not have it yet, and what changed in it."""
    if not (folder / CHECKPOINT).exists():
        (folder / LOG).unlink(missing_ok=True)  # of a run that failed before its first checkpoint
    if changed or not (folder / LOG).exists():
        told = {"changed": changed} if changed else {}
        append_jsonl(folder / LOG, {"event": "recipe", **recipe.to_dict(), **told})
