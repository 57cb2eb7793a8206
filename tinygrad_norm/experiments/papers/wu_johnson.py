"""How many samples precise statistics need, and statistics frozen at the end of training: Wu and Johnson, 2021."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_norm import data, nn, optim
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.papers.paper import (
    AGREES,
    NOT_SHOWN,
    Finding,
    Judgement,
    Paper,
    is_lower,
    is_no_higher,
    retell,
)
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, INK, Axes, Figure, legend

QUESTION = "How many samples do precise statistics need, and does it help to freeze them at the end of training?"
PAPER = Paper(
    authors="Y. Wu and J. Johnson",
    title="Rethinking “Batch” in BatchNorm",
    year=2021,
    claim="While weights change fast, moving averages lag behind the true statistics, and precise ones, of a part of "
    "the training set, are better; in the end both do. At small batches it helps to train the last part with frozen "
    "statistics.",
    number="10³ to 10⁴ samples of ImageNet are enough for a ResNet-50; frozen in the last 20 of 100 epochs.",
)
NOT_FROZEN, FROZEN, PRECISE = VARIANTS = "not frozen", "frozen", "frozen, precise"


@dataclass(frozen=True)
class Settings:
    """A small plain net on digits, trained by SGD with momentum 0.9; the last share of small batches may be frozen."""

    width: int = 16
    convolutions: int = 1
    images: int | None = None
    lr: float = 0.05
    batch_size: int = 32
    steps: int = 300
    early: int = 10
    samples: tuple[int, ...] = (4, 16, 64, 256, 1024)
    small_batch: int = 2
    small_lr: float = 0.01
    small_steps: int = 600
    frozen_share: float = 0.2
    last_lr_share: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)


FULL = Settings()
QUICK = replace(FULL, width=8, steps=60, small_steps=150, samples=(4, 32, 256), images=512, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train at the large batch size and measure with many statistics; then at the small one, frozen or not."""
    sets = runs.standard_digits(images=settings.images)
    progress.expect((1 + len(VARIANTS)) * len(settings.seeds))
    rows = [row for seed in settings.seeds for row in _precise(settings, sets, seed, progress)]
    rows += [_small(settings, sets, *case, progress) for case in itertools.product(settings.seeds, VARIANTS)]
    return Measurements.of(settings, rows, training_images=len(sets[0]))


Sets = tuple[data.ArrayDataset, data.ArrayDataset]


def _precise(settings: Settings, sets: Sets, seed: int, progress: Progress) -> list[dict[str, Any]]:
    """Return the test errors with each kind of statistics, early in training and at its end."""
    at = {settings.early: partial(errors_with, sets=sets, samples=settings.samples, seed=seed)}
    hyper = runs.Hyperparameters(settings.batch_size, settings.lr, seed, settings.steps)
    model, found = runs.train_anew(hyper, _maker(settings), sets[0], progress, f"precise, seed {seed}", at=at)
    late = errors_with(model, sets, settings.samples, seed)
    moments = {settings.early: found.seen.get(settings.early, {}), settings.steps: late}
    return [
        {"part": "precise", "seed": seed, "step": step, "statistics": name, "test_error": error}
        for step, errors in moments.items()
        for name, error in errors.items()
    ]


def _maker(settings: Settings) -> Any:
    return partial(plain_net, "batch", settings.width, settings.convolutions)


def errors_with(model: nn.Module, sets: Sets, samples: Iterable[int], seed: int) -> dict[str, float]:
    """Return the test error with the "running" statistics, with those of so many training images, and of "all"."""
    train, test = sets
    order = np.random.default_rng(seed).permutation(len(train))
    found = {"running": model}
    for name, count in {**{str(count): count for count in samples}, "all": len(train)}.items():
        found[name] = copy.deepcopy(model)
        part = data.ArrayDataset(*train[order[:count]], train.class_names)
        nn.recalibrate(found[name], data.DataLoader(part, min(256, count)))
    return {name: runs.short(1 - runs.evaluate_dataset(each, test)["accuracy"]) for name, each in found.items()}


def _small(settings: Settings, sets: Sets, seed: int, variant: str, progress: Progress) -> dict[str, Any]:
    """Return the test error of a net trained at the small batch size, whose norms are frozen in the end or not."""
    last = round(settings.small_steps * settings.frozen_share)
    hyper = runs.Hyperparameters(settings.small_batch, settings.small_lr, seed, settings.small_steps - last)
    label = f"small batches, {variant}, seed {seed}"
    model, before = runs.train_anew(hyper, _maker(settings), sets[0], progress, label)
    if variant != NOT_FROZEN:
        freeze(model, variant == PRECISE, sets[0])
    optimizer = optim.SGD(model.parameters(), lr=settings.small_lr * settings.last_lr_share, momentum=0.9)
    loader = data.DataLoader(sets[0], settings.small_batch, shuffle=True, drop_last=True, seed=1000 + seed)
    after = runs.train_steps(model, optimizer, loader, last)
    error = runs.short(1 - runs.evaluate_dataset(model, sets[1])["accuracy"])
    diverged = before.diverged or after.diverged
    return {"part": "small", "seed": seed, "variant": variant, "test_error": error, "diverged": diverged}


def freeze(model: nn.Module, precise: bool, train: data.ArrayDataset) -> None:
    """Let all norms normalize with running statistics from now on, in training too: as they are, or precise ones."""
    if precise:
        nn.recalibrate(model, data.DataLoader(train, 256))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2D):
            layer.frozen = True


def error(result: Measurements, step: int, statistics: str) -> Spread:
    """Return the test error with some statistics after so many steps, over the seeds."""
    return result.spread("test_error", part="precise", step=step, statistics=statistics)


