"""Steps to a fixed loss, with and without batch norm, at multiples of the learning rate that suits the net without.

Source: Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift,
2015, figure 3.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from tinygrad_norm import nn
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, panels
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, compare_spreads, step_count
from tinygrad_norm.figures import COLOURS, INK, Axes, Figure, legend

QUESTION = "How many fewer steps does batch norm need to a fixed loss, at 1, 5 and 30 times the learning rate?"
COMPARED = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
NETS = {False: "without batch norm", True: "with batch norm"}
NO_RATIO = "–"


@dataclass(frozen=True)
class Settings:
    """A multi-layer perceptron of `depth` hidden layers on 8×8 digits, trained by SGD with momentum 0.9."""

    activations: tuple[str, ...] = ("sigmoid", "relu")
    depth: int = 3
    width: int = 100
    lrs: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    factors: tuple[float, ...] = (1, 5, 30)
    target: float = 0.1
    window: int = 20
    batch_size: int = 60
    steps: int = 4000
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = Settings(lrs=(0.05, 0.1, 0.2), steps=1500, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Find the learning rate that suits the net without batch norm; then train both nets at multiples of it."""
    combinations = list(itertools.product(settings.activations, settings.factors, NETS, settings.seeds))
    progress.expect(len(settings.activations) * len(settings.lrs) + len(combinations))
    scan, best = [], {}
    for activation in settings.activations:
        # by a seed that is not measured afterwards, so that the choice favours no one
        tried = [_train(settings, activation, lr, False, max(settings.seeds) + 1, progress) for lr in settings.lrs]
        best[activation] = min(tried, key=lambda row: row["steps"] or math.inf)["lr"]
        scan += [{key: row[key] for key in ("activation", "lr", "seed", "steps", "diverged")} for row in tried]
    rows = [
        {**_train(settings, activation, factor * best[activation], norm, seed, progress), "factor": factor}
        for activation, factor, norm, seed in combinations
    ]
    return Measurements.of(settings, rows, best_lr=best, scan=scan)


def _train(
    settings: Settings, activation: str, lr: float, batch_norm: bool, seed: int, progress: Progress
) -> dict[str, Any]:
    goal, window = settings.target, settings.window
    hyper = runs.Hyperparameters(settings.batch_size, lr, seed, settings.steps)
    _, found = runs.train_anew(
        hyper,
        lambda: _mlp(settings, activation, batch_norm),
        runs.standard_digits()[0],
        progress,
        f"{activation}, {NETS[batch_norm]}, lr {lr:g}, seed {seed}",
        enough=lambda run: len(run.losses) >= window and math.fsum(run.losses[-window:]) <= goal * window,
    )
    return {
        "activation": activation,
        "batch_norm": batch_norm,
        "lr": lr,
        "seed": seed,
        "steps": runs.steps_until(found.losses, goal, window),
        "diverged": found.diverged,
        "losses": found.losses,
    }


def _mlp(settings: Settings, activation: str, batch_norm: bool) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for number in range(settings.depth):
        layers.append(nn.Linear(settings.width if number else 64, settings.width, bias=not batch_norm))
        layers += [nn.BatchNorm1D(settings.width)] * batch_norm + [COMPARED[activation]()]
    return nn.Sequential(*layers, nn.Linear(settings.width, 10))


def tell(result: Measurements) -> Story:
    """Compare the nets at each learning rate, and each net's best with the other's."""
    settings = result.settings
    target, limit = settings.target, settings.steps
    summary, lines = [], []
    for activation, lr in result["best_lr"].items():
        rival = _spread(result, activation, False, settings.factors[0])
        for factor in settings.factors:
            normed = _spread(result, activation, True, factor)
            times = _times_fewer(rival, normed, limit)
            with_norm = f"{activation}: with batch norm at {factor:g}× (lr {factor * lr:g}) the net"
            without = f"without it at {settings.factors[0]:g}× (lr {lr:g})"
            fewer = "" if times == NO_RATIO else f"; {times} times fewer steps"
            sides, words = (with_norm, normed, without, rival), ("faster", "slower")
            summary.append(compare_spreads(*sides, step_count(limit), words=words, more=fewer))
            taken = [_spread(result, activation, norm, factor).words(step_count(limit)) for norm in NETS]
            lines.append([activation, f"{factor * lr:g} ({factor:g}×)", *taken, times])
    header = ["activation", "learning rate", *NETS.values(), "fewer than without at 1×"]
    how = (
        f"Counted are the steps until the mean training loss of the last {settings.window} batches is {target:g} "
        f"or less, by SGD with momentum 0.9 on {settings.depth} hidden layers of {settings.width}. 1× is the "
        f"rate, out of {', '.join(f'{lr:g}' for lr in settings.lrs)}, at which the net without batch norm needed "
        "the fewest steps, at a seed that is not measured. Ioffe and Szegedy (2015, figure 3) report, for Inception on "
        "ImageNet, 2.3 times fewer steps at 1×, 14.8 at 5× and 11.5 at 30×, each beside the net without batch norm at "
        "1×, which there was the rate of the published net."
    )
    return Story(summary, [Table(f"Steps to a training loss of {target:g}", header, lines)], how)


