"""Group norm over the number of groups, and of channels in each: Wu and He, 2018, table 3."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial

from tinygrad_norm import nn
from tinygrad_norm.data import ArrayDataset
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.papers.mnist1d import mnist1d
from tinygrad_norm.experiments.papers.paper import (
    Finding,
    Judgement,
    Paper,
    is_lower,
    is_no_higher,
    retell,
    together,
)
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Figure

QUESTION = "How does a net with group norm fare over the number of groups, and of channels in each group?"
PAPER = Paper(
    authors="Y. Wu and K. He",
    title="Group Normalization",
    year=2018,
    claim="Every number of groups and of channels in each does well, and better than the extremes: one group of all "
    "channels, which is layer norm, and one channel in each, which is instance norm.",
    number="ResNet-50 on ImageNet errs in 24.6, 24.1, 24.6, 24.4, 24.6, 24.7 and 25.3 % with 64, 32, 16, 8, 4, 2 and 1 "
    "groups, in 24.4, 24.5, 24.2, 24.3, 24.8, 25.6 and 28.4 % with 64, 32, 16, 8, 4, 2 and 1 channels in each.",
)
HALVES = {"groups": "groups", "channels": "channels in each group"}
CHANNELS = (32, 64, 64)
"""Of the three convolutions."""
WINDOW = 20


@dataclass(frozen=True)
class Settings:
    """A small net of convolutions along signals, trained by SGD with momentum 0.9."""

    groups: tuple[int, ...] = (1, 2, 4, 8, 16)
    channels: tuple[int, ...] = (1, 2, 4, 8, 16)
    batch_size: int = 50
    steps: int = 240
    lr: float = 0.05
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, groups=(1, 4), channels=(1, 8), steps=40)


def create(half: str, number: int) -> nn.Sequential:
    """Create the net for signals (N, 1, 1, 40): three convolutions of five values with stride 2, their mean, Linear.

    Args:
        half: whether the number is of "groups" or of "channels" in each.
        number: the same in all layers.
    """
    layers: list[nn.Module] = []
    before = 1
    for channels in CHANNELS:
        groups = number if half == "groups" else channels // number
        conv = nn.Conv2D(before, channels, (1, 5), (1, 2), padding=(0, 2), bias=False)
        layers += [conv, nn.GroupNorm(groups, channels, activation="relu")]
        before = channels
    return nn.Sequential(*layers, nn.GlobalAvgPool2D(), nn.Linear(before, 10))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train with each number of groups and of channels, with each seed."""
    train, test = (ArrayDataset(part.inputs[:, None, None], part.targets, part.class_names) for part in mnist1d())
    wanted = [("groups", number) for number in settings.groups] + [("channels", number) for number in settings.channels]
    cases = list(itertools.product(wanted, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for (half, number), seed in cases:
        hyper = runs.Hyperparameters(settings.batch_size, settings.lr, seed, settings.steps)
        label = f"{number} {HALVES[half]}, seed {seed}"
        model, found = runs.train_anew(hyper, partial(create, half, number), train, progress, label)
        error = runs.short(1 - runs.evaluate_dataset(model, test)["accuracy"])
        loss = runs.trailing_mean(found.losses, WINDOW)[-1]
        rows.append({"half": half, "number": number, "seed": seed, "test_error": error, "loss": runs.short(loss)})
    return Measurements.of(settings, rows, tested_on=len(test))


def error_of(result: Measurements, half: str, number: int) -> Spread:
    """Return the test error over the seeds."""
    return result.spread("test_error", half=half, number=number)


def judge(result: Measurements) -> Judgement:
    """Hold each number against the extreme of its half, and the two extremes against each other."""
    layer, instance = error_of(result, "groups", 1), error_of(result, "channels", 1)
    findings = (
        _better(result, "groups", "layer norm"),
        _better(result, "channels", "instance norm"),
        Finding(
            "Layer norm errs less than instance norm",
            is_lower(layer, instance),
            f"The error is {layer.words(percent)} against {instance.words(percent)}.",
        ),
        Finding(
            "Each other number of channels errs no more than layer norm",
            together(
                is_no_higher(error_of(result, "channels", number), layer) for number in _others(result, "channels")
            ),
            f"Layer norm errs in {layer.words(percent)}.",
        ),
    )
    return Judgement(
        findings,
        f"three convolutions of {CHANNELS[0]} to {CHANNELS[-1]} channels on signals of MNIST-1D, "
        f"{result.settings.steps} steps, {result['tested_on']:,} signals to test on, and the last norm stands before "
        "the mean over all places, which instance norm alone would leave the same for every signal, and only ReLU "
        "between does not; the paper's is ResNet-50, whose layers have 64 to 2,048 channels, on ImageNet.",
    )


def _others(result: Measurements, half: str) -> list[int]:
    return [number for number in getattr(result.settings, half) if number != 1]


def _better(result: Measurements, half: str, name: str) -> Finding:
    extreme, others = error_of(result, half, 1), _others(result, half)
    said = ", ".join(f"{error_of(result, half, number).words(percent)} with {number}" for number in others)
    return Finding(
        f"Each other number of {HALVES[half]} errs less than 1, {name}",
        together(is_lower(error_of(result, half, number), extreme) for number in others),
        f"The error is {said}, against {extreme.words(percent)}.",
    )


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the error at each number of groups and of channels."""
    settings = result.settings
    tables = [
        Table(
            f"By the number of {label}",
            [label, "test error", f"training loss, mean of {WINDOW} batches"],
            [
                [
                    str(number),
                    error_of(result, half, number).words(percent),
                    result.spread("loss", half=half, number=number).words(_three),
                ]
                for number in getattr(settings, half)
            ],
        )
        for half, label in HALVES.items()
    ]
    how = (
        f"Convolutions of five values and stride 2, each followed by group norm and ReLU, the mean over all places and "
        f"one linear layer, trained for {settings.steps} steps of {settings.batch_size} signals by SGD with momentum "
        f"0.9 at {settings.lr:g}. The number is the same in all three layers."
    )
    return retell(PAPER, judge(result), tables, how)


def _three(value: float) -> str:
    return f"{value:.3g}"


def draw(result: Measurements) -> Figure:
    """Draw the error over the number of groups, and over that of channels."""
    figure, [row] = panels(1, 2, "Group norm over the number of groups", width=4.4, sharey=True)
    for axes, (half, label), colour in zip(row, HALVES.items(), COLOURS, strict=False):
        numbers = getattr(result.settings, half)
        ranges(axes, numbers, [error_of(result, half, number) for number in numbers], colour, half)
        axes.set(xscale="log", xticks=numbers)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        in_percent(axes)
        end = "layer norm" if half == "groups" else "instance norm"
        dress(axes, f"1: {end}", label, "test error" if half == "groups" else "")
    return figure
