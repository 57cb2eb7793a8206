"""Statistics corrected for inference after training at small batches: Singh and Shrivastava, 2019."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import data, nn
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, is_no_higher, retell
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.training_mode import in_training
from tinygrad_norm.tensor import Tensor

QUESTION = "Can a net that was trained at small batches be corrected for inference, without training it again?"
PAPER = Paper(
    authors="S. Singh and A. Shrivastava",
    title="EvalNorm: Estimating Batch Normalization Statistics for Evaluation",
    year=2019,
    claim="In a small batch each image has a large share in the statistics, in inference none; giving it that share "
    "there, by a rule or by numbers estimated after training, makes nets trained at small batches better.",
    number="6.18 points of accuracy more on ImageNet after training at batches of 2.",
)
RUNNING, RULE, FITTED = "running statistics", "by the rule", "estimated"
WAYS = (RUNNING, RULE, FITTED)


@dataclass(frozen=True)
class Settings:
    """A small plain net on digits, trained by SGD with momentum 0.9 at each batch size for equally many steps."""

    width: int = 16
    convolutions: int = 1
    images: int | None = None
    batch_sizes: tuple[int, ...] = (2, 4, 16)
    lr: float = 0.01
    steps: int = 500
    batches: int = 100
    seeds: tuple[int, ...] = (0, 1, 2, 3)


FULL = Settings()
QUICK = replace(FULL, width=8, batch_sizes=(2, 16), steps=150, batches=30, seeds=(0, 1, 2))


class Shares(NamedTuple):
    """The shares of an image's own mean and variance in those that normalize it."""

    mean: float
    var: float


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train at each batch size with each seed, and measure the test error with each kind of statistics."""
    train, test = runs.standard_digits(images=settings.images)
    cases = list(itertools.product(settings.batch_sizes, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for size, seed in cases:
        hyper = runs.Hyperparameters(size, settings.lr, seed, settings.steps)
        make = partial(plain_net, "batch", settings.width, settings.convolutions)
        model, found = runs.train_anew(hyper, make, train, progress, f"batches of {size}, seed {seed}")
        loader = data.DataLoader(train, size, shuffle=True, drop_last=True, seed=seed + 1)
        fitted = estimate(model, itertools.islice(loader, settings.batches))
        rule = dict.fromkeys(fitted, Shares(1 / size, 1 / size))
        for way, net in ((RUNNING, model), (RULE, corrected(model, rule)), (FITTED, corrected(model, fitted))):
            error = runs.short(1 - runs.evaluate_dataset(net, test)["accuracy"])
            case = {"batch_size": size, "seed": seed, "way": way, "test_error": error, "diverged": found.diverged}
            rows.append(
                case | ({"shares": [list(map(runs.short, each)) for each in fitted.values()]} if way == FITTED else {})
            )
    return Measurements.of(settings, rows)


def estimate(model: nn.Module, batches: Any) -> dict[str, Shares]:
    """Return for each batch norm the shares that bring an image's statistics nearest to those of its batch.

    They are those of least squares: (batch's - running) ≈ share · (image's - running), over all images and channels,
    means in units of the running deviation and variances of the running variance. The model is run as in training, and
    left as it was.
    """
    twin = copy.deepcopy(model)
    norms = {path: layer for path, layer in twin.named_modules() if isinstance(layer, nn.BatchNorm2D)}
    sums = {path: np.zeros((2, 2)) for path in norms}  # of products and squares, for mean and variance

    def look(path: str, layer: Any, args: tuple[Any, ...]) -> None:
        x = np.asarray(args[0].raw, np.float64)
        mean, var = (np.asarray(each.raw, np.float64) for each in (layer.running_mean, layer.running_var))
        own = np.stack(
            [(x.mean(axis=(2, 3)) - mean) / np.sqrt(var + layer.eps), x.var(axis=(2, 3)) / (var + layer.eps) - 1]
        )
        batch = (
            (x.mean(axis=(0, 2, 3)) - mean) / np.sqrt(var + layer.eps),
            x.var(axis=(0, 2, 3)) / (var + layer.eps) - 1,
        )
        for n in range(2):
            sums[path][n] += (own[n] * batch[n]).sum(), np.square(own[n]).sum()

    with in_training(twin), no_grad(), ExitStack() as hooks:
        for path, layer in norms.items():
            layer.update_running_statistics = False
            hooks.enter_context(layer.register_forward_pre_hook(partial(look, path)))
        for inputs, _ in batches:
            twin(Tensor(inputs))
    return {path: Shares(*(float(product / square) for product, square in found)) for path, found in sums.items()}


def corrected(model: nn.Module, shares: Mapping[str, Shares]) -> nn.Sequential:
    """Return a copy of a plain net whose batch norms mix each image's statistics into the running ones."""
    return nn.Sequential({
        path: EvalNorm(layer, shares[path]) if isinstance(layer, nn.BatchNorm2D) else layer
        for path, layer in copy.deepcopy(model).named_children()
    })  # fmt: skip