def _spread(result: Measurements, activation: str, norm: bool, factor: float) -> Spread:
    return result.spread("steps", activation=activation, batch_norm=norm, factor=factor)


def _times_fewer(plain: Spread, normed: Spread, limit: int) -> str:
    """Return the ratio of the means; a lower bound where a seed without batch norm never arrived."""
    if math.isinf(normed.mean):
        return NO_RATIO
    at_least = math.fsum(min(value, limit) for value in plain.values) / len(plain.values)
    return f"{'over ' if math.isinf(plain.mean) else ''}{at_least / normed.mean:.1f}"


def draw(result: Measurements) -> Figure:
    """Draw for each activation the steps at each learning rate, and the losses over the steps."""
    activations = result.settings.activations
    title = f"Steps to a training loss of {result.settings.target:g}, with and without batch norm"
    figure, grid = panels(len(activations), 2, title, width=4.4)
    for (left, right), activation in zip(grid, activations, strict=True):
        _draw_steps(left, result, activation)
        _draw_losses(right, result, activation)
    return figure


def _draw_steps(axes: Axes, result: Measurements, activation: str) -> None:
    factors, limit = result.settings.factors, result.settings.steps
    lr = result["best_lr"][activation]
    for shift, colour, (norm, label) in zip((-0.12, 0.12), (COLOURS[1], COLOURS[0]), NETS.items(), strict=True):
        spreads = [_spread(result, activation, norm, factor) for factor in factors]
        points = [(x + shift, value) for x, spread in enumerate(spreads) for value in spread.values]
        arrived = [(x, steps) for x, steps in points if math.isfinite(steps)]
        axes.plot(*zip(*arrived, strict=True) if arrived else ((), ()), "o", color=colour, alpha=0.7, label=label)
        lost = [x for x, steps in points if math.isinf(steps)]
        axes.plot(lost, [1.25 * limit] * len(lost), "^", color=colour, fillstyle="none", clip_on=False)
    axes.axhline(limit, color=INK, linewidth=0.8, linestyle="dotted")
    axes.annotate(f"above: not within {limit:,}", (len(factors) - 0.55, limit), (0, -11), textcoords="offset points",
                  ha="right", color=INK, fontsize=8)  # fmt: skip
    axes.set(yscale="log", xlim=(-0.5, len(factors) - 0.5), ylim=(None, 1.5 * limit))
    axes.set_xticks(range(len(factors)), [f"{factor:g}×\n{factor * lr:g}" for factor in factors])
    dress(axes, f"{activation}: steps, each seed a point", "learning rate", "steps")
    legend(axes)


def _draw_losses(axes: Axes, result: Measurements, activation: str) -> None:
    """Draw the losses of one seed, in the colours of the panel beside it."""
    settings = result.settings
    styles = dict(zip(settings.factors, itertools.cycle(("solid", "dashed", "dotted"))))
    for row in result.pick(activation=activation, seed=settings.seeds[0]):
        means = runs.trailing_mean(row["losses"], settings.window)
        colour, style = COLOURS[0 if row["batch_norm"] else 1], styles[row["factor"]]
        axes.plot(range(1, len(means) + 1), means, color=colour, linestyle=style, linewidth=1.3)
    for factor, style in styles.items():
        axes.plot([], [], color=INK, linestyle=style, label=f"{factor:g}×")
    axes.axhline(settings.target, color=INK, linewidth=0.8, linestyle="dotted")
    axes.set(xscale="log", yscale="log", ylim=(settings.target / 2, 20))
    axes.yaxis.set_major_formatter("{x:g}")
    dress(axes, f"{activation}: loss, seed {settings.seeds[0]}", "step", f"mean of {settings.window} batches")
    legend(axes, loc="lower left")
