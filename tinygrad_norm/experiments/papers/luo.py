"""Batch norm as a norm by the whole population, and a decay of γ: Luo et al., 2019."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_norm import data, nn, ops, optim, random
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, panels, ranges
from tinygrad_norm.experiments.papers.mnist1d import mnist1d
from tinygrad_norm.experiments.papers.paper import (
    AGREES,
    CONTRADICTS,
    NOT_SHOWN,
    Finding,
    Judgement,
    Outcome,
    Paper,
    is_lower,
    is_no_higher,
    retell,
)
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Form, Spread, percent
from tinygrad_norm.figures import COLOURS, Axes, Figure, legend
from tinygrad_norm.modes import no_grad
from tinygrad_norm.tensor import Tensor

QUESTION = "Is batch norm like a norm by the whole training set, with a decay of γ in the place of its noise?"
PAPER = Paper(
    authors="P. Luo, X. Wang, W. Shao and Z. Peng",
    title="Towards Understanding Regularization in Batch Normalization",
    year=2019,
    claim="The noise of batch statistics acts like a decay of γ that is the stronger the smaller the batch: batch norm "
    "is population norm, by the statistics of the whole training set, with such a decay.",
    number="theorem 1, of one layer with ReLU, adds ζγ² to the loss, where ζ goes as 1/M for batches of M; nets are "
    "shown by curves.",
)
HIDDEN = (64, 64)


@dataclass(frozen=True)
class Settings:
    """A perceptron on a few signals, trained by SGD with momentum 0.9 on batches, with one of two kinds of statistics.

    Decays are weights of γ²/2 in the loss. `sizes` are those of the batches whose statistics a trained net is given.
    """

    signals: int = 500
    batch_size: int = 16
    steps: int = 400
    lr: float = 0.03
    decays: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    draws: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, signals=200, steps=100, decays=(0.003, 0.03), sizes=(8, 32), draws=5)


class Population(nn.Module):
    """A net that in training is given the whole training set beside each batch, whose statistics norms see.

    Gradients flow through these, and the logits are those of the batch alone.
    """

    def __init__(self, net: nn.Module, everyone: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("everyone", everyone)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.net(x)  # type: ignore[no-any-return]
        return self.net(ops.concat([x, self.everyone]))[: len(x)]  # type: ignore[no-any-return]


def create(values: int) -> nn.Sequential:
    """Create the perceptron: two hidden layers of Linear, batch norm and ReLU."""
    layers: list[nn.Module] = []
    for features in HIDDEN:
        layers += [nn.Linear(values, features, bias=False), nn.BatchNorm1D(features, activation="relu")]
        values = features
    return nn.Sequential(*layers, nn.Linear(values, 10))


def gammas(net: nn.Module) -> list[nn.Parameter]:
    """Return the γ of every norm."""
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm1D)]
    return [layer.weight for layer in norms if layer.weight is not None]


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train by the statistics of the batch, of all, and of all with each decay; then measure what batches add."""
    train, test = mnist1d()
    train = data.ArrayDataset(*train[: settings.signals], train.class_names)
    kinds = [("batch", 0.0), ("population", 0.0), *(("population", decay) for decay in settings.decays)]
    cases = list(itertools.product(kinds, settings.seeds))
    progress.expect(len(cases))
    rows, added = [], []
    for (kind, decay), seed in cases:
        with progress.run(f"{_name(kind, decay)}, seed {seed}", settings.steps) as tick:
            net = _trained(settings, kind, decay, seed, train, tick)
        fit, held_out = (runs.evaluate_dataset(net, each) for each in (train, test))
        rows.append({
            "kind": kind,
            "decay": decay,
            "seed": seed,
            "gamma": runs.short(sum(float(np.square(gamma.numpy()).mean()) for gamma in gammas(net)) / len(HIDDEN)),
            "train_loss": runs.short(fit["loss"]),
            "test_loss": runs.short(held_out["loss"]),
            "test_error": runs.short(1 - held_out["accuracy"]),
        })  # fmt: skip
        if (kind, decay) == ("population", 0.0):
            added += [
                {"seed": seed, "size": size, "added": runs.short(added_loss(net, train, size, settings.draws, seed))}
                for size in settings.sizes
            ]
    return Measurements.of(settings, rows, added=added)


def _name(kind: str, decay: float) -> str:
    return f"{kind} norm, γ decay {decay:g}" if decay else f"{kind} norm"


