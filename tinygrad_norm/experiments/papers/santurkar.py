"""Noise after batch norm, and how smooth loss and gradient are along a step: Santurkar et al., 2018."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_norm import nn, ops, random
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, panels
from tinygrad_norm.experiments.papers.nets import plain_net
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, is_no_higher, retell, together
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Axes, Figure, legend
from tinygrad_norm.launch import launch
from tinygrad_norm.models.norms import NormChoice
from tinygrad_norm.tensor import Tensor

QUESTION = "Does noise behind batch norm spoil what batch norm does, and is the loss smoother along a step with it?"
PAPER = Paper(
    authors="S. Santurkar, D. Tsipras, A. Ilyas and A. Madry",
    title="How Does Batch Normalization Help Optimization?",
    year=2018,
    claim="A net with noise of changing mean and scale behind each batch norm trains as well as with batch norm, and "
    "better than without; what batch norm does is to make loss and gradient change less along a step.",
    number="curves, in figures 2 and 4, of a VGG on CIFAR-10; the loss is taken at steps along the gradient of 1/2 to "
    "4 times the learning rate 0.1.",
)
NETS = {"none": "without a norm", "batch": "batch norm", "noisy": "batch norm, then noise"}
COLOUR_OF = dict(zip(NETS, (COLOURS[1], COLOURS[0], COLOURS[2]), strict=True))


@dataclass(frozen=True)
class Settings:
    """A small plain net on digits, trained by SGD with momentum 0.9; losses are means over the last `window` steps."""

    width: int = 16
    convolutions: int = 2
    images: int | None = None
    lr: float = 0.02
    batch_size: int = 32
    steps: int = 300
    window: int = 30
    looked_at: tuple[int, ...] = (1, 10, 30, 100, 200, 300)
    lengths: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = replace(
    FULL, width=8, steps=100, window=20, looked_at=(1, 10, 50, 100), lengths=(0.5, 2.0, 4.0), seeds=(0, 1, 2)
)


class Noise(nn.Module):
    """In training, scale and shift each channel of each image at random, about a scale and a shift drawn for the batch.

    Those of the batch, for each channel, are uniform in [1, 1.25] and [-0.5, 0.5]; each image's scale is normal about
    that with deviation 0.1, and its shift uniform within 0.1 of it.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        scale, shift = launch(_draw, random.generator(), x.raw)
        return x * Tensor(scale) + Tensor(shift)


