"""Batch renorm against batch norm, where batches are of few classes or few examples: Ioffe, 2017."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tinygrad_norm import data, nn
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels
from tinygrad_norm.experiments.papers.mnist1d import mnist1d
from tinygrad_norm.experiments.papers.nets import signal_net
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, is_no_higher, retell
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.models.norms import NormChoice

QUESTION = "Does batch renorm stand batches of few classes, or of few examples, better than batch norm?"
PAPER = Paper(
    authors="S. Ioffe",
    title="Batch Renormalization: Towards Reducing Minibatch Dependence in Batch-Normalized Models",
    year=2017,
    claim="Where the examples of a batch are not drawn independently, or few, a net with batch norm is worse in "
    "inference; with batch renorm it is not, or less so; on ordinary batches both are alike.",
    number="Inception-v3 on ImageNet, validation accuracy about: ordinary batches 78.3 % with batch norm and 78.5 % "
    "with renorm; batches of 4, 74.2 and 76.5 %; 16 classes with 2 images each, 67.0 and 78.5 %.",
)
BATCHES = {"mixed": "ordinary batches", "sorted": "batches of few classes", "small": "small batches"}
NORMS = {"batch": "batch norm", "renorm": "batch renorm"}


@dataclass(frozen=True)
class Settings:
    """A small net on MNIST-1D, trained by SGD with momentum 0.9 for equally many steps on all kinds of batches."""

    width: int = 16
    samples: int = 5000
    lr: float = 0.05
    small_lr: float = 0.01
    batch_size: int = 32
    small_batch: int = 4
    classes: int = 2
    momentum: float = 0.02
    begin: int = 50
    r_end: int = 400
    d_end: int = 250
    steps: int = 600
    seeds: tuple[int, ...] = (0, 1, 2, 3)


FULL = Settings()
QUICK = replace(FULL, width=8, samples=1000, begin=20, r_end=70, d_end=50, steps=100, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train with each norm on each kind of batches with each seed."""
    train, test = (
        data.ArrayDataset(part.inputs[:, None, None], part.targets, part.class_names)
        for part in mnist1d(settings.samples)
    )
    cases = list(itertools.product(BATCHES, NORMS, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for batches, norm, seed in cases:
        size = settings.small_batch if batches == "small" else settings.batch_size
        classes = settings.classes if batches == "sorted" else None
        order = arranged(train.targets, size, settings.steps, classes, np.random.default_rng(seed))
        laid_out = data.ArrayDataset(*train[order], train.class_names)
        hyper = runs.Hyperparameters(
            size, settings.small_lr if batches == "small" else settings.lr, seed, settings.steps
        )
        make = partial(signal_net, choose(norm, settings), settings.width)
        label = f"{BATCHES[batches]}, {NORMS[norm]}, seed {seed}"
        model, found = runs.train_anew(hyper, make, laid_out, progress, label, shuffle=False)
        rows.append({
            "batches": batches,
            "norm": norm,
            "seed": seed,
            "diverged": found.diverged,
            "loss": runs.trailing_mean(found.losses, 20)[-1],
            "test_error": runs.short(1 - runs.evaluate_dataset(model, test)["accuracy"]),
        })  # fmt: skip
    return Measurements.of(settings, rows)


def arranged(labels: Array, size: int, steps: int, classes: int | None, generator: np.random.Generator) -> Array:
    """Return the indices of the examples of all batches, one batch after the other.

    Args:
        labels: of the training examples.
        size, steps: how many examples a batch has, and how many batches there are.
        classes: of how many classes a batch is, with equally many of each; None: as they come.
        generator: draws classes and examples.
    """
    if classes is None:
        epochs = -(-size * steps // len(labels))
        return np.concatenate([generator.permutation(len(labels)) for _ in range(epochs)])[: size * steps]
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    drawn = (generator.choice(len(members), classes, replace=False) for _ in range(steps))
    each = size // classes
    return np.concatenate([generator.choice(members[label], each, replace=False) for few in drawn for label in few])


def choose(norm: str, settings: Settings) -> NormChoice:
    """Return what makes a norm: both with one momentum, and renorm by the paper's schedule, shortened."""
    if norm == "batch":
        return partial(nn.BatchNorm2D, momentum=settings.momentum)
    r_max = nn.Ramp(1.0, 3.0, settings.begin, settings.r_end)
    d_max = nn.Ramp(0.0, 5.0, settings.begin, settings.d_end)
    return partial(nn.BatchRenorm2D, momentum=settings.momentum, r_max=r_max, d_max=d_max)


def error(result: Measurements, batches: str, norm: str) -> Spread:
    """Return the test error of one norm after one kind of batches, over the seeds."""
    return result.spread("test_error", batches=batches, norm=norm)


def judge(result: Measurements) -> Judgement:
    """Compare the norms on each kind of batches, and batch norm's kinds of batches with each other."""
    settings = result.settings
    batch = {kind: error(result, kind, "batch") for kind in BATCHES}
    renorm = {kind: error(result, kind, "renorm") for kind in BATCHES}
    few = f"{settings.classes} classes"

    def both(kind: str) -> str:
        return f"Test error {renorm[kind].words(percent)} with renorm, {batch[kind].words(percent)} with batch norm."

    findings = (
        Finding("On ordinary batches renorm is no worse", is_no_higher(renorm["mixed"], batch["mixed"]), both("mixed")),
        Finding(
            f"Batch norm is worse after batches of {few} than after ordinary ones",
            is_lower(batch["mixed"], batch["sorted"]),
            f"Test error {batch['sorted'].words(percent)} against {batch['mixed'].words(percent)}.",
        ),
        Finding(f"On batches of {few} renorm is better", is_lower(renorm["sorted"], batch["sorted"]), both("sorted")),
        Finding(
            f"On batches of {settings.small_batch} renorm is better",
            is_lower(renorm["small"], batch["small"]),
            both("small"),
        ),
    )
    return Judgement(
        findings,
        f"a net of three convolutions on {settings.samples:,} signals of MNIST-1D, {settings.steps} steps, batches of "
        f"{settings.batch_size} of which {settings.classes} in 10 classes are a few, and renorm's limits let go from "
        f"step {settings.begin} on; the paper's is Inception-v3 on ImageNet, 16 in 1,000 classes, from step 5,000 on, "
        "with gradients of 50 such batches to a step.",
    )


def tell(result: Measurements) -> Story:
    """Tell the verdict, with errors and losses."""
    settings = result.settings
    lines = [
        [
            BATCHES[kind],
            NORMS[norm],
            result.spread("loss", batches=kind, norm=norm).words(_three),
            error(result, kind, norm).words(percent),
        ]
        for kind, norm in itertools.product(BATCHES, NORMS)
    ]
    each = settings.batch_size // settings.classes
    how = (
        f"Learning rate {settings.lr:g}, at batches of {settings.small_batch} {settings.small_lr:g}; running "
        f"statistics move by {settings.momentum:g} with either norm. Renorm is batch norm for {settings.begin} steps; "
        f"then r_max rises to 3 by step {settings.r_end} and d_max to 5 by step {settings.d_end}. A batch of few "
        f"classes has {each} signals of each of {settings.classes} classes, drawn anew for each batch. Test signals "
        "are measured in inference mode. The training loss is the mean of the last 20 batches, in training mode, where "
        "a net on batches of few classes can see from the batch which these are."
    )
    header = ["batches", "norm", "training loss", "test error"]
    return retell(PAPER, judge(result), [Table("At the end", header, lines)], how)


def _three(value: float) -> str:
    return f"{value:.3g}"


def draw(result: Measurements) -> Figure:
    """Draw the test error after each kind of batches: a bar for the mean, a point for each seed."""
    figure, [[axes]] = panels(1, 1, "Batch renorm and batch norm, by kind of batches", width=6.4)
    figure.set_figheight(3.8)
    for colour, (shift, (norm, label)) in zip(COLOURS, zip((-0.2, 0.2), NORMS.items(), strict=True), strict=False):
        for place, kind in enumerate(BATCHES):
            spread = error(result, kind, norm)
            axes.bar(place + shift, spread.mean, 0.36, color=colour, alpha=0.6, label=None if place else label)
            axes.plot([place + shift] * len(spread.values), spread.values, ".", color="#333333", markersize=5)
    axes.set_xticks(range(len(BATCHES)), list(BATCHES.values()))
    in_percent(axes)
    dress(axes, "each seed a point", "", "test error")
    legend(axes, loc="upper left")
    return figure
