"""Training batch norm's weights and biases and nothing else, over the depth: Frankle, Schwab and Morcos, 2021."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_norm import data, nn, optim, random
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.papers.nets import residual_net
from tinygrad_norm.experiments.papers.paper import Finding, Judgement, Paper, is_lower, retell, together
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, Figure, legend
from tinygrad_norm.modes import eager
from tinygrad_norm.nn.module import Parameter

QUESTION = "How far does a net of random weights get, of which only batch norm's weights and biases are trained?"
PAPER = Paper(
    authors="J. Frankle, D. J. Schwab and A. S. Morcos",
    title="Training BatchNorm and Only BatchNorm: On the Expressive Power of Random Features in CNNs",
    year=2021,
    claim="With all other weights left as they were drawn, training γ and β alone goes far, the further the deeper the "
    "net, and much further than training as many weights elsewhere, chosen at random.",
    number="82 % on CIFAR-10, and 32 % (top five) on ImageNet, in ResNets that are deep enough.",
)
TRAINED = {"affine": "γ and β alone", "random": "as many other weights"}
COLOUR_OF = {"affine": COLOURS[0], "random": COLOURS[1]}


@dataclass(frozen=True)
class Settings:
    """Residual nets of 4 · blocks + 2 layers on digits, trained by SGD with momentum 0.9."""

    blocks: tuple[int, ...] = (1, 3, 8)
    width: int = 16
    images: int | None = None
    lr: float = 0.1
    batch_size: int = 64
    steps: int = 400
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Settings()
QUICK = replace(FULL, blocks=(1, 2), width=8, steps=80)


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train γ and β, or as many weights of convolutions, at each depth with each seed."""
    sets = runs.standard_digits(images=settings.images)
    cases = list(itertools.product(settings.blocks, TRAINED, settings.seeds))
    progress.expect(len(cases))
    rows = []
    for blocks, trained, seed in cases:
        with progress.run(f"{4 * blocks + 2} layers, {TRAINED[trained]}, seed {seed}", settings.steps) as tick, eager():
            random.manual_seed(seed)
            model = residual_net("batch", blocks, settings.width)
            masks = masked(model, trained, np.random.default_rng(seed))
            optimizer = PartSGD(masks, settings.lr)
            loader = data.DataLoader(sets[0], settings.batch_size, shuffle=True, drop_last=True, seed=seed)
            found = runs.train_steps(model, optimizer, loader, settings.steps, tick)
        rows.append({
            "blocks": blocks,
            "trained": trained,
            "seed": seed,
            "parameters": sum(int(mask.sum()) for mask in masks.values()),
            "of": sum(parameter.size for parameter in model.parameters()),
            "diverged": found.diverged,
            "train_accuracy": runs.short(float(np.mean(found.accuracies[-20:]))),
            "test_accuracy": runs.short(runs.evaluate_dataset(model, sets[1])["accuracy"]),
        })  # fmt: skip
    return Measurements.of(settings, rows)


def masked(model: nn.Module, trained: str, generator: np.random.Generator) -> dict[Parameter, Array]:
    """Draw γ from [0, 1] as the paper does, and return which entries of which parameters are to be trained.

    That is all of γ and β, or of each convolution two weights for each channel that it gives, which are as many; the
    other parameters ask for no gradient.
    """
    masks: dict[Parameter, Array] = {}
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2D) and layer.weight is not None and layer.bias is not None:
            gamma, beta = layer.weight, layer.bias
            gamma.replace(generator.random(gamma.shape).astype(gamma.dtype))
            if trained == "affine":
                masks |= {gamma: np.ones(gamma.shape), beta: np.ones(beta.shape)}
        if isinstance(layer, nn.Conv2D) and trained == "random":
            mask = np.zeros(layer.weight.size)
            mask[generator.choice(mask.size, 2 * layer.weight.shape[0], replace=False)] = 1
            masks[layer.weight] = mask.reshape(layer.weight.shape)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in masks)
    return masks


