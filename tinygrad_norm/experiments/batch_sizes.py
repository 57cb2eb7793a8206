"""Nets at several batch sizes, compared at equal epochs and at equal steps: for `swap-norm` and `small-batches`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tinygrad_norm import data, nn
from tinygrad_norm.experiments.drawing import dress, in_percent, panels
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Rows, Table
from tinygrad_norm.experiments.runs import Hyperparameters, evaluate_dataset, short, standard_digits, train_anew
from tinygrad_norm.experiments.spread import Spread, compare_spreads, percent, which_is_lower
from tinygrad_norm.figures import COLOURS, Axes, Figure, legend

REFERENCE_BATCH = 32
"""The batch size at which the learning rate is `lr`; it grows in proportion.

Source: Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.
"""

EQUAL = "epochs", "steps"
"""What nets at different batch sizes have had as much of when they are compared."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A narrow net on digits, trained by SGD with momentum 0.9."""

    model: str
    width: float
    image_size: int = 32
    images: int | None = None
    epochs: int
    lr: float
    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def train_each(
    sweep: Sweep,
    variants: Mapping[str, Callable[[], nn.Module]],
    progress: Progress,
    also: Callable[[str, nn.Module, data.ArrayDataset], Mapping[str, nn.Module]] = lambda *_: {},
) -> Rows:
    """Train each variant at each batch size with each seed, one after the other.

    Each is measured twice: after all epochs, and after as many steps as the largest batch takes in them. One that
    diverges before a moment is measured as it is then.

    Args:
        also: what else is to be measured, by name, given a variant, its net, which it must leave as it is, and the
            training images.

    Returns:
        The rows, each with "diverged", the step until then at which the loss was no longer finite, or None.
    """
    train_set, test_set = standard_digits(sweep.image_size, sweep.images)
    steps = {size: sweep.epochs * (len(train_set) // size) for size in sweep.batch_sizes}
    few = min(steps.values())
    cases = list(itertools.product(sweep.batch_sizes, variants, sweep.seeds))
    progress.expect(len(cases))

    def errors(variant: str, model: nn.Module) -> dict[str, float]:
        nets = {variant: model, **also(variant, model, train_set)}
        return {name: short(1 - evaluate_dataset(net, test_set)["accuracy"]) for name, net in nets.items()}

    rows: Rows = []
    for size, variant, seed in cases:
        measure = partial(errors, variant)
        hyper = Hyperparameters(size, sweep.lr * size / REFERENCE_BATCH, seed, steps[size])
        label = f"{variant}, batch {size}, seed {seed}"
        model, run = train_anew(hyper, variants[variant], train_set, progress, label, at={few: measure})
        late, early = measure(model), run.seen.get(few) or measure(model)
        for equal, taken, found in (("epochs", steps[size], late), ("steps", few, early)):
            case = {"batch_size": size, "seed": seed, "equal": equal, "steps": taken}
            diverged = run.diverged if run.diverged and run.diverged <= taken else None
            for name, error in found.items():
                rows.append({"variant": name, **case, "test_error": error, "diverged": diverged})
    return rows


def error_of(result: Measurements, variant: str, batch_size: int, equal: str) -> Spread:
    """Return the test error of one variant at one batch size, over the seeds, at equal "epochs" or "steps"."""
    return result.spread("test_error", variant=variant, batch_size=batch_size, equal=equal)


def steps_of(result: Measurements, batch_size: int, equal: str) -> int:
    """Return how many steps a net at one batch size takes, at equal "epochs" or "steps"."""
    return int(result.pick(batch_size=batch_size, equal=equal)[0]["steps"])


def compare_with(result: Measurements, reference: str, others: Sequence[str]) -> list[str]:
    """Say where each of the others is better, worse, or no different than the reference, at the same batch size."""
    sentences = []
    for other in others:
        orders = {
            size: which_is_lower(error_of(result, other, size, "epochs"), error_of(result, reference, size, "epochs"))
            for size in result.settings.batch_sizes
        }
        verdicts = {"better": -1, "worse": 1, "no difference seen": 0}
        found = {word: [str(size) for size in orders if orders[size] == order] for word, order in verdicts.items()}
        said = [f"{word} at batch {', '.join(sizes)}" for word, sizes in found.items() if sizes]
        sentences.append(f"After all epochs, {other} beside {reference}: {'; '.join(said)}.")
    return sentences


def compare_sizes(result: Measurements, variants: Sequence[str]) -> list[str]:
    """Compare each variant at the smallest batch size with itself at the largest, at equal epochs and at equal steps.

    Each sentence says which, for a net gets better by more steps, whatever its batches.
    """
    small, large = min(result.settings.batch_sizes), max(result.settings.batch_sizes)
    many, few = (steps_of(result, size, "epochs") for size in (small, large))
    budgets = {"epochs": f"equal epochs ({many:,} steps against {few:,})", "steps": f"equal steps ({few:,} each)"}
    return [
        compare_spreads(
            f"At {budget}, {variant} at batch {small}",
            error_of(result, variant, small, equal),
            f"at batch {large}",
            error_of(result, variant, large, equal),
            percent,
            words=("better", "worse"),
        )
        for equal, budget in budgets.items()
        for variant in variants
    ]


def error_tables(result: Measurements, variants: Sequence[str]) -> list[Table]:
    """Tabulate test errors at equal epochs and at equal steps: a row for each variant, a column for each batch size."""
    sizes = result.settings.batch_sizes
    tables = []
    for equal in EQUAL:
        steps = ["steps", *(f"{steps_of(result, size, equal):,}" for size in sizes)]
        rows = [
            [variant, *(error_of(result, variant, size, equal).words(percent) for size in sizes)]
            for variant in variants
        ]
        tables.append(Table(f"Test error at equal {equal}", ["batch size", *map(str, sizes)], [steps, *rows]))
    return tables


def procedure(result: Measurements) -> str:
    """Say how it was done."""
    settings = result.settings
    return (
        f"{settings.model} at {settings.width:g} of its width, {settings.epochs} epochs of digits at "
        f"{settings.image_size}×{settings.image_size} pixels, by SGD with momentum 0.9; the learning rate is "
        f"{settings.lr:g} at a batch of {REFERENCE_BATCH}, and in proportion at others, so that small batches take "
        "more and smaller steps. The test error is measured after the last epoch (equal epochs), and in the same run "
        f"after as many steps as batches of {max(settings.batch_sizes)} take in all epochs (equal steps), by when "
        "small batches have seen fewer images; 90 % would be a guess, and outputs of NaN count as wrong."
    )


def draw_errors(result: Measurements, variants: Sequence[str], title: str, styles: Mapping[str, str]) -> Figure:
    """Draw the test error over the batch size, a line for each variant, with the range over the seeds."""
    figure, [row] = panels(1, 2, title, width=5.6, sharey=True)
    figure.set_figheight(4.2)
    for axes, equal in zip(row, EQUAL, strict=True):
        _draw_errors(axes, result, variants, equal, styles)
    row[0].set_ylim(bottom=0)  # of both, once all is drawn
    row[1].set_ylabel("")
    legend(row[0])
    return figure


def _draw_errors(
    axes: Axes, result: Measurements, variants: Sequence[str], equal: str, styles: Mapping[str, str]
) -> None:
    sizes = result.settings.batch_sizes
    for number, (colour, variant) in enumerate(zip(itertools.cycle(COLOURS), variants)):
        spreads = [error_of(result, variant, size, equal) for size in sizes]
        beside = 1 + 0.03 * (number - (len(variants) - 1) / 2)  # so that no bar hides another
        arms = [[spread.mean - spread.low for spread in spreads], [spread.high - spread.mean for spread in spreads]]
        style: dict[str, Any] = {"marker": "o", "markersize": 4, "capsize": 2}
        style |= {"color": colour, "linestyle": styles.get(variant, "solid"), "label": variant}
        axes.errorbar([size * beside for size in sizes], [s.mean for s in spreads], arms, **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    in_percent(axes)
    dress(axes, f"at equal {equal}: mean over the seeds, lowest and highest", "batch size", "test error")
