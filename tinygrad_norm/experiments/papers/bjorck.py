"""Activations and gradients of a deep residual net before the first step: Bjorck et al., 2018."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_norm import nn, ops, random
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, panels, ranges
from tinygrad_norm.experiments.papers.nets import Block, residual_net
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, retell
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.tensor import Tensor

QUESTION = "How do activations and gradients of a deep net look before the first step, with and without batch norm?"
PAPER = Paper(
    authors="J. Bjorck, C. Gomes, B. Selman and K. Q. Weinberger",
    title="Understanding Batch Normalization",
    year=2018,
    claim="Before training, a deep net without batch norm has channel means and variances that grow almost "
    "exponentially with depth, and gradients that are larger and heavy-tailed; with batch norm the first stay about "
    "constant, and the second stand close around their mean.",
    number="histograms and curves, in figures 4 and 5, of a ResNet-110 on CIFAR-10; the gradient is that of layer 55.",
)
NETS = {"none": "without a norm", "batch": "batch norm"}
COLOUR_OF = {"none": COLOURS[1], "batch": COLOURS[0]}
EDGES = np.linspace(-8, 8, 65)
"""Of the histograms, in standard deviations."""


@dataclass(frozen=True)
class Settings:
    """A residual net of 4 · `blocks` + 2 layers, one batch of digits, and no training."""

    blocks: int = 13
    width: int = 16
    batch_size: int = 128
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = replace(FULL, blocks=5, width=8, batch_size=64, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Draw each net's weights, and send one batch there and back."""
    train_set, _ = runs.standard_digits()
    batch = train_set[: settings.batch_size]
    cases = list(itertools.product(NETS, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for net, seed in cases:
        with progress.run(f"{NETS[net]}, seed {seed}", 1) as tick:
            random.manual_seed(seed)
            rows.append({"net": net, "seed": seed, **there_and_back(residual_net(net, *_size(settings)), batch)})
            tick()
    return Measurements.of(settings, rows)


def _size(settings: Settings) -> tuple[int, int]:
    return settings.blocks, settings.width


def there_and_back(model: nn.Module, batch: tuple[Array, Array]) -> dict[str, Any]:
    """Return what one batch leaves in a residual net.

    Returns:
        "means" and "variances", of what each block gives, over the depth: the channels' mean in absolute value, and
        variance, averaged over the channels. Of the gradient of a convolution half way: "gradient", its mean absolute
        value, "kurtosis", in excess of a normal distribution's, and its "histogram".
    """
    means, variances = list[float](), list[float]()

    def look(_layer: Any, _args: Any, output: Tensor) -> None:
        x = np.asarray(output.raw, np.float64)
        means.append(runs.short(float(np.abs(x.mean(axis=(0, 2, 3))).mean())))
        variances.append(runs.short(float(x.var(axis=(0, 2, 3)).mean())))

    model.train()
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    with ExitStack() as hooks:
        for block in blocks:
            hooks.enter_context(block.register_forward_hook(look))
        ops.cross_entropy(model(Tensor(batch[0])), batch[1]).backward()
    middle = next(iter(blocks[len(blocks) // 2].branch))
    gradient = np.asarray(middle.weight.grad.raw, np.float64).ravel()
    return {"means": means, "variances": variances, **_shape_of(gradient)}


def _shape_of(gradient: Array) -> dict[str, Any]:
    """Return size and tails of a gradient, and the shares of a histogram with what lies beyond at both ends."""
    deviations = (gradient - gradient.mean()) / gradient.std()
    shares = np.histogram(np.clip(deviations, EDGES[0], EDGES[-1]), EDGES)[0] / len(gradient)
    return {
        "gradient": runs.short(float(np.abs(gradient).mean())),
        "kurtosis": runs.short(float((deviations**4).mean() - 3)),
        "histogram": [runs.short(float(share)) for share in shares],
    }


def growth(result: Measurements, net: str, key: str) -> Spread:
    """Return how many times larger the means or variances are behind the last block than behind the first."""
    return Spread.of(row[key][-1] / row[key][0] for row in result.pick(net=net))


def judge(result: Measurements) -> Judgement:
    """Compare growth over the depth, the size of the gradient, and its tails."""
    findings = [
        Finding(
            f"The channels' {key} grow more with depth without batch norm",
            is_lower(growth(result, "batch", key), growth(result, "none", key)),
            f"From the first block to the last, {growth(result, 'none', key).words(_times)} without a norm, "
            f"{growth(result, 'batch', key).words(_times)} with batch norm.",
        )
        for key in ("means", "variances")
    ]
    for key, claim, what in (
        ("gradient", "The gradient half way is larger without batch norm", "Its mean absolute value is"),
        ("kurtosis", "Its tails are heavier without batch norm", "Its kurtosis, 0 for a normal distribution, is"),
    ):
        batch, none = result.spread(key, net="batch"), result.spread(key, net="none")
        ours = f"{what} {none.words(_three)} without a norm, {batch.words(_three)} with batch norm."
        findings.append(Finding(claim, is_lower(batch, none), ours))
    settings = result.settings
    return Judgement(
        tuple(findings),
        f"a residual net of {4 * settings.blocks + 2} layers on 8×8 digits, weights drawn as He et al. (2015) do; the "
        "paper's has 110 layers and Xavier's weights, on CIFAR-10.",
    )


def _three(value: float) -> str:
    return f"{value:.3g}"


def _times(value: float) -> str:
    return f"{value:,.0f}-fold" if value >= 100 else f"{value:.3g}-fold"


def tell(result: Measurements) -> Story:
    """Tell the verdict, with means and variances at some depths."""
    count = len(result["rows"][0]["means"])
    shown = sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})
    lines = [
        [NETS[net], key, *(_at(result, net, key, block).words(_three) for block in shown)]
        for net, key in itertools.product(NETS, ("means", "variances"))
    ]
    how = (
        f"One batch of {result.settings.batch_size} digits in training mode, before any step. Means are those of each "
        "channel of what a block gives, behind its ReLU, in absolute value and averaged over the channels; so are the "
        "variances. The gradient is that of the first convolution of the block in the middle; the outermost bins of "
        "its histogram, over all seeds, hold what lies beyond, too."
    )
    table = Table("Over the depth", ["net", "of the channels", *(f"block {block + 1}" for block in shown)], lines)
    return retell(PAPER, judge(result), [table], how)


def _at(result: Measurements, net: str, key: str, block: int) -> Spread:
    return Spread.of(row[key][block] for row in result.pick(net=net))


def draw(result: Measurements) -> Figure:
    """Draw means and variances over the depth, and the gradient's histogram."""
    figure, [[means, variances, gradients]] = panels(1, 3, "A deep residual net before its first step", width=3.9)
    blocks = range(len(result["rows"][0]["means"]))
    for net, label in NETS.items():
        for axes, key in ((means, "means"), (variances, "variances")):
            spreads = [_at(result, net, key, block) for block in blocks]
            ranges(axes, [block + 1 for block in blocks], spreads, COLOUR_OF[net], label, markersize=3)
        shares = np.mean([row["histogram"] for row in result.pick(net=net)], axis=0)
        gradients.stairs(np.where(shares > 0, shares, np.nan), EDGES, color=COLOUR_OF[net], label=label, linewidth=1.5)
    for axes, title in ((means, "channels’ means, absolute"), (variances, "channels’ variances")):
        axes.set_yscale("log")
        dress(axes, title, "block")
    legend(means)
    gradients.set_yscale("log")
    dress(gradients, "gradient of a convolution half way", "standard deviations", "share of the weights")
    return figure