def _draw(generator: np.random.Generator, x: Array) -> tuple[Array, Array]:
    images, channels = x.shape[:2]
    scale = generator.uniform(1.0, 1.25, channels) + 0.1 * generator.standard_normal((images, channels))
    shift = generator.uniform(-0.5, 0.5, channels) + generator.uniform(-0.1, 0.1, (images, channels))
    return tuple(each[..., None, None].astype(x.dtype) for each in (scale, shift))  # type: ignore[return-value]


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train the three nets, and look along the gradient now and then."""
    train_set, test_set = runs.standard_digits(images=settings.images)
    norms: dict[str, NormChoice] = {
        "none": "none",
        "batch": "batch",
        "noisy": lambda channels: nn.Sequential(nn.BatchNorm2D(channels), Noise()),
    }
    batch = train_set[: settings.batch_size]
    cases = list(itertools.product(NETS, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for net, seed in cases:
        hyper = runs.Hyperparameters(settings.batch_size, settings.lr, seed, settings.steps)
        look = partial(along_the_gradient, batch=batch, lengths=[settings.lr * each for each in settings.lengths])
        at = {} if net == "noisy" else dict.fromkeys(settings.looked_at, look)
        make = partial(plain_net, norms[net], settings.width, settings.convolutions)
        model, found = runs.train_anew(hyper, make, train_set, progress, f"{NETS[net]}, seed {seed}", at=at)
        rows.append({
            "net": net,
            "seed": seed,
            "loss": runs.trailing_mean(found.losses, settings.window)[-1],
            "test_error": runs.short(1 - runs.evaluate_dataset(model, test_set)["accuracy"]),
            "looks": [{"step": step, **found.seen[step]} for step in at if step in found.seen],
            "losses": found.losses,
        })  # fmt: skip
    return Measurements.of(settings, rows)


def along_the_gradient(model: nn.Module, batch: tuple[Array, Array], lengths: list[float]) -> dict[str, Any]:
    """Return how far a batch's loss ranges on steps against its gradient, and how far the gradient turns away.

    Returns:
        "loss", "low" and "high": that at the start, and the least and greatest after steps of those lengths times the
        gradient; "turned": the greatest distance between the gradients there and here, and "norm" of the one here.
    """
    model = copy.deepcopy(model)
    model.train()
    loss, gradients = _gradient(model, batch)
    starts = [parameter.raw.copy() for parameter in model.parameters()]
    losses, distances = [], []
    for length in lengths:
        for parameter, start, gradient in zip(model.parameters(), starts, gradients, strict=True):
            parameter.replace(start - parameter.dtype.type(length) * gradient)
        value, turned = _gradient(model, batch)
        losses.append(value)
        distances.append(_norm([a - b for a, b in zip(turned, gradients, strict=True)]))
    found = {"loss": loss, "low": min(losses), "high": max(losses), "turned": max(distances), "norm": _norm(gradients)}
    return {key: runs.short(value) for key, value in found.items()}


def _gradient(model: nn.Module, batch: tuple[Array, Array]) -> tuple[float, list[Array]]:
    for parameter in model.parameters():
        parameter.grad = None
    with np.errstate(all="ignore"):  # a step may lead far away
        loss = ops.cross_entropy(model(Tensor(batch[0])), batch[1])
        loss.backward()
    return loss.item(), [parameter.grad.raw.copy() for parameter in model.parameters() if parameter.grad is not None]


def _norm(arrays: list[Array]) -> float:
    return float(np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays)))


def judge(result: Measurements) -> Judgement:
    """Compare final losses, and what lies along a step before and after the net without a norm begins to learn."""
    none, batch, noisy = (result.spread("loss", net=net) for net in NETS)
    steps = result.settings.looked_at
    late = [look for look in range(len(steps)) if _look(result, "none", look, "loss").high < 0.9 * math.log(10)]
    early = [look for look in range(len(steps)) if look not in late]
    findings = [
        Finding(
            "With noise the net trains as well as with batch norm alone",
            is_no_higher(noisy, batch),
            f"The training loss ends at {noisy.words(_three)} with noise, {batch.words(_three)} without it.",
        ),
        Finding(
            "With noise it trains better than without a norm",
            is_lower(noisy, none),
            f"The training loss ends at {noisy.words(_three)}, against {none.words(_three)} without a norm.",
        ),
    ]
    for looks, when in ((early, "while that one is at chance"), (late, "once that one learns")):
        if looks:
            findings.append(_smoother(result, looks, when))
    settings = result.settings
    return Judgement(
        tuple(findings),
        f"a plain net of {3 * settings.convolutions} convolutions on 8×8 digits, {settings.steps} steps of SGD at "
        f"learning rate {settings.lr:g}; the paper's is a VGG on CIFAR-10, at 0.1.",
    )


def _smoother(result: Measurements, looks: list[int], when: str) -> Finding:
    """Compare the loss's range and the gradient's turn with and without batch norm at each of some looks."""
    said, outcomes = [], []
    for key, what in (("range", "the loss ranges over"), ("turned", "the gradient moves by")):
        pairs = [(_look(result, "batch", look, key), _look(result, "none", look, key)) for look in looks]
        outcomes += [is_lower(*pair) for pair in pairs]
        at = [f"{batch.words(_three)} against {none.words(_three)}" for batch, none in pairs]
        said.append(f"{what} {', '.join(at)}")
    steps = ", ".join(str(result.settings.looked_at[look]) for look in looks)
    claim = f"Loss and gradient change less along a step with batch norm than without a norm, {when}"
    return Finding(claim, together(outcomes), f"With batch norm against without, at step {steps}: {'; '.join(said)}.")


def _look(result: Measurements, net: str, look: int, key: str) -> Spread:
    """Return the loss, its range, or how far the gradient turned, at one look over the seeds."""
    looks = [row["looks"][look] if look < len(row["looks"]) else None for row in result.pick(net=net)]
    if key != "range":
        return Spread.of(each and each[key] for each in looks)
    return Spread.of(each and runs.short(each["high"] - each["low"]) for each in looks)


def _three(value: float) -> str:
    return f"{value:.3g}"


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the losses of all nets."""
    lines = [
        [name, result.spread("loss", net=net).words(_three), result.spread("test_error", net=net).words(percent)]
        for net, name in NETS.items()
    ]
    settings = result.settings
    how = (
        f"The training loss is the mean of the last {settings.window} batches of {settings.batch_size}, measured as "
        "the net trains, with the noise. Noise, in training alone: each channel behind a norm is scaled by a number "
        "drawn anew for each batch from [1, 1.25] and shifted by one from [-0.5, 0.5], and each image's scale and "
        "shift differ from those by 0.1 or so. To look along a step, one batch is taken in training mode: its gradient "
        f"is followed {', '.join(f'{each:g}' for each in settings.lengths)} times the learning rate far, and at each "
        "place the loss is computed (its range is the highest less the lowest), and the gradient (the greatest "
        "distance from the first)."
    )
    return retell(PAPER, judge(result), [Table("At the end", ["net", "training loss", "test error"], lines)], how)


def draw(result: Measurements) -> Figure:
    """Draw the losses of all nets, then how loss and gradient change along a step."""
    figure, [[losses, ranged, turned]] = panels(1, 3, "Noise behind batch norm, and what lies along a step", width=3.9)
    settings = result.settings
    for net, label in NETS.items():
        for row in result.pick(net=net):
            means = runs.trailing_mean(row["losses"], settings.window)
            losses.plot(range(1, len(means) + 1), means, color=COLOUR_OF[net], linewidth=1.2, alpha=0.8)
        losses.plot([], [], color=COLOUR_OF[net], label=label)
    dress(losses, f"training loss, mean of {settings.window} batches", "step", "loss")
    losses.set_ylim(bottom=0)
    legend(losses)
    for axes, key, title in (
        (ranged, "range", "range of the loss along a step"),
        (turned, "turned", "how far the gradient turns"),
    ):
        _draw_looks(axes, result, key)
        dress(axes, title, "step of training")
    return figure


def _draw_looks(axes: Axes, result: Measurements, key: str) -> None:
    steps = result.settings.looked_at
    for net in ("none", "batch"):
        spreads = [_look(result, net, look, key) for look in range(len(steps))]
        low, high = [each.low for each in spreads], [each.high for each in spreads]
        axes.plot(steps, [each.mean for each in spreads], color=COLOUR_OF[net], marker="o", markersize=4)
        axes.fill_between(steps, low, high, color=COLOUR_OF[net], alpha=0.15, linewidth=0)
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
