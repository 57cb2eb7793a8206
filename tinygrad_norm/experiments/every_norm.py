"""Every norm that the zoo knows by name, in one net, at two learning rates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tinygrad_norm.experiments.drawing import dress, panels
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Rows, Story, Table
from tinygrad_norm.experiments.runs import (
    Hyperparameters,
    evaluate_dataset,
    make_net,
    short,
    standard_digits,
    train_anew,
)
from tinygrad_norm.experiments.spread import Spread, percent, which_is_lower
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.models.norms import OF_IMAGES

QUESTION = "How well does one net learn with each norm, at a small and at a large learning rate?"
REFERENCE = "batch"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A narrow net on digits, trained by SGD with momentum 0.9."""

    model: str = "resnet18"
    width: float = 0.25
    image_size: int = 16
    images: int | None = None
    epochs: int = 5
    batch_size: int = 64
    lrs: tuple[float, ...] = (0.01, 0.1)
    norms: tuple[str, ...] = (*OF_IMAGES, "none")
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, width=0.125, images=256, norms=("batch", "layer", "renorm", "frn", "dyt", "none"))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train a net with each norm at each learning rate, with each seed."""
    train_set, test_set = standard_digits(settings.image_size, settings.images)
    steps = settings.epochs * (len(train_set) // settings.batch_size)
    cases = list(itertools.product(settings.norms, settings.lrs, settings.seeds))
    progress.expect(len(cases))
    rows: Rows = []
    for norm, lr, seed in cases:
        hyper = Hyperparameters(settings.batch_size, lr, seed, steps)
        label = f"{norm}, learning rate {lr:g}, seed {seed}"
        model, found = train_anew(hyper, partial(make_net, settings, norm), train_set, progress, label)
        error = short(1 - evaluate_dataset(model, test_set)["accuracy"])
        rows.append({"norm": norm, "lr": lr, "seed": seed, "test_error": error, "diverged": found.diverged})
    return Measurements.of(settings, rows, steps=steps)


def error_of(result: Measurements, norm: str, lr: float) -> Spread:
    """Return the test error with a norm at a learning rate, over the seeds."""
    return result.spread("test_error", norm=norm, lr=lr)


def tell(result: Measurements) -> Story:
    """Compare each norm with batch norm at each learning rate."""
    settings = result.settings
    others = [norm for norm in settings.norms if norm != REFERENCE]
    header = ["norm", *(f"learning rate {lr:g}" for lr in settings.lrs)]
    rows = [
        [norm, *(error_of(result, norm, lr).words(percent) for lr in settings.lrs)]
        for norm in sorted(settings.norms, key=partial(_best, result))
    ]
    how = (
        f"{settings.model} at {settings.width:g} of its width, {result['steps']:,} steps of {settings.batch_size} "
        f"digits at {settings.image_size}×{settings.image_size} pixels, by SGD with momentum 0.9, nothing tuned "
        "to a norm; the table begins with the least error at either rate. 90 % would be a guess, and a net that "
        "diverged is measured as it was then. `tinygrad-norm norms` says what each name is."
    )
    return Story([_compared(result, others, lr) for lr in settings.lrs], [Table("Test error", header, rows)], how)


def _best(result: Measurements, norm: str) -> float:
    return min(error_of(result, norm, lr).mean for lr in result.settings.lrs)


def _compared(result: Measurements, others: Sequence[str], lr: float) -> str:
    """Say which norms are better or worse than batch norm at a learning rate, and of which no difference was seen."""
    reference = error_of(result, REFERENCE, lr)
    orders = {norm: which_is_lower(error_of(result, norm, lr), reference) for norm in others}
    words = {"better": -1, "no difference seen": 0, "worse": 1}
    said = [f"{word}: {', '.join(found)}" for word, sign in words.items() if (found := _with(orders, sign))]
    return f"At a learning rate of {lr:g}, beside {REFERENCE} ({reference.words(percent)}), {'; '.join(said)}."


def _with(orders: dict[str, int], sign: int) -> list[str]:
    return [norm for norm, order in orders.items() if order == sign]


def draw(result: Measurements) -> Figure:
    """Draw the test error with each norm, with its range, at each learning rate."""
    settings = result.settings
    norms = sorted(settings.norms, key=partial(_best, result), reverse=True)  # the best one on top
    figure, [[axes]] = panels(1, 1, f"{settings.model} with each norm", width=7.0)
    figure.set_figheight(1.6 + 0.24 * len(norms))
    for number, (colour, lr) in enumerate(zip(COLOURS, settings.lrs, strict=False)):
        spreads = [error_of(result, norm, lr) for norm in norms]
        arms = [[each.mean - each.low for each in spreads], [each.high - each.mean for each in spreads]]
        places = [place + 0.12 * (1 - 2 * number) for place in range(len(norms))]
        style: dict[str, Any] = {
            "fmt": "o",
            "markersize": 4,
            "capsize": 2,
            "color": colour,
            "label": f"learning rate {lr:g}",
        }
        axes.errorbar([each.mean for each in spreads], places, xerr=arms, **style)
    axes.set_yticks(range(len(norms)), norms)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.9], [percent(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    dress(axes, "mean over the seeds, lowest and highest", "test error")
    legend(axes)
    return figure