class EvalNorm(nn.Module):
    """Batch norm in inference, with α · image's + (1 - α) · running mean, and likewise the variance; then ReLU."""

    def __init__(self, layer: nn.BatchNorm2D, shares: Shares) -> None:
        super().__init__()
        self.layer = layer
        self.shares = shares

    def forward(self, x: Tensor) -> Tensor:
        layer, values = self.layer, np.asarray(x.raw, np.float64)
        mean = self._mixed(values.mean(axis=(2, 3), keepdims=True), layer.running_mean, self.shares.mean)
        var = self._mixed(values.var(axis=(2, 3), keepdims=True), layer.running_var, self.shares.var)
        weight = 1.0 if layer.weight is None else _channels(layer.weight.raw)
        bias = 0.0 if layer.bias is None else _channels(layer.bias.raw)
        y = (values - mean) / np.sqrt(np.maximum(var, 0.0) + layer.eps) * weight + bias
        return Tensor(np.maximum(y, 0.0).astype(x.dtype))

    def _mixed(self, own: Array, running: Tensor, share: float) -> Array:
        return share * own + (1 - share) * _channels(running.raw)


def _channels(values: Array) -> Array:
    return values.astype(np.float64)[:, None, None]


def error(result: Measurements, size: int, way: str) -> Spread:
    """Return the test error after training at one batch size, with one kind of statistics, over the seeds."""
    return result.spread("test_error", batch_size=size, way=way)


def judge(result: Measurements) -> Judgement:
    """Compare corrected with running statistics at the smallest batches and at the largest."""
    settings = result.settings
    small, large = min(settings.batch_sizes), max(settings.batch_sizes)

    def both(size: int, way: str) -> str:
        corrected, running = error(result, size, way), error(result, size, RUNNING)
        return f"Test error {corrected.words(percent)}, with running statistics {running.words(percent)}."

    findings = (
        *(
            Finding(
                f"After batches of {small}, statistics corrected {how} are better than running ones",
                is_lower(error(result, small, way), error(result, small, RUNNING)),
                both(small, way),
            )
            for way, how in ((RULE, "by the rule"), (FITTED, "by an estimate"))
        ),
        Finding(
            f"After batches of {large}, corrected ones are no worse",
            is_no_higher(error(result, large, FITTED), error(result, large, RUNNING)),
            both(large, FITTED),
        ),
    )
    return Judgement(
        findings,
        f"a plain net of {3 * settings.convolutions} convolutions on 8×8 digits, whose norms get 64, 16 and 4 values "
        f"of an image, {settings.steps} steps, and shares of least squares over some training batches; the paper's are "
        "ResNets on CIFAR and ImageNet, and detectors, with shares learned by gradient descent.",
    )


def tell(result: Measurements) -> Story:
    """Tell the verdict, with all errors and the shares that were estimated."""
    sizes = result.settings.batch_sizes
    errors = [[way, *(error(result, size, way).words(percent) for size in sizes)] for way in WAYS]
    count = len(result.pick(way=FITTED)[0]["shares"])
    shares = [
        [f"{what}, norm {norm + 1}", *(_share(result, size, norm, place).words(_two) for size in sizes)]
        for norm, (place, what) in itertools.product(range(count), enumerate(("mean", "variance")))
    ]
    how = (
        f"Trained at learning rate {result.settings.lr:g}. In inference the rule gives each image the share 1 / batch "
        "size, which it had in its batch, in mean and variance of every norm; the estimate has a share for mean and "
        f"one for variance in each norm, by least squares over {result.settings.batches} training batches of the size "
        "that the net was trained at. The weights are the same in all three."
    )
    header = ["batches of", *map(str, sizes)]
    tables = [Table("Test error", header, errors), Table("Shares that were estimated", header, shares)]
    return retell(PAPER, judge(result), tables, how)


def _share(result: Measurements, size: int, norm: int, place: int) -> Spread:
    return Spread.of(row["shares"][norm][place] for row in result.pick(batch_size=size, way=FITTED))


def _two(value: float) -> str:
    return f"{value:.2g}"


def draw(result: Measurements) -> Figure:
    """Draw the test error after each batch size: a bar for the mean, a point for each seed."""
    figure, [[axes]] = panels(1, 1, "Statistics corrected after training", width=6.0)
    figure.set_figheight(3.8)
    sizes = result.settings.batch_sizes
    for number, (colour, way) in enumerate(zip(COLOURS, WAYS, strict=False)):
        for place, size in enumerate(sizes):
            spread, at = error(result, size, way), place + 0.27 * (number - 1)
            axes.bar(at, spread.mean, 0.25, color=colour, alpha=0.6, label=None if place else way)
            axes.plot([at] * len(spread.values), spread.values, ".", color="#333333", markersize=5)
    axes.set_xticks(range(len(sizes)), [f"batches of {size}" for size in sizes])
    in_percent(axes)
    dress(axes, "each seed a point", "", "test error")
    legend(axes)
    return figure
