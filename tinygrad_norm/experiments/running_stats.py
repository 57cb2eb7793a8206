"""Running statistics over the steps of training, beside those of the whole data at the weights of the moment."""

from __future__ import annotations

import itertools
import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_norm import data, nn, ops
from tinygrad_norm.doctor.norm_units import norms_held
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments import runs
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.spread import Spread, compare_spreads, percent
from tinygrad_norm.figures import COLOURS, INK, Axes, Figure, legend
from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.normalization import RunningNorm
from tinygrad_norm.nn.training_mode import frozen_paths, in_inference, in_training
from tinygrad_norm.tensor import Tensor

QUESTION = (
    "How fast do batch norm's running statistics follow the true ones, and how far apart are training and inference?"
)
Sets = tuple[data.ArrayDataset, data.ArrayDataset]
MEASURES = ("running_mean", "true_mean", "running_var", "true_var")


@dataclass(frozen=True)
class Settings:
    """A narrow net with batch norm, trained by SGD with momentum 0.9 for each momentum of its running statistics."""

    model: str = "vgg16"
    width: float = 0.25
    image_size: int = 32
    images: int | None = None
    momenta: tuple[float | None, ...] = (0.1, 0.01, None)
    lr: float = 0.02
    batch_size: int = 32
    measured_at: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 400)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = Settings(width=0.125, image_size=20, images=256, measured_at=(1, 2, 5, 10, 20, 50, 100), seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train, and stop now and then to compare the running statistics with the true ones and the two modes' outputs."""
    sets = runs.standard_digits(settings.image_size, settings.images)
    cases = list(itertools.product(settings.seeds, settings.momenta))
    progress.expect(len(cases))
    rows = [_train(settings, sets, seed, momentum, progress) for seed, momentum in cases]
    return Measurements.of(settings, rows)


def _train(settings: Settings, sets: Sets, seed: int, momentum: float | None, progress: Progress) -> dict[str, Any]:
    def look(model: nn.Module) -> dict[str, Any]:
        return _measure(model, *sets, settings.batch_size)

    hyper = runs.Hyperparameters(settings.batch_size, settings.lr, seed, settings.measured_at[-1])
    make, label = partial(create, settings, momentum), f"momentum {momentum}, seed {seed}"
    at = dict.fromkeys(settings.measured_at, look)
    model, run = runs.train_anew(hyper, make, sets[0], progress, label, at=at)
    nothing = _blank(look(model)) if run.diverged else {}
    measured = [{"step": step, **run.seen.get(step, nothing)} for step in settings.measured_at]
    return {"momentum": momentum, "seed": seed, "diverged": run.diverged, "losses": run.losses, "measured": measured}


def _measure(model: nn.Module, train: data.ArrayDataset, test: data.ArrayDataset, batch_size: int) -> dict[str, Any]:
    with np.errstate(all="ignore"), no_grad(), norms_held(model) as norms:  # a run may diverge
        return {
            **_gap(model, data.DataLoader(test, batch_size, drop_last=True)),
            "layers": _layers(model, norms, train),
        }


def _blank(value: Any) -> Any:
    """Return a copy of nested lists and dicts with NaN for every number."""
    if isinstance(value, dict):
        return {key: _blank(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_blank(item) for item in value]
    return math.nan if isinstance(value, float) else value


def create(settings: Settings, momentum: float | None) -> nn.Module:
    """Create the net with this momentum, and without dropout, which would set the modes apart too."""
    return runs.without_dropout(runs.make_net(settings, partial(nn.BatchNorm2D, momentum=momentum)))


def _layers(model: nn.Module, norms: dict[str, RunningNorm], dataset: data.ArrayDataset) -> list[dict[str, Any]]:
    """Return how far the running statistics of each norm are from those of the whole data as one batch."""
    seen: dict[RunningNorm, tuple[Array, Array]] = {}

    def look(layer: Any, args: tuple[Any, ...]) -> None:
        x = np.asarray(args[0].raw, np.float64)
        seen[layer] = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)

    with in_training(model, frozen_paths(model)), ExitStack() as hooks:
        for layer in norms.values():
            hooks.enter_context(layer.register_forward_pre_hook(look))
        model(Tensor(dataset.inputs))
    return [{"layer": path, **_distance(layer, *seen[layer])} for path, layer in norms.items()]


def _distance(layer: RunningNorm, mean: Array, var: Array) -> dict[str, Any]:
    running_mean, running_var = (np.asarray(b.raw, np.float64) for b in (layer.running_mean, layer.running_var))
    offset = (running_mean - mean) / np.sqrt(var + layer.eps)
    ratio = np.log((running_var + layer.eps) / (var + layer.eps))
    channel = zip(MEASURES, (running_mean[0], mean[0], running_var[0], var[0]), strict=True)
    return {
        "mean_error": runs.short(float(np.sqrt(np.square(offset).mean()))),
        "var_ratio": runs.short(float(np.exp(ratio.mean()))),
        "first_channel": {name: runs.short(float(value)) for name, value in channel},
    }


def _gap(model: nn.Module, loader: data.DataLoader) -> dict[str, float]:
    """Return how far the outputs of the two modes are apart, relative to their spread; and the loss in each mode."""
    outputs = []
    for modes in (in_training(model, frozen_paths(model)), in_inference(model)):
        with modes:
            outputs.append(np.concatenate([model(Tensor(inputs)).raw for inputs, _ in loader]))
    training, inference = outputs
    targets = np.concatenate([targets for _, targets in loader])
    return {
        "gap": runs.short(float(np.sqrt(np.square(training - inference).mean()) / training.std())),
        "training_loss": runs.short(ops.cross_entropy(Tensor(training), targets).item()),
        "inference_loss": runs.short(ops.cross_entropy(Tensor(inference), targets).item()),
    }


def tell(result: Measurements) -> Story:
    """Compare the momenta at the end of training; tabulate the gap over the steps."""
    settings = result.settings
    momenta, steps = settings.momenta, settings.measured_at
    last = {momentum: _gaps(result, momentum)[-1] for momentum in momenta}
    order = sorted(momenta, key=lambda momentum: last[momentum].mean)
    best = order[0]
    summary = [
        compare_spreads(
            f"After {steps[-1]} steps, the gap between training and inference outputs at {_name(best)}",
            last[best],
            f"at {_name(other)}",
            last[other],
            percent,
            words=("smaller", "larger"),
        )
        for other in order[1:]
    ]
    summary += [
        f"At {_name(momentum)}, the running means end {_error(result, momentum).words(_two)} standard "
        f"deviations from the true ones, on average over the layers; {_under_half(result, momentum)}."
        for momentum in momenta
    ]
    if diverged := sum(row["diverged"] is not None for row in result["rows"]):
        runs = f"{diverged} of {len(result['rows'])} runs diverged (NaN or infinity)"
        summary.append(f"{runs}; from there on, their gaps count as infinite.")
    header = [
        "step",
        *(f"{_name(momentum)}: gap" for momentum in momenta),
        *(f"{_name(m)}: inference loss" for m in momenta),
    ]
    table = [
        [
            str(step),
            *(_gaps(result, momentum)[index].words(percent) for momentum in momenta),
            *(_gaps(result, momentum, "inference_loss")[index].words(_two) for momentum in momenta),
        ]
        for index, step in enumerate(steps)
    ]
    training_loss = _gaps(result, momenta[0], "training_loss")[-1].words(_two)
    how = (
        "The true statistics are those of all training images as one batch, at the weights of the moment. The gap is "
        "the root mean square of the difference between the outputs in training mode (batch statistics) and in "
        "inference mode (running ones) on test images, over the outputs' standard deviation. The loss in training mode "
        f"ends at {training_loss}. Running statistics do not enter training: the weights are the same for every "
        "momentum. Momentum is the weight of the new value; None is the plain average of all batches since the start."
    )
    return Story(summary, [Table("Training mode against inference mode, on test images", header, table)], how)


def _name(momentum: float | None) -> str:
    return f"momentum {momentum}"


def _two(value: float) -> str:
    return f"{value:.2g}"


def _gaps(result: Measurements, momentum: float | None, key: str = "gap") -> list[Spread]:
    """Return the gap at each step that was measured, over the seeds."""
    measured = [row["measured"] for row in result.pick(momentum=momentum)]
    return [Spread.of(moment[key] for moment in moments) for moments in zip(*measured, strict=True)]


def _error(result: Measurements, momentum: float | None) -> Spread:
    """Return the error of the running means in the end, on average over the layers."""
    ends = [row["measured"][-1]["layers"] for row in result.pick(momentum=momentum)]
    return Spread.of(sum(layer["mean_error"] for layer in layers) / len(layers) for layers in ends)


def _under_half(result: Measurements, momentum: float | None) -> str:
    """Return the step from which on every seed's gap is small."""
    steps, gaps = result.settings.measured_at, _gaps(result, momentum)
    late = [step for index, step in enumerate(steps) if all(gap.high < 0.5 for gap in gaps[index:])]
    return f"the gap is under 50 % from step {late[0]} on" if late else f"the gap is not yet under 50 % at {steps[-1]}"


def draw(result: Measurements) -> Figure:
    """Draw two channels with their true values, the gap, and the distance of each layer at each momentum."""
    settings = result.settings
    momenta, steps = settings.momenta, settings.measured_at
    figure, (top, bottom) = panels(
        2, 3, "How fast running statistics follow the true ones, for each momentum", sharex=True
    )
    for axes, layer, kind in ((top[0], 0, "mean"), (top[1], -1, "var")):
        _draw_channel(axes, result, layer, kind)
    for colour, momentum in zip(COLOURS, momenta, strict=False):
        ranges(top[2], steps, _gaps(result, momentum), colour, _name(momentum))
    top[2].plot([], [], color=INK, linestyle="dashed", linewidth=2, label="whole data (left)")
    legend(top[2], loc="upper left")
    in_percent(top[2])
    top[2].set_ylim(bottom=0)
    dress(top[2], "gap between the modes’ outputs")
    for axes, momentum in zip(bottom, momenta, strict=False):
        _draw_layers(axes, result, momentum)
    top[0].set_xscale("log")
    top[0].xaxis.set_major_formatter("{x:g}")
    bottom[0].set_ylabel("distance / standard deviation", color=INK)
    highest = max(axes.get_ylim()[1] for axes in bottom)
    for axes in bottom:
        axes.set_ylim(0, highest)
    return figure


def _draw_channel(axes: Axes, result: Measurements, layer: int, kind: str) -> None:
    """Draw one channel of the first seed, in the colours of the gap's panel, beside the truth."""
    settings, steps = result.settings, result.settings.measured_at
    for number, (colour, momentum) in enumerate(zip(COLOURS, settings.momenta, strict=False)):
        moments = result.pick(momentum=momentum)[0]["measured"]
        channel = [moment["layers"][layer]["first_channel"] for moment in moments]
        if not number:
            true = [values[f"true_{kind}"] for values in channel]
            axes.plot(steps, true, color=INK, linestyle="dashed", linewidth=2)
        running = [values[f"running_{kind}"] for values in channel]
        axes.plot(steps, running, color=colour, marker="o", markersize=3.5)
    place = "first" if layer == 0 else "last"
    dress(axes, f"{'mean' if kind == 'mean' else 'variance'} of a channel, {place} norm")


def _draw_layers(axes: Axes, result: Measurements, momentum: float | None) -> None:
    from matplotlib import colormaps

    steps, rows = result.settings.measured_at, result.pick(momentum=momentum)
    count = len(rows[0]["measured"][0]["layers"])
    for layer in range(count):
        errors = [[moment["layers"][layer]["mean_error"] for moment in row["measured"]] for row in rows]
        shade = colormaps["viridis_r"](0.1 + 0.9 * layer / max(count - 1, 1))
        label = {0: "first norm", count - 1: "last norm"}.get(layer)
        axes.plot(steps, np.mean(errors, axis=0), color=shade, linewidth=1.3, label=label)
    dress(axes, f"running mean’s distance, {_name(momentum)}", "step")
    legend(axes)