def _trained(
    settings: Settings, kind: str, decay: float, seed: int, dataset: data.ArrayDataset, tick: Callable[[], object]
) -> nn.Module:
    random.manual_seed(seed)
    net = create(dataset.inputs.shape[1])
    decayed = gammas(net)
    others = [each for each in net.parameters() if not any(each is gamma for gamma in decayed)]
    groups = [{"params": others}, {"params": decayed, "weight_decay": decay}]
    optimizer = optim.SGD(groups, lr=settings.lr, momentum=0.9)  # type: ignore[arg-type]
    loader = data.DataLoader(dataset, settings.batch_size, shuffle=True, drop_last=True, seed=seed)
    model = Population(net, Tensor(dataset.inputs)) if kind == "population" else net
    runs.train_steps(model, optimizer, loader, settings.steps, tick)
    return net


def added_loss(net: nn.Module, dataset: data.ArrayDataset, size: int, draws: int, seed: int) -> float:
    """Return by how much the mean loss is larger with statistics of batches of a size than with those of all."""
    net.train()
    before = {key: np.array(value) for key, value in net.state_dict().items()}
    rng, losses = np.random.default_rng(seed), []
    with no_grad():
        whole = ops.cross_entropy(net(Tensor(dataset.inputs)), dataset.targets).item()
        for _ in range(draws * len(dataset) // size):
            batch = rng.integers(len(dataset), size=size)
            losses.append(ops.cross_entropy(net(Tensor(dataset.inputs[batch])), dataset.targets[batch]).item())
    net.load_state_dict(before)
    return float(np.mean(losses) - whole)


def spread_of(result: Measurements, key: str, kind: str, decay: float = 0.0) -> Spread:
    """Return what was measured of a kind over the seeds."""
    return result.spread(key, kind=kind, decay=decay)


def best_decay(result: Measurements) -> float:
    """Return the decay whose test loss is least, as a mean."""
    decays: list[float] = result.settings.decays
    return min(decays, key=lambda decay: spread_of(result, "test_loss", "population", decay).mean)


def added_at(result: Measurements, size: int) -> Spread:
    """Return what the statistics of batches of a size add to the loss, over the seeds."""
    return Spread.of(row["added"] for row in result["added"] if row["size"] == size)


def power(result: Measurements) -> Spread:
    """Return the power of the batch size with which the added loss goes, of each seed: -1 by the theorem."""
    sizes = result.settings.sizes
    over_seeds = zip(*(added_at(result, size).values for size in sizes), strict=True)
    logs = [np.log(np.maximum(values, 1e-12)) for values in over_seeds]
    return Spread.of(runs.short(float(np.polyfit(np.log(sizes), each, 1)[0])) for each in logs)


def judge(result: Measurements) -> Judgement:
    """Compare what batches add, and γ, test loss and the best decay of population norm with batch norm."""
    settings = result.settings
    few, many = settings.sizes[0], settings.sizes[-1]
    best = best_decay(result)
    loss = {
        "batch": spread_of(result, "test_loss", "batch"),
        "population": spread_of(result, "test_loss", "population"),
        "decay": spread_of(result, "test_loss", "population", best),
    }
    gamma = {kind: spread_of(result, "gamma", kind) for kind in ("batch", "population")}
    errors = {kind: spread_of(result, "test_error", kind).words(percent) for kind in ("batch", "population")}
    decayed = spread_of(result, "gamma", "population", best)
    said = {key: spread.words(_three) for key, spread in loss.items()}
    chosen = f"with {best:g}, of the decays tried the best by this very loss"
    findings = (
        Finding(
            "The noise of the statistics adds to the loss, the less the larger the batch",
            is_lower(added_at(result, many), added_at(result, few)),
            f"It adds {added_at(result, few).words(_three)} at batches of {few}, "
            f"{added_at(result, many).words(_three)} at {many}.",
        ),
        Finding(
            "What it adds falls as 1/M with the batch size M",
            _reaches(power(result), -1.0),
            f"The power of the size is {power(result).words(_two)}.",
        ),
        Finding(
            "Batch norm ends with a smaller γ than population norm",
            is_lower(gamma["batch"], gamma["population"]),
            f"The mean of γ² is {gamma['batch'].words(_three)} against {gamma['population'].words(_three)}.",
        ),
        Finding(
            "Batch norm generalizes better than population norm",
            is_lower(loss["batch"], loss["population"]),
            f"The test loss is {said['batch']} against {said['population']}, the test error {errors['batch']} against "
            f"{errors['population']}.",
        ),
        Finding(
            "A decay of γ makes population norm generalize better",
            is_lower(loss["decay"], loss["population"]),
            f"The test loss is {said['decay']} {chosen}.",
        ),
        Finding(
            "With it, population norm generalizes no worse than batch norm",
            is_no_higher(loss["decay"], loss["batch"]),
            f"The test loss is {said['decay']} against {said['batch']}.",
        ),
        Finding(
            "And its γ is no smaller than batch norm's",
            is_no_higher(gamma["batch"], decayed),
            f"The mean of γ² is {decayed.words(_three)} against {gamma['batch'].words(_three)}.",
        ),
    )
    return Judgement(
        findings,
        f"a perceptron of two hidden layers on {settings.signals} signals of MNIST-1D and batches of "
        f"{settings.batch_size}, with one decay for every γ; the theorem is of one layer, and its decay of each γ "
        "follows from the data.",
    )


def _reaches(spread: Spread, value: float) -> Outcome:
    """Judge a claim that something is so large: contradicted if the value is outside of the range over the seeds."""
    if len(spread.values) < 2:
        return NOT_SHOWN
    return AGREES if spread.low <= value <= spread.high else CONTRADICTS


def _three(value: float) -> str:
    return f"{value:.3g}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def tell(result: Measurements) -> Story:
    """Tell the verdict, with γ, losses and errors of each net."""
    settings = result.settings
    keys: dict[str, Form] = {"gamma": _three, "train_loss": _three, "test_loss": _three, "test_error": percent}
    kinds = [("batch", 0.0), ("population", 0.0), *(("population", decay) for decay in settings.decays)]
    lines = [
        [_name(*each), *(spread_of(result, key, *each).words(form) for key, form in keys.items())] for each in kinds
    ]
    how = (
        f"All nets are trained for {settings.steps} steps on batches of {settings.batch_size} signals, by SGD "
        f"with momentum 0.9 at {settings.lr:g}. Population norm normalizes the batch by the statistics of the batch "
        f"and all {settings.signals} training signals, anew at each step, and gradients flow through them; so the two "
        "differ in the noise of the statistics alone. A decay is the weight of γ²/2 in the loss. What noise adds to "
        "the loss is measured in the nets trained with population norm: the mean loss of batches drawn with "
        f"replacement, {settings.draws} times as many signals as there are, each with its own statistics, less that "
        "with the statistics of all."
    )
    header = ["net", "mean of γ²", "training loss", "test loss", "test error"]
    return retell(PAPER, judge(result), [Table("At the end", header, lines)], how)


def draw(result: Measurements) -> Figure:
    """Draw what batches add to the loss, and test loss and γ² over the decay."""
    figure, [[added, loss, gamma]] = panels(1, 3, "Batch norm, and population norm with a decay of γ", width=3.5)
    sizes = result.settings.sizes
    ranges(added, sizes, [added_at(result, size) for size in sizes], COLOURS[0], "measured")
    start = added_at(result, sizes[0]).mean
    added.plot(sizes, [start * sizes[0] / size for size in sizes], color="#999999", linestyle="dotted", label="1 / M")
    added.set(xscale="log", yscale="log", xticks=sizes)
    added.xaxis.set_major_formatter("{x:g}")
    added.yaxis.set_major_formatter("{x:g}")
    added.minorticks_off()
    dress(added, "what batch statistics add to the loss", "batch size M")
    legend(added)
    _over_decays(loss, result, "test_loss")
    _over_decays(gamma, result, "gamma")
    dress(loss, "test loss", "decay of γ")
    dress(gamma, "mean of γ²", "decay of γ")
    legend(loss)
    return figure


def _over_decays(axes: Axes, result: Measurements, key: str) -> None:
    decays = [0.0, *result.settings.decays]
    spreads = [spread_of(result, key, "population", decay) for decay in decays]
    ranges(axes, range(len(decays)), spreads, COLOURS[1], "population norm")
    axes.set_xticks(range(len(decays)), [f"{decay:g}" for decay in decays])
    batch = spread_of(result, key, "batch")
    ranges(axes, [0, len(decays) - 1], [batch, batch], COLOURS[0], "batch norm", marker="")
