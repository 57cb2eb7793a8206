"""VGG-16 with and without batch norm, over learning rates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import compare_spreads, percent, step_count
from tinygrad_norm.figures import COLOURS, Axes, Figure, legend

QUESTION = "How fast does VGG-16 learn with and without batch norm, and at which learning rates does it diverge?"
NETS = {"none": "without batch norm", "batch": "with batch norm"}
COLOUR_OF = {"none": COLOURS[1], "batch": COLOURS[0]}


@dataclass(frozen=True)
class Settings:
    """A narrow VGG-16 on digits, trained by SGD with momentum 0.9."""

    model: str = "vgg16"
    width: float = 0.25
    image_size: int = 32
    images: int | None = None
    lrs: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    batch_size: int = 32
    steps: int = 450
    target: float = 1.0
    window: int = 10
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = Settings(width=0.125, image_size=18, lrs=(0.01, 0.03, 1.0), batch_size=16, steps=200, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train at each learning rate with each seed, with and without batch norm."""
    train_set, test_set = runs.standard_digits(settings.image_size, settings.images)
    cases = list(itertools.product(settings.lrs, NETS, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for lr, norm, seed in cases:
        hyper = runs.Hyperparameters(settings.batch_size, lr, seed, settings.steps)
        make, label = partial(runs.make_net, settings, norm), f"{NETS[norm]}, lr {lr:g}, seed {seed}"
        model, found = runs.train_anew(hyper, make, train_set, progress, label)
        rows.append({
            "norm": norm,
            "lr": lr,
            "seed": seed,
            "outcome": outcome(found.losses, found.diverged, settings.window),
            "diverged": found.diverged,
            "steps": runs.steps_until(found.losses, settings.target, settings.window),
            "test_accuracy": runs.short(runs.evaluate_dataset(model, test_set)["accuracy"]),
            "losses": found.losses,
            "accuracies": found.accuracies,
        })  # fmt: skip
    return Measurements.of(settings, rows)


def outcome(losses: Sequence[float], diverged: int | None, window: int) -> str:
    """Say what became of a run: "diverged", "at chance" (in the end no better than a guess among ten), or "learned"."""
    if diverged:
        return "diverged"
    return "at chance" if runs.trailing_mean(losses, window)[-1] > 0.9 * math.log(10) else "learned"


def tell(result: Measurements) -> Story:
    """Say at which rates each net learns, and compare them at each rate and at their best."""
    settings = result.settings
    form, lrs = step_count(settings.steps), settings.lrs
    summary = [_where_it_learns(result, norm) for norm in NETS]
    for lr in lrs:
        compared = compare_spreads(
            f"lr {lr:g}: to a training loss of {settings.target:g}, the net with batch norm",
            result.spread("steps", norm="batch", lr=lr),
            "the one without",
            result.spread("steps", norm="none", lr=lr),
            form,
            words=("faster", "slower"),
        )
        summary.append(compared)
    best = {norm: max(lrs, key=lambda lr: result.spread("test_accuracy", norm=norm, lr=lr).mean) for norm in NETS}
    at_best = compare_spreads(
        f"Test accuracy, each at the rate where it is highest: without batch norm (lr {best['none']:g})",
        result.spread("test_accuracy", norm="none", lr=best["none"]),
        f"with it (lr {best['batch']:g})",
        result.spread("test_accuracy", norm="batch", lr=best["batch"]),
        percent,
        words=("lower", "higher"),
    )
    header = ["learning rate", "net", "of the seeds", f"steps to a loss of {settings.target:g}", "test accuracy"]
    lines = [
        [
            f"{lr:g}",
            NETS[norm],
            _outcomes(result, norm, lr),
            result.spread("steps", norm=norm, lr=lr).words(form),
            result.spread("test_accuracy", norm=norm, lr=lr).words(percent),
        ]
        for lr, norm in itertools.product(lrs, NETS)
    ]
    how = (
        f"VGG-16 at {settings.width:g} of its width, {settings.steps} steps of SGD with momentum 0.9 and batches "
        f"of {settings.batch_size} digits. Its weights are drawn as He et al. (2015) do for ReLU nets, which Ioffe "
        "and Szegedy (2015) did not have; the images are standardized. A run has diverged when its loss is NaN or "
        "infinite, and is at chance when it ends with a loss above 0.9 ln 10; losses are means of the last "
        f"{settings.window} batches. Outputs of NaN count as wrong."
    )
    return Story([*summary, at_best], [Table("By learning rate", header, lines)], how)


def _where_it_learns(result: Measurements, norm: str) -> str:
    lrs = result.settings.lrs
    by_all = [lr for lr in lrs if all(row["outcome"] == "learned" for row in result.pick(norm=norm, lr=lr))]
    diverged = [lr for lr in lrs if any(row["outcome"] == "diverged" for row in result.pick(norm=norm, lr=lr))]
    learned = f"learned with every seed at lr {_list(by_all)}" if by_all else "learned with every seed at no rate"
    apart = f"diverged (NaN or infinity) with some seed at {_list(diverged)}" if diverged else "never diverged"
    return f"VGG-16 {NETS[norm]} {learned}; it {apart}."


def _outcomes(result: Measurements, norm: str, lr: float) -> str:
    found = [row["outcome"] for row in result.pick(norm=norm, lr=lr)]
    return ", ".join(f"{found.count(word)} {word}" for word in ("learned", "at chance", "diverged") if word in found)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def draw(result: Measurements) -> Figure:
    """Draw a column for each learning rate: the loss and the accuracy of every seed, and where runs diverged."""
    lrs, window = result.settings.lrs, result.settings.window
    title = "VGG-16 with and without batch norm (×: diverged)"
    figure, (top, bottom) = panels(2, len(lrs), title, width=3.0, sharex=True, sharey="row")
    for column, lr in enumerate(lrs):
        for row in result.pick(lr=lr):
            _draw_run(top[column], row, "losses", window, _loss_limits(result)[1])
            _draw_run(bottom[column], row, "accuracies", window, 1.0)
        dress(top[column], f"lr {lr:g}", "", "" if column else f"training loss, mean of {window} batches")
        dress(bottom[column], "", "step", "" if column else "training accuracy")
    top[0].set(yscale="log", ylim=_loss_limits(result))
    top[0].yaxis.set_major_formatter("{x:g}")
    top[0].yaxis.set_minor_formatter("")
    bottom[0].set_ylim(0, 1.02)
    in_percent(bottom[0])
    for norm, label in NETS.items():
        top[0].plot([], [], color=COLOUR_OF[norm], label=label)
    legend(top[0], loc="lower left")
    return figure


def _loss_limits(result: Measurements) -> tuple[float, float]:
    """Return the lowest mean loss, with room below it, and three times what a guess among ten costs."""
    means = [runs.trailing_mean(row["losses"], result.settings.window) for row in result["rows"]]
    return 0.8 * min(min(run, default=1.0) for run in means), 3 * math.log(10)


def _draw_run(axes: Axes, row: dict[str, Any], key: str, window: int, highest: float) -> None:
    means = runs.trailing_mean(row[key], window)
    colour = COLOUR_OF[row["norm"]]
    axes.plot(range(1, len(means) + 1), means, color=colour, linewidth=1.2, alpha=0.8)
    if row["diverged"] and means:
        axes.plot(len(means), min(means[-1], 0.9 * highest), "x", color=colour, markersize=7, markeredgewidth=2)
