"""What E[x²] − E[x]² makes of a variance in float32, beside batch norm's own statistics."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.dtypes import Array
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story, Table
from tinygrad_norm.experiments.runs import short
from tinygrad_norm.experiments.spread import Spread, percent
from tinygrad_norm.figures import COLOURS, INK, Figure, legend
from tinygrad_norm.modes import composed

QUESTION = "How wrong is the variance E[x²] − E[x]² in float32, beside ours, as the mean outgrows the spread?"
METHODS = {"one pass": "E[x²] − E[x]²", "fused": "batch norm, fused", "composed": "batch norm, composed"}
AXES = (0, 2, 3)


@dataclass(frozen=True)
class Settings:
    """Normal values of standard deviation 1 around each mean."""

    means: tuple[float, ...] = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
    batch: int = 64
    channels: int = 256
    pixels: int = 16
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Settings()
QUICK = Settings(batch=32, channels=128)


def run(settings: Settings, progress: Progress) -> Measurements:
    """Compute each channel's variance in each way, and its distance from the float64 truth of the same values."""
    cases = list(itertools.product(settings.seeds, settings.means))
    progress.expect(len(cases))
    rows = []
    for seed, mean in cases:
        with progress.run(f"mean/std {mean:g}, seed {seed}", len(METHODS)) as tick:
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(mean),)))
            shape = settings.batch, settings.channels, settings.pixels, settings.pixels
            x = (mean + rng.standard_normal(shape)).astype(np.float32)
            truth = x.astype(np.float64).var(axis=AXES)
            for method in METHODS:
                rows.append({"mean": mean, "method": method, "seed": seed, **_errors(_variance(method, x), truth)})
                tick()
    return Measurements.of(settings, rows)


def _variance(method: str, x: Array) -> Array:
    """Return each channel's variance; at momentum 1 the running one is the batch's, up to the unbiased one's factor."""
    if method == "one pass":
        return np.asarray(np.square(x).mean(axis=AXES) - np.square(x.mean(axis=AXES)))
    mean, var = np.zeros((2, x.shape[1]), x.dtype)
    with composed(method == "composed"):
        ops.batch_norm(x, mean, var, training=True, momentum=1.0)
    count = x.size // x.shape[1]
    return var * np.float64((count - 1) / count)


def _errors(found: Array, truth: Array) -> dict[str, float]:
    error = np.abs(found - truth) / truth
    return {
        "median_error": short(float(np.median(error))),
        "largest_error": short(float(error.max())),
        "negative": float((found < 0).mean()),
    }


def tell(result: Measurements) -> Story:
    """Say from which mean on one pass is useless, and how far ours is off at most."""
    rows, means = result["rows"], result.settings.means
    useless = [mean for mean in means if result.spread("median_error", method="one pass", mean=mean).low > 1]
    negative = [mean for mean in means if _negative(result, mean).high > 0]
    ours = max(row["largest_error"] for row in rows if row["method"] != "one pass")
    summary = [
        f"From a mean of {useless[0]:g} standard deviations on, E[x²] − E[x]² is off by more than 100 % in more than "
        "half of the channels, at every seed."
        if useless
        else f"E[x²] − E[x]² is not off by more than 100 % in half of the channels up to {means[-1]:g}.",
        *(f"At {mean:g} it is negative in {_negative(result, mean).words(percent)} of channels." for mean in negative),
        f"Batch norm's own variance, fused and composed, is off by {_exponent(ours)} at most, at any mean.",
    ]
    table = Table(
        "Relative error of a channel's variance: the median channel, and the worst of all seeds",
        ["mean/std", *METHODS.values(), "negative variances, one pass"],
        [
            [
                f"{mean:g}",
                *(_cell(result, method, mean) for method in METHODS),
                _negative(result, mean).words(percent),
            ]
            for mean in means
        ],
    )
    how = (
        "Normal values of standard deviation 1 around each mean, in float32; the truth is the float64 variance of the "
        "same float32 values. The one-pass formula uses NumPy's float32 means, whose partial sums are kinder than one "
        "running sum. Ours are centred: the fused kernel's, and those of the composed definition, read off the running "
        "variance at momentum 1."
    )
    return Story(summary, [table], how)


def _cell(result: Measurements, method: str, mean: float) -> str:
    worst = result.spread("largest_error", method=method, mean=mean).high
    return f"{_exponent(result.spread('median_error', method=method, mean=mean).mean)}, worst {_exponent(worst)}"


def _negative(result: Measurements, mean: float) -> Spread:
    """Return the share of channels whose one-pass variance is below 0."""
    return result.spread("negative", method="one pass", mean=mean)


def _exponent(error: float) -> str:
    return f"{error:.0e}" if error < 0.01 else f"{100 * error:,.0f} %"


def draw(result: Measurements) -> Figure:
    """Draw the errors over the mean, and the share of negative variances."""
    means = result.settings.means
    figure, [[left, right]] = panels(1, 2, "The variance of float32 values whose mean outgrows their spread")
    for colour, (method, label) in zip((COLOURS[1], COLOURS[0], COLOURS[2]), METHODS.items(), strict=True):
        style = "dashed" if method == "composed" else "solid"
        spreads = [result.spread("median_error", method=method, mean=mean) for mean in means]
        ranges(left, means, spreads, colour, label, linestyle=style)
    left.axhline(1, color=INK, linewidth=0.8, linestyle="dotted")
    left.annotate(
        "100 % wrong", (means[-1], 1), (0, -10), textcoords="offset points", ha="right", color=INK, fontsize=8
    )
    left.set(xscale="log", yscale="log")
    dress(left, "relative error, median channel", "mean / standard deviation")
    legend(left)
    ranges(right, means, [_negative(result, mean) for mean in means], COLOURS[1], "")
    right.set_xscale("log")
    in_percent(right, decimals=0)
    dress(right, "channels with a negative E[x²] − E[x]²", "mean / standard deviation")
    return figure
