"""A thousand residual blocks without a norm: Zhang, Dauphin and Ma, 2019."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_norm import data, nn, ops, optim, random
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.papers.paper import (
    Finding,
    Judgement,
    Outcome,
    Paper,
    is_lower,
    is_no_higher,
    retell,
    together,
)
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.models.norm_free import FixupBlock, Shift
from tinygrad_norm.models.norms import Norms
from tinygrad_norm.models.parts import draw_weights
from tinygrad_norm.modes import eager
from tinygrad_norm.nn import init
from tinygrad_norm.tensor import Tensor

QUESTION = (
    "Does a residual net of ten to a thousand blocks learn in one epoch without a norm, begun as Fixup begins it?"
)
PAPER = Paper(
    authors="H. Zhang, Y. N. Dauphin and T. Ma",
    title="Fixup Initialization: Residual Learning Without Normalization",
    year=2019,
    claim="Begun as Fixup begins it, a residual net without a norm trains as stably as one with batch norm, at the "
    "same learning rate and at any depth, where one begun as usual fails.",
    number="residual nets of up to 10,000 layers, after one epoch on CIFAR-10 at batch norm's learning rate, 0.1.",
)
LABELS = {"none": "no norm, begun as usual", "fixup": "no norm, Fixup", "batch": "batch norm"}
COLOUR_OF = dict(zip(LABELS, (COLOURS[1], COLOURS[0], COLOURS[2]), strict=True))
CHANCE = 0.9


@dataclass(frozen=True)
class Settings:
    """Residual nets of two linear layers a block, trained for an epoch of digits by SGD with momentum 0.9."""

    depths: tuple[int, ...] = (10, 100, 1000)
    features: int = 32
    images: int | None = None
    batch_size: int = 64
    epochs: int = 1
    lr: float = 0.02
    with_batch_norm: int = 100
    """Up to how many blocks batch norm is tried."""
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, depths=(3, 10, 30), features=16, batch_size=32)


class Block(nn.Module):
    """relu(x + f(x)), where f is two linear layers with a norm after each, or none, and ReLU between."""

    def __init__(self, features: int, norms: Norms) -> None:
        super().__init__()
        self.linear1, self.linear2 = (nn.Linear(features, features, bias=norms.bias) for _ in range(2))
        self.norm1, self.norm2 = norms(features, "relu"), norms(features)

    def forward(self, x: Tensor) -> Tensor:
        return ops.add_relu(self.norm2(self.linear2(self.norm1(self.linear1(x)))), x)


def create(kind: str, pixels: int, features: int, depth: int) -> nn.Sequential:
    """Create a net of a kind, for images of so many pixels: a linear layer, blocks, a linear layer.

    Weights are drawn as He et al. (2015) do. With Fixup the first of each block is then divided by √depth, and the
    second and the last layer of the net are 0.
    """
    if kind != "fixup":
        norms = Norms(kind, momentum=0.3, rows=True)  # there are few steps
        stem = [nn.Linear(pixels, features, bias=norms.bias), norms(features, "relu")]
        net = nn.Sequential(nn.Flatten(), *stem, *[Block(features, norms) for _ in range(depth)])
        net.append(nn.Linear(features, 10))
        draw_weights(net, nn.Linear, _he)
        return net
    blocks = [FixupBlock(_linear, features, features, 1) for _ in range(depth)]  # type: ignore[arg-type]
    net = nn.Sequential(nn.Flatten(), _linear(pixels, features), Shift(), nn.ReLU(), *blocks, Shift())
    draw_weights(net, nn.Linear, _he)
    for block in blocks:
        block.conv1.weight.replace(block.conv1.weight.raw * np.float32(depth**-0.5))
        init.zeros_(block.conv2.weight)
    net.append(last := nn.Linear(features, 10))
    draw_weights(last, nn.Linear, init.zeros_)
    return net


def _linear(features: int, wanted: int, *_: int) -> nn.Linear:
    return nn.Linear(features, wanted, bias=False)


def _he(weight: Tensor) -> None:
    init.kaiming_normal_(weight, nonlinearity="relu")


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train each kind of net at each depth, with each seed."""
    train, test = runs.standard_digits(images=settings.images)
    cases = [
        (depth, kind, seed)
        for depth, kind, seed in itertools.product(settings.depths, LABELS, settings.seeds)
        if kind != "batch" or depth <= settings.with_batch_norm
    ]
    progress.expect(len(cases))
    steps = settings.epochs * (len(train) // settings.batch_size)
    rows = []
    for depth, kind, seed in cases:
        with progress.run(f"{LABELS[kind]}, {depth} blocks, seed {seed}", steps) as tick:
            random.manual_seed(seed)
            model = create(kind, train[0][0].size, settings.features, depth)
            found = _train(settings, model, train, seed, tick)
        error = 1.0 if found.diverged else 1 - runs.evaluate_dataset(model, test)["accuracy"]
        rows.append({
            "depth": depth,
            "kind": kind,
            "seed": seed,
            "diverged": found.diverged,
            "test_error": runs.short(error),
            "losses": found.losses,
        })  # fmt: skip
    return Measurements.of(settings, rows, steps=steps, trained_on=len(train))


def _train(
    settings: Settings, model: nn.Module, dataset: data.ArrayDataset, seed: int, tick: Callable[[], object]
) -> runs.Run:
    """Train, the trained numbers of Fixup at a tenth of the rate."""
    numbers = [parameter for parameter in model.parameters() if not parameter.shape]
    groups = [{"params": [parameter for parameter in model.parameters() if parameter.shape]}]
    groups += [{"params": numbers, "lr": settings.lr / 10}] if numbers else []  # type: ignore[dict-item]
    optimizer = optim.SGD(groups, lr=settings.lr, momentum=0.9)
    loader = data.DataLoader(dataset, settings.batch_size, shuffle=True, drop_last=True, seed=seed)
    with eager():  # to record thousands of ops takes longer than an epoch of them
        return runs.train_steps(model, optimizer, loader, settings.epochs * len(loader), tick)


def errors(result: Measurements, kind: str) -> list[Spread]:
    """Return the test errors of a kind of net at each depth at which it was tried."""
    return [result.spread("test_error", kind=kind, depth=depth) for depth in tried(result, kind)]


def tried(result: Measurements, kind: str) -> list[int]:
    """Return the depths at which a kind of net was tried."""
    return [depth for depth in result.settings.depths if result.pick(kind=kind, depth=depth)]


def judge(result: Measurements) -> Judgement:
    """Hold Fixup against a guess, against batch norm and against a net begun as usual, at each depth."""
    by_kind = {kind: errors(result, kind) for kind in LABELS}
    fixup, batch, none = by_kind["fixup"], by_kind["batch"], by_kind["none"]
    diverged = [
        f"{sum(row['diverged'] is not None for row in result.pick(kind='none', depth=depth))} of "
        f"{len(result.settings.seeds)} at {depth:,} blocks"
        for depth in result.settings.depths
    ]
    findings = (
        Finding(
            "With Fixup the net learns, at each depth",
            together(map(_learns, fixup)),
            f"It errs in {_at_each(result, fixup)} blocks; 90 % would be a guess.",
        ),
        Finding(
            "It errs no more than with batch norm, at each depth at which that was tried",
            together(map(is_no_higher, fixup, batch)),
            f"With batch norm it errs in {_at_each(result, batch)} blocks.",
        ),
        Finding(
            "It errs less than one without a norm that is begun as usual, at each depth",
            together(map(is_lower, fixup, none)),
            f"Begun as usual, these diverged: {', '.join(diverged)}.",
        ),
    )
    settings = result.settings
    return Judgement(
        findings,
        f"blocks of two linear layers of {settings.features} features, up to {2 * settings.depths[-1] + 2:,} layers, "
        f"{result['steps']} steps on {result['trained_on']:,} digits at {settings.lr:g}; the paper has "
        "convolutions, CIFAR-10 and 0.1.",
    )


def _learns(error: Spread) -> Outcome:
    """Judge that every seed is better than a guess by a tenth: contradicted if none is."""
    return is_lower(error, Spread((CHANCE - 0.1,) * len(error.values)))


def _at_each(result: Measurements, spreads: list[Spread]) -> str:
    depths = result.settings.depths
    return ", ".join(f"{error.words(percent)} at {depth:,}" for error, depth in zip(spreads, depths, strict=False))


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the error of each kind of net at each depth."""
    settings = result.settings
    lines = [[f"{depth:,}", *(_words(result, kind, depth) for kind in LABELS)] for depth in settings.depths]
    how = (
        f"One epoch is {result['steps']} steps of {settings.batch_size} digits of 8×8 pixels, by SGD with momentum "
        "0.9. Weights are drawn as He et al. (2015) do. With Fixup the first layer of each block is then divided by "
        "the root of the number of blocks, the second and the last layer of the net begin with 0, and the numbers that "
        "are added and multiply are trained with a tenth of the learning rate, as in the paper. Batch norm's running "
        f"statistics have a momentum of 0.3, as there are few steps; it is tried up to {settings.with_batch_norm:,} "
        "blocks. A net that diverged counts as wrong in all."
    )
    table = Table("Test error after an epoch", ["blocks", *LABELS.values()], lines)
    return retell(PAPER, judge(result), [table], how)


def _words(result: Measurements, kind: str, depth: int) -> str:
    return result.spread("test_error", kind=kind, depth=depth).words(percent) if depth in tried(result, kind) else ""


def draw(result: Measurements) -> Figure:
    """Draw the error over the depth, and the losses of the deepest nets."""
    figure, [[over, along]] = panels(1, 2, "Residual nets without a norm, after an epoch", width=4.4)
    depths = result.settings.depths
    for kind, label in LABELS.items():
        ranges(over, tried(result, kind), errors(result, kind), COLOUR_OF[kind], label)
        for row in result.pick(kind=kind, depth=depths[-1]):
            style = "-" if len(row["losses"]) > 1 else "x"
            along.plot(range(1, len(row["losses"]) + 1), row["losses"], style, color=COLOUR_OF[kind], linewidth=1.2)
    over.set(xscale="log", xticks=depths, ylim=(0, 1.05))
    over.xaxis.set_major_formatter("{x:,g}")
    over.minorticks_off()
    in_percent(over, 0)
    learned = [loss for row in result.pick(depth=depths[-1]) for loss in row["losses"] if loss < 100]
    along.set_ylim(0, 1.1 * max(learned, default=3.0))
    dress(over, "test error (diverged: 100 %)", "blocks")
    dress(along, f"training loss of {depths[-1]:,} blocks", "step")
    legend(over)
    return figure