class PartSGD(optim.SGD):
    """SGD with momentum 0.9 that moves only the entries of parameters whose mask is 1, when run op by op."""

    def __init__(self, masks: dict[Parameter, Array], lr: float) -> None:
        super().__init__(list(masks), lr=lr, momentum=0.9)
        self.masks = {parameter: mask.astype(parameter.dtype) for parameter, mask in masks.items()}

    def step(self, *arguments: Any) -> Any:
        for parameter, mask in self.masks.items():
            if parameter.grad is not None:
                parameter.grad.replace(parameter.grad.raw * mask)
        return super().step(*arguments)


def accuracy(result: Measurements, trained: str, blocks: int) -> Spread:
    """Return the test accuracy at one depth over the seeds."""
    return result.spread("test_accuracy", trained=trained, blocks=blocks)


def judge(result: Measurements) -> Judgement:
    """Compare the deepest net with the shallowest, and γ and β with other weights at each depth."""
    settings = result.settings
    depths = settings.blocks
    shallow, deep = (accuracy(result, "affine", blocks) for blocks in (min(depths), max(depths)))
    pairs = [(accuracy(result, "random", blocks), accuracy(result, "affine", blocks)) for blocks in depths]
    row = result.pick(blocks=max(depths), trained="affine")[0]
    beside = [f"{affine.words(percent)} against {other.words(percent)}" for other, affine in pairs]
    findings = (
        Finding(
            "With γ and β alone the deepest net is better than the shallowest",
            is_lower(shallow, deep),
            f"Test accuracy is {deep.words(percent)} with {_layers(max(depths))} layers ({row['parameters']:,} of "
            f"{row['of']:,} parameters trained), {shallow.words(percent)} with {_layers(min(depths))}. A guess: 10 %.",
        ),
        Finding(
            "γ and β go further than as many other weights, at each depth",
            together(is_lower(*pair) for pair in pairs),
            f"{'; '.join(beside)}, with {', '.join(str(_layers(blocks)) for blocks in depths)} layers.",
        ),
    )
    return Judgement(
        findings,
        f"nets of {_layers(min(depths))} to {_layers(max(depths))} layers with {settings.width} and "
        f"{2 * settings.width} channels on 8×8 digits, {settings.steps} steps; the paper's have up to 866 layers, on "
        "CIFAR-10 and ImageNet.",
    )


def _layers(blocks: int) -> int:
    return 4 * blocks + 2


def tell(result: Measurements) -> Story:
    """Tell the verdict, with the accuracies and how many parameters were trained."""
    lines = []
    for blocks, (trained, name) in itertools.product(result.settings.blocks, TRAINED.items()):
        rows = result.pick(blocks=blocks, trained=trained)
        counts = f"{rows[0]['parameters']:,} of {rows[0]['of']:,}"
        on_training = result.spread("train_accuracy", blocks=blocks, trained=trained).words(percent)
        tested = accuracy(result, trained, blocks).words(percent)
        lines.append([str(_layers(blocks)), name, counts, on_training, tested])
    how = (
        f"SGD at learning rate {result.settings.lr:g} and batches of {result.settings.batch_size}. γ begins uniform in "
        "[0, 1], as in the paper, and β at 0. The other weights are two for each channel of each convolution, drawn at "
        "random, with γ and β left as they began. The last, linear layer is trained in neither case. Training accuracy "
        "is that of the last 20 batches."
    )
    header = ["layers", "trained", "parameters", "training accuracy", "test accuracy"]
    return retell(PAPER, judge(result), [Table("Over the depth", header, lines)], how)


def draw(result: Measurements) -> Figure:
    """Draw the accuracy over the depth."""
    figure, [[axes]] = panels(1, 1, "What γ and β alone can do", width=5.6)
    figure.set_figheight(3.8)
    depths = result.settings.blocks
    for trained, label in TRAINED.items():
        spreads = [accuracy(result, trained, blocks) for blocks in depths]
        ranges(axes, [_layers(blocks) for blocks in depths], spreads, COLOUR_OF[trained], label)
    axes.axhline(0.1, color="#999999", linestyle="dotted", label="a guess")
    axes.set_xscale("log")
    axes.set_xticks([_layers(blocks) for blocks in depths], [str(_layers(blocks)) for blocks in depths])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    in_percent(axes)
    dress(axes, "all other weights as they were drawn", "layers", "test accuracy")
    legend(axes)
    return figure
