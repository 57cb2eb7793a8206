"""Nets trained at several batch sizes for equally many epochs: what `swap-norm` and `small-batches` share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_norm import data, nn, optim, random
from tinygrad_norm.experiments.drawing import COLOURS, dress, legend, panels
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Result, Table
from tinygrad_norm.experiments.runs import Run, evaluate, pick, short, standard_digits, train
from tinygrad_norm.experiments.spread import Spread, compare, percent, which_is_lower

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE_BATCH = 32
"""The batch size at which the learning rate is `lr`; it grows in proportion, as in Goyal et al. 2017."""


@dataclass(frozen=True)
class Sweep:
    """A narrow net on digits, trained by SGD with momentum 0.9."""

    model: str
    width: float
    image_size: int
    images: int | None
    epochs: int
    lr: float
    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Trained:
    """A net after its last epoch, with the data to measure it on."""

    variant: str
    batch_size: int
    seed: int
    model: nn.Module
    run: Run
    train: data.ArrayDataset
    test: data.ArrayDataset

    def row(self, variant: str | None = None) -> dict[str, Any]:
        """What is kept of it: the error on the test images."""
        return {
            "variant": variant or self.variant,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "diverged": self.run.diverged,
            "test_error": short(1 - evaluate(self.model, self.test)["accuracy"]),
        }


def train_each(sweep: Sweep, variants: Mapping[str, Callable[[], nn.Module]], progress: Progress) -> Iterator[Trained]:
    """Train each variant at each batch size with each seed, one after the other."""
    train_set, test_set = standard_digits(sweep.image_size, sweep.images)
    cases = list(itertools.product(sweep.batch_sizes, variants, sweep.seeds))
    progress.expect(len(cases))
    for batch_size, variant, seed in cases:
        loader = data.DataLoader(train_set, batch_size, shuffle=True, drop_last=True, seed=seed)
        steps = sweep.epochs * len(loader)
        with progress.run(f"{variant}, batch {batch_size}, seed {seed}", steps) as tick:
            random.manual_seed(seed)
            model = variants[variant]()
            optimizer = optim.SGD(model.parameters(), lr=sweep.lr * batch_size / REFERENCE_BATCH, momentum=0.9)
            found = train(model, optimizer, loader, steps, tick)
        yield Trained(variant, batch_size, seed, model, found, train_set, test_set)


def error_of(result: Result, variant: str, batch_size: int) -> Spread:
    """The test error of one variant at one batch size, over the seeds."""
    return Spread.of(row["test_error"] for row in pick(result["rows"], variant=variant, batch_size=batch_size))


def compare_with(result: Result, reference: str, others: Sequence[str]) -> list[str]:
    """Each of the others beside the reference: where it is better, where worse, and where no difference is seen."""
    sentences = []
    for other in others:
        orders = {
            size: which_is_lower(error_of(result, other, size), error_of(result, reference, size))
            for size in result["settings"]["batch_sizes"]
        }
        verdicts = {"better": -1, "worse": 1, "no difference seen": 0}
        found = {word: [str(size) for size in orders if orders[size] == order] for word, order in verdicts.items()}
        said = [f"{word} at batch {', '.join(sizes)}" for word, sizes in found.items() if sizes]
        sentences.append(f"{other} beside {reference}: {'; '.join(said)}.")
    return sentences


def compare_sizes(result: Result, variants: Sequence[str]) -> list[str]:
    """Each variant at the smallest batch size beside itself at the largest."""
    small, large = min(result["settings"]["batch_sizes"]), max(result["settings"]["batch_sizes"])
    return [
        compare(
            f"{variant} at batch {small}",
            error_of(result, variant, small),
            f"at batch {large}",
            error_of(result, variant, large),
            percent,
            words=("better", "worse"),
        )
        + "."
        for variant in variants
    ]


def error_table(result: Result, variants: Sequence[str]) -> Table:
    """Test errors: a row for each variant, a column for each batch size."""
    sizes = result["settings"]["batch_sizes"]
    rows = [[variant, *(error_of(result, variant, size).words(percent) for size in sizes)] for variant in variants]
    return Table("Test error", ["batch size", *map(str, sizes)], rows)


def how_it_was_done(result: Result) -> str:
    """The procedure, in words."""
    settings = result["settings"]
    return (
        f"{settings['model']} at {settings['width']:g} of its width, {settings['epochs']} epochs of digits at "
        f"{settings['image_size']}×{settings['image_size']} pixels, by SGD with momentum 0.9; the learning rate is "
        f"{settings['lr']:g} at a batch of {REFERENCE_BATCH}, and in proportion at others, so that small batches take "
        "more and smaller steps. The test error is measured once, after the last epoch; 90 % would be a guess."
    )


def draw_errors(result: Result, variants: Sequence[str], title: str, styles: Mapping[str, str]) -> Figure:
    """Test error over the batch size, a line for each variant, with the range over the seeds."""
    from matplotlib.ticker import PercentFormatter

    sizes = result["settings"]["batch_sizes"]
    figure, [[axes]] = panels(1, 1, title, width=7.0)
    figure.set_figheight(4.2)
    for number, (colour, variant) in enumerate(zip(itertools.cycle(COLOURS), variants)):
        spreads = [error_of(result, variant, size) for size in sizes]
        beside = 1 + 0.03 * (number - (len(variants) - 1) / 2)  # so that no bar hides another
        arms = [[spread.mean - spread.low for spread in spreads], [spread.high - spread.mean for spread in spreads]]
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": styles.get(variant, "solid"),
            "marker": "o",
            "markersize": 4,
        }
        axes.errorbar(
            [size * beside for size in sizes], [s.mean for s in spreads], arms, label=variant, capsize=2, **style
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    dress(axes, "mean over the seeds, lowest and highest", "batch size", "test error")
    legend(axes)
    return figure
