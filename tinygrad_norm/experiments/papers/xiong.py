"""Gradients at initialization, with layer norm after the additions or before the sublayers: Xiong et al., 2020."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from tinygrad_norm import nn, ops, random
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments.drawing import dress, panels, ranges
from tinygrad_norm.experiments.papers.mnist1d import mnist1d
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, is_no_higher, retell
from tinygrad_norm.experiments.papers.transformer import Encoder
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.runs import short
from tinygrad_norm.experiments.spread import Spread
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.tensor import Tensor

QUESTION = "How large is the gradient of each layer of a transformer at first, with post-norm and with pre-norm?"
PAPER = Paper(
    authors="R. Xiong et al.",
    title="On Layer Normalization in the Transformer Architecture",
    year=2020,
    claim="At initialization the gradient of the last layer does not depend on the depth with post-norm and falls with "
    "it with pre-norm, where layers have gradients of about one size; with post-norm those near the output are large.",
    number="theorem 1 bounds the last gradient by O(d √(ln d)) with post-norm, by O(d √(ln d / L)) with pre-norm, for "
    "L layers of d features; translating IWSLT14, post-norm without warm-up reaches a BLEU score of 8.45, about 34 "
    "with it.",
)
PLACES = {"post": "post-norm", "pre": "pre-norm"}
COLOUR_OF = dict(zip(PLACES, (COLOURS[1], COLOURS[0]), strict=True))


@dataclass(frozen=True)
class Settings:
    """Encoders of several depths, each looked at once, with one batch of signals."""

    depths: tuple[int, ...] = (4, 8, 16, 32, 64)
    features: int = 64
    heads: int = 4
    signals: int = 64
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)


FULL = Settings()
QUICK = replace(FULL, depths=(2, 4, 8, 16), features=32, seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Make each net, and measure the gradient of each block's last linear layer."""
    train, _ = mnist1d()
    batch = train[: settings.signals]
    cases = list(itertools.product(settings.depths, PLACES, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for depth, place, seed in cases:
        with progress.run(f"{PLACES[place]}, {depth} layers, seed {seed}", 1) as tick:
            random.manual_seed(seed)
            post, values = place == "post", batch[0].shape[1]
            model = Encoder(values, settings.features, settings.heads, depth, nn.LayerNorm, post)
            found = gradients_of(model, batch)
            tick()
        rows.append({"depth": depth, "place": place, "seed": seed, "first": found[0], "last": found[-1], "all": found})
    return Measurements.of(settings, rows)


def gradients_of(model: Encoder, batch: tuple[Array, Array]) -> list[float]:
    """Return the norm of the gradient of the last linear layer of each block, from the first block to the last."""
    ops.cross_entropy(model(Tensor(batch[0])), batch[1]).backward()
    return [short(float(np.linalg.norm(block.down.weight.grad.numpy()))) for block in model.blocks]


def exponents(result: Measurements, place: str) -> Spread:
    """Return the power of the depth with which the last gradient goes, of each seed: 0 is none, -1/2 is 1/√depth."""
    logs = np.log(result.settings.depths)
    spreads = [result.spread("last", place=place, depth=depth) for depth in result.settings.depths]
    over_seeds = zip(*(np.log(spread.values) for spread in spreads), strict=True)
    return Spread.of(short(float(np.polyfit(logs, lasts, 1)[0])) for lasts in over_seeds)


def unevenness(result: Measurements, place: str, depth: int) -> Spread:
    """Return how many times the largest gradient of a layer is the smallest, of each seed."""
    return Spread.of(max(row["all"]) / min(row["all"]) for row in result.pick(place=place, depth=depth))


def judge(result: Measurements) -> Judgement:
    """Compare the last gradients of the least and the greatest depth, and at the greatest the two and the layers."""
    few, many = result.settings.depths[0], result.settings.depths[-1]
    last = {
        (place, depth): result.spread("last", place=place, depth=depth) for place in PLACES for depth in (few, many)
    }
    first = result.spread("first", place="post", depth=many)
    uneven = {place: unevenness(result, place, many) for place in PLACES}
    words = {key: f"{spread.words(_three)} at {key[1]} layers" for key, spread in last.items()}
    power = {place: exponents(result, place).words(_two) for place in PLACES}
    findings = (
        Finding(
            "With pre-norm the last gradient falls with depth",
            is_lower(last["pre", many], last["pre", few]),
            f"It is {words['pre', many]}, {words['pre', few]}: as a power of the depth, {power['pre']}.",
        ),
        Finding(
            "With post-norm it does not fall",
            is_no_higher(last["post", few], last["post", many]),
            f"It is {words['post', many]}, {words['post', few]}: as a power of the depth, {power['post']}.",
        ),
        Finding(
            f"At {many} layers the last gradient is larger with post-norm than with pre-norm",
            is_lower(last["pre", many], last["post", many]),
            f"It is {last['post', many].words(_three)} against {last['pre', many].words(_three)}.",
        ),
        Finding(
            "With post-norm the first gradient is smaller than the last",
            is_lower(first, last["post", many]),
            f"At {many} layers it is {first.words(_three)}, and the last {last['post', many].words(_three)}.",
        ),
        Finding(
            "With pre-norm the layers' gradients are of more even size than with post-norm",
            is_lower(uneven["pre"], uneven["post"]),
            f"The largest is {uneven['pre'].words(_three)} times the smallest, with post-norm "
            f"{uneven['post'].words(_three)} times, at {many} layers.",
        ),
    )
    return Judgement(
        findings,
        f"encoders of up to {many} layers and {result.settings.features} features that classify signals of MNIST-1D, "
        "ten tokens each, and no translation; nothing is trained, so what warm-up does is not asked.",
    )


def _three(value: float) -> str:
    return f"{value:.3g}"


def _two(value: float) -> str:
    return f"{value:.2f}"


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the last and the first gradient at each depth."""
    lines = [
        [str(depth), PLACES[place], *(result.spread(key, place=place, depth=depth).words(_three) for key in KEYS)]
        for depth, place in itertools.product(result.settings.depths, PLACES)
    ]
    how = (
        f"A block is attention in {result.settings.heads} heads, and two linear layers with ReLU between; the gradient "
        "is that of the second of these, as its Frobenius norm, of the cross-entropy of one batch of "
        f"{result.settings.signals} signals. Weights are drawn as Glorot and Bengio (2010) do. The power of the depth "
        "is the slope of a line through the logarithms, one for each seed; the theorem's bounds would be 0 and -1/2."
    )
    header = ["layers", "norm", "gradient of the first layer", "of the last"]
    return retell(PAPER, judge(result), [Table("At initialization", header, lines)], how)


KEYS = ("first", "last")


def draw(result: Measurements) -> Figure:
    """Draw the last gradient over the depth, and the gradient of each layer of the deepest nets."""
    figure, [[last, layers]] = panels(1, 2, "Gradients of a transformer at initialization", width=4.4)
    depths = result.settings.depths
    for place, label in PLACES.items():
        spreads = [result.spread("last", place=place, depth=depth) for depth in depths]
        ranges(last, depths, spreads, COLOUR_OF[place], label)
        by_layer = zip(*(row["all"] for row in result.pick(place=place, depth=depths[-1])), strict=True)
        ranges(layers, range(1, depths[-1] + 1), list(map(Spread.of, by_layer)), COLOUR_OF[place], label, marker="")
    start = result.spread("last", place="pre", depth=depths[0]).mean
    fall = [start * math.sqrt(depths[0] / depth) for depth in depths]
    last.plot(depths, fall, color="#999999", linestyle="dotted", label="1 / √depth")
    last.set(xscale="log", yscale="log", xticks=depths)
    last.xaxis.set_major_formatter("{x:g}")
    last.minorticks_off()
    layers.set(yscale="log")
    for axes in (last, layers):
        axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    dress(last, "of the last layer", "layers", "norm of the gradient")
    dress(layers, f"of each of {depths[-1]} layers", "layer")
    legend(last)
    return figure
