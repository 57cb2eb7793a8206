"""DyT and Derf in the place of layer norm, over the size of the training set: Zhu et al. and Chen et al., 2025."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

from tinygrad_norm import data, nn, optim, random
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.papers.mnist1d import mnist1d
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
from tinygrad_norm.experiments.papers.transformer import Encoder, MakeNorm
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Form, Spread, percent
from tinygrad_norm.figures import COLOURS, Figure, legend

QUESTION = "Do DyT and Derf generalize better than layer norm, or only fit less, with few and with many signals?"
PAPER = Paper(
    authors="J. Zhu et al. (DyT) and M. Chen et al. (Derf)",
    title="Transformers without Normalization, and Stronger Normalization-Free Transformers",
    year=2025,
    claim="DyT does as well as layer norm and Derf better, not because it fits the training set better but because it "
    "generalizes better. L. Verma (When Does Removing LayerNorm Help?, 2026) disputes it: DyT helps where data are few "
    "and harms where they are many.",
    number="82.3 % of ImageNet right by ViT-B with layer norm, 82.5 % with DyT, 82.8 % with Derf; Verma: GPT-2 of 64 "
    "million parameters has a validation loss 27.3 % lower with DyT at 1 million tokens, 18.8 % higher at 118 million.",
)
NORMS: dict[str, MakeNorm] = {
    "layer": nn.LayerNorm,
    "dyt": lambda features: nn.DynamicTanh(features, channels_last=True),
    "derf": lambda features: nn.DynamicErf(features, channels_last=True),
}
LABELS = {"layer": "layer norm", "dyt": "DyT", "derf": "Derf"}
COLOUR_OF = dict(zip(NORMS, COLOURS, strict=False))


@dataclass(frozen=True)
class Settings:
    """A pre-norm encoder, trained for as many steps of AdamW on some of the signals, without any regularization."""

    sizes: tuple[int, ...] = (250, 1000, 4000)
    features: int = 32
    heads: int = 4
    blocks: int = 2
    batch_size: int = 50
    steps: int = 500
    lr: float = 0.002
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, sizes=(100, 1000), features=16, blocks=1, steps=60)


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train with each norm on each number of signals, with each seed."""
    train, test = mnist1d()
    cases = list(itertools.product(settings.sizes, NORMS, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for size, norm, seed in cases:
        part = data.ArrayDataset(*train[:size], train.class_names)
        with progress.run(f"{LABELS[norm]}, {size} signals, seed {seed}", settings.steps) as tick:
            model = _trained(settings, NORMS[norm], seed, part, tick)
        fit, held_out = (runs.evaluate_dataset(model, each) for each in (part, test))
        rows.append({
            "size": size,
            "norm": norm,
            "seed": seed,
            "train_loss": runs.short(fit["loss"]),
            "test_loss": runs.short(held_out["loss"]),
            "gap": runs.short(held_out["loss"] - fit["loss"]),
            "test_error": runs.short(1 - held_out["accuracy"]),
        })  # fmt: skip
    return Measurements.of(settings, rows)


def _trained(
    settings: Settings, norm: MakeNorm, seed: int, dataset: data.ArrayDataset, tick: Callable[[], object]
) -> nn.Module:
    random.manual_seed(seed)
    model = Encoder(dataset.inputs.shape[1], settings.features, settings.heads, settings.blocks, norm)
    optimizer = optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=0.0)
    loader = data.DataLoader(dataset, settings.batch_size, shuffle=True, drop_last=True, seed=seed)
    runs.train_steps(model, optimizer, loader, settings.steps, tick)
    return model


def judge(result: Measurements) -> Judgement:
    """Hold DyT and Derf against layer norm at each size, and DyT's loss at the least and the greatest."""
    few, many = result.settings.sizes[0], result.settings.sizes[-1]
    seen = result.settings.steps * result.settings.batch_size / many
    findings = (
        _at_each(result, "DyT errs no more than layer norm", "test_error", "dyt", percent, is_no_higher),
        _at_each(result, "Derf errs less than layer norm", "test_error", "derf", percent, is_lower),
        _at_each(result, "Derf fits its training set less well", "train_loss", "derf", _three, _is_higher),
        _at_each(result, "Derf's test loss is less far above its training loss", "gap", "derf", _three, is_lower),
        _at_size(result, f"With {few} signals DyT has a lower test loss (Verma)", few, is_lower),
        _at_size(result, f"With {many} signals DyT has a higher test loss (Verma)", many, _is_higher),
    )
    return Judgement(
        findings,
        f"an encoder of {result.settings.blocks} blocks and {result.settings.features} features on {few} to {many:,} "
        f"signals of MNIST-1D, every size for as many steps, so that of the most each is seen {seen:.0f} times, and "
        "nothing tuned; the papers' nets are of millions of parameters, on ImageNet and text.",
    )


def _is_higher(a: Spread, b: Spread) -> Outcome:
    return is_lower(b, a)


Rule = Callable[[Spread, Spread], Outcome]


def _at_each(result: Measurements, claim: str, key: str, norm: str, form: Form, rule: Rule) -> Finding:
    sizes = result.settings.sizes
    pairs = [tuple(result.spread(key, norm=each, size=size) for each in (norm, "layer")) for size in sizes]
    said = [f"{a.words(form)} against {b.words(form)} at {size:,}" for size, (a, b) in zip(sizes, pairs, strict=True)]
    what = {"test_error": "test error", "train_loss": "training loss", "gap": "difference"}[key]
    outcome = together(rule(a, b) for a, b in pairs)
    return Finding(f"{claim}, at each size", outcome, f"The {what} is {'; '.join(said)} signals.")


def _at_size(result: Measurements, claim: str, size: int, rule: Rule) -> Finding:
    dyt, layer = (result.spread("test_loss", norm=norm, size=size) for norm in ("dyt", "layer"))
    return Finding(claim, rule(dyt, layer), f"It is {dyt.words(_three)} against {layer.words(_three)}.")


def _three(value: float) -> str:
    return f"{value:.3g}"


def tell(result: Measurements) -> Story:
    """Tell the verdict, with losses and errors at each size."""
    settings = result.settings
    keys: dict[str, Form] = {"train_loss": _three, "test_loss": _three, "test_error": percent}
    lines = [
        [
            f"{size:,}",
            LABELS[norm],
            *(result.spread(key, norm=norm, size=size).words(form) for key, form in keys.items()),
        ]
        for size, norm in itertools.product(settings.sizes, NORMS)
    ]
    how = (
        f"Encoders with pre-norm, {settings.blocks} blocks of attention in {settings.heads} heads and two linear "
        f"layers, are trained on the first signals of the training set for {settings.steps} steps of "
        f"{settings.batch_size}, by AdamW at {settings.lr:g} without decay, dropout or augmentation. α begins with "
        "0.5. Losses are those in inference at the end, on all signals trained on and on 1,000 others; 90 % would be a "
        "guess. Four parts of the claim are those of the two papers, two Verma's."
    )
    header = ["signals", "norm", "training loss", "test loss", "test error"]
    return retell(PAPER, judge(result), [Table("At the end", header, lines)], how)


def draw(result: Measurements) -> Figure:
    """Draw training loss, test loss and test error over the size of the training set."""
    figure, [row] = panels(1, 3, "Layer norm, DyT and Derf over the size of the training set", width=3.4)
    sizes = result.settings.sizes
    for axes, key, title in zip(
        row, ("train_loss", "test_loss", "test_error"), ("training loss", "test loss", "test error"), strict=True
    ):
        for norm, label in LABELS.items():
            spreads = [result.spread(key, norm=norm, size=size) for size in sizes]
            ranges(axes, sizes, spreads, COLOUR_OF[norm], label)
        axes.set(xscale="log", xticks=sizes)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        dress(axes, title, "signals trained on")
    row[0].set(yscale="log")
    in_percent(row[2], 0)
    legend(row[2])
    return figure
