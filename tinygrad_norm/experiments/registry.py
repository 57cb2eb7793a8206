"""The experiments by name, and the one way to run them."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tinygrad_norm.checks import check_integer, did_you_mean
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.experiments import (
    every_norm,
    no_batchnorm,
    one_pass_variance,
    running_stats,
    small_batches,
    steps_to_loss,
    swap_norm,
)
from tinygrad_norm.experiments.papers.catalog import PAPERS
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Report, Story, as_json, as_markdown, file_stem
from tinygrad_norm.figures import Figure, new_figure, save_figure
from tinygrad_norm.files import locked_folder, write_atomically
from tinygrad_norm.output import UnfailingStream
from tinygrad_norm.training.interrupt import HeldInterrupt


class Experiment(Protocol):
    """What the module of an experiment holds."""

    QUESTION: str
    FULL: Any
    QUICK: Any

    def run(self, settings: Any, progress: Progress) -> Measurements:
        """Do the work; FULL and QUICK are such settings."""

    def tell(self, result: Measurements) -> Story:
        """Put a result into words."""

    def draw(self, result: Measurements) -> Figure:
        """Draw a result."""


EXPERIMENTS: dict[str, Experiment] = {
    "no-batchnorm": no_batchnorm,
    "swap-norm": swap_norm,
    "running-stats": running_stats,
    "steps-to-loss": steps_to_loss,
    "small-batches": small_batches,
    "one-pass-variance": one_pass_variance,
    "every-norm": every_norm,
    **{f"paper:{name}": paper for name, paper in PAPERS.items()},
}


def names() -> tuple[str, ...]:
    """Return the names of all experiments.

    Example:
        >>> "small-batches" in experiments.names()
        True
    """
    return tuple(EXPERIMENTS)


def describe(name: str) -> str:
    """Return the question that an experiment asks, in one line.

    Raises:
        ValueError: there is no such experiment.

    Example:
        >>> experiments.describe("small-batches")
        'How do batch, group, layer and instance norm fare at batches of 32, 16, 8, 4 and 2?'
    """
    return _find(name).QUESTION


def run(
    name: str,
    folder: StrPath,
    *,
    quick: bool = False,
    seeds: int | Sequence[int] | None = None,
    progress: bool = True,
) -> Report:
    """Run an experiment and write NAME.json, NAME.png and NAME.md into a folder, all at the end or not at all.

    A file's name has a hyphen for a colon: paper-NAME.md.

    Should the report fail although the runs are done, what they measured is kept in NAME.runs.json.

    Args:
        name: one of `names()`.
        folder: is made where it is missing; a report of the same name there is replaced.
        quick: smaller nets, fewer steps and seeds: under two minutes on two cores.
        seeds: how many (0, 1, ...), or which; unless said, the experiment's own.
        progress: a bar for each run on a terminal, a line for each elsewhere; False shows nothing.

    Raises:
        ValueError: there is no such experiment, or the seeds are none, negative or given twice.
        TypeError: a seed is not an integer.
        ImportError: matplotlib is not installed.
        OSError: the folder cannot be written to, or the same experiment is being run into it.
    """
    experiment, target = _find(name), Path(folder)
    settings = experiment.QUICK if quick else experiment.FULL
    command = f"tinygrad-norm experiment {name}{' --quick' if quick else ''}"
    if seeds is not None:
        command += "" if isinstance(seeds, Sequence) else f" --seeds {seeds}"
        settings = dataclasses.replace(settings, seeds=_checked_seeds(seeds))
    new_figure(1, 1)  # whether matplotlib is there should be known before the work
    stem = file_stem(name)
    with locked_folder(target, f"{stem}.lock", f"{target / stem}.md is being made"):
        return _run(name, experiment, settings, target, Progress(progress), command)


def _run(name: str, experiment: Experiment, settings: Any, folder: Path, progress: Progress, command: str) -> Report:
    started = time.perf_counter()
    found = {"experiment": name, **experiment.run(settings, progress)}
    result = Measurements(json.loads(json.dumps(found)))  # words and picture know no more than the file
    try:
        story, figure = experiment.tell(result), experiment.draw(result)
    except Exception:  # the runs took long, and what they found is worth more than its picture
        kept = folder / f"{file_stem(name)}.runs.json"
        write_atomically(kept, as_json(result).encode())
        print(f"{name}: no report could be made; what was measured is in {kept}", file=UnfailingStream(sys.stderr))
        raise
    page = as_markdown(name, experiment.QUESTION, result, story, command, time.perf_counter() - started)
    path = folder / f"{file_stem(name)}.md"
    with HeldInterrupt():  # all three or none
        save_figure(figure, path.with_suffix(".png"), dpi=130)
        write_atomically(path.with_suffix(".json"), as_json(result).encode())
        write_atomically(path, page.encode())
    return Report(folder, path, tuple(story.summary))


def _find(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        begun = [known for known in EXPERIMENTS if name and str(name) in (known[: len(name)], known.partition(":")[2])]
        hint = f"; did you mean {' or '.join(begun)}?" if begun else did_you_mean(str(name), EXPERIMENTS)
        raise ValueError(f"there is no experiment {name!r}, only {', '.join(EXPERIMENTS)}{hint}")
    return EXPERIMENTS[name]


def _checked_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if not isinstance(seeds, Sequence):
        seeds = range(check_integer("seeds", seeds, 1))
    checked = tuple(check_integer("a seed", seed, 0) for seed in seeds)
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(f"seeds are one or more different numbers, got {list(seeds)}")
    return checked