def enough(result: Measurements, step: int) -> int | None:
    """Return the least number of samples from which on no number is worse than all training images."""
    samples = result.settings.samples
    fit = [is_no_higher(error(result, step, str(count)), error(result, step, "all")) == AGREES for count in samples]
    return next((count for n, count in enumerate(samples) if all(fit[n:])), None)


def judge(result: Measurements) -> Judgement:
    """Compare statistics early and in the end, count the samples that are enough, and compare frozen with not."""
    settings = result.settings
    early, late, count = settings.early, settings.steps, result["training_images"]
    least = enough(result, late)
    fewest, most = min(settings.samples), max(settings.samples)
    said = f"from {least:,} samples on" if least else f"not even with {most:,} samples"
    batch, frozen, precise = (result.spread("test_error", part="small", variant=name) for name in VARIANTS)
    last = f"with the last {100 * settings.frozen_share:g} % of the steps frozen"
    findings = (
        Finding(
            "Early in training, precise statistics are better than moving averages",
            is_lower(error(result, early, "all"), error(result, early, "running")),
            f"After {early} steps the test error is {error(result, early, 'all').words(percent)} with those of all "
            f"images, {error(result, early, 'running').words(percent)} with moving averages.",
        ),
        Finding(
            "In the end moving averages do as well",
            is_no_higher(error(result, late, "running"), error(result, late, "all")),
            f"After {late} steps it is {error(result, late, 'running').words(percent)} with moving averages, "
            f"{error(result, late, 'all').words(percent)} with those of all images.",
        ),
        Finding(
            "Some 10³ samples are enough",
            AGREES if least is not None and least <= 1024 else NOT_SHOWN,
            f"The range over the seeds is not above that of all {count:,} images {said}; the error is "
            f"{error(result, late, str(fewest)).words(percent)} with {fewest:,}, "
            f"{error(result, late, str(most)).words(percent)} with {most:,}.",
        ),
        Finding(
            f"At batches of {settings.small_batch}, it helps to freeze the statistics at the end",
            is_lower(frozen, batch),
            f"The test error is {frozen.words(percent)} {last}, {batch.words(percent)} without.",
        ),
        Finding(
            "It helps if these are precise when they are frozen",
            is_lower(precise, batch),
            f"The test error is {precise.words(percent)} {last} at precise statistics, {batch.words(percent)} without.",
        ),
    )
    return Judgement(
        findings,
        f"a plain net of {3 * settings.convolutions} convolutions on {count:,} digits of 8×8 pixels, each of which "
        "gives the norms 64 or fewer values; the paper's is ResNet-50 on ImageNet, whose images give thousands.",
    )


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the errors of all statistics."""
    settings = result.settings
    names = ["running", *map(str, settings.samples), "all"]
    header = ["after", "moving averages", *(f"{count:,} images" for count in settings.samples), "all images"]
    lines = [
        [f"{step} steps", *(error(result, step, name).words(percent) for name in names)]
        for step in (settings.early, settings.steps)
    ]
    how = (
        f"Batches of {settings.batch_size} at learning rate {settings.lr:g}, running statistics with momentum 0.1. "
        "Precise statistics are computed layer by layer from training images drawn at random, with the weights of the "
        f"moment, and stand in for the moving averages in inference. At batches of {settings.small_batch}, "
        f"{settings.small_steps:,} steps at learning rate {settings.small_lr:g}, the last "
        f"{100 * settings.frozen_share:g} % of them at {settings.small_lr * settings.last_lr_share:g}, frozen or not: "
        "frozen norms normalize with the moving averages in training too, and these no longer move; precise ones are "
        "computed from all images when they freeze."
    )
    return retell(PAPER, judge(result), [Table("Test error with statistics of", header, lines)], how)


def draw(result: Measurements) -> Figure:
    """Draw the test error over the number of samples, and with and without freezing."""
    settings = result.settings
    figure, [[precise, small]] = panels(1, 2, "Precise statistics, and frozen ones", width=5.0)
    figure.set_figheight(3.8)
    samples = (*settings.samples, result["training_images"])
    for colour, step in zip(COLOURS, (settings.early, settings.steps), strict=False):
        spreads = [error(result, step, name) for name in (*map(str, settings.samples), "all")]
        ranges(precise, samples, spreads, colour, f"after {step} steps")
        running = error(result, step, "running").mean
        precise.axhline(running, color=colour, linestyle="dashed", linewidth=1.2, label="the same, moving averages")
    precise.set_xscale("log", base=2)
    shown = [count for count in samples if not samples[-1] / 2 < count < samples[-1]]  # labels want room
    precise.set_xticks(shown, [f"{count:,}" for count in shown])
    precise.set_xticks([], minor=True)
    precise.set_ylim(bottom=0)
    in_percent(precise)
    dress(precise, "statistics of so many training images", "images", "test error")
    legend(precise)
    _draw_frozen(small, result)
    return figure


def _draw_frozen(axes: Axes, result: Measurements) -> None:
    """Draw a point for each seed, and join those of one seed."""
    for seed in result.settings.seeds:
        errors = [result.pick(part="small", variant=name, seed=seed)[0]["test_error"] for name in VARIANTS]
        axes.plot(range(len(VARIANTS)), errors, color=INK, marker="o", markersize=4, linewidth=0.8, alpha=0.7)
    axes.set_xticks(range(len(VARIANTS)), VARIANTS)
    axes.set_xlim(-0.4, len(VARIANTS) - 0.6)
    axes.set_ylim(bottom=0)
    in_percent(axes)
    dress(axes, f"batches of {result.settings.small_batch}, a line for each seed", "", "test error")
