"""Layers by themselves, in the shapes of the zoo: over PyTorch's, and over what the machine can do."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

from benchmarks import machine, targets
from benchmarks.contenders import CAPTURED, OURS
from benchmarks.kernel_makers import our_run, our_small_op, torch_run, torch_small_op
from benchmarks.memory import in_new_process
from benchmarks.nets import BATCH
from benchmarks.options import Options
from benchmarks.report import Ratio, Report, fastest, milliseconds, progress, ratio
from benchmarks.timing import Maker, Team, Timing

TURN_MS = 25.0
SECONDS = 0.4
HEADER = ["", OURS, "PyTorch", "layout", "ratio (10–90 %)", "by minima"]


class Layer(NamedTuple):
    """A kind of layer, what makes it, and the shape of what it is given, (channels, side) or (channels,)."""

    kind: str
    arguments: tuple[int, ...]
    image: tuple[int, ...]
    relu: bool = False
    shrinks: int = 1
    """How many values become one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        channels, *side = self.image
        return (BATCH, channels, *side, *side)

    @property
    def title(self) -> str:
        """What it is, and of which size."""
        channels, *side = self.image
        size = f"{channels} × {side[0]}²" if side else f"{channels}"
        return f"{self.kind}{' and ReLU' if self.relu else ''}, {size}"

    @property
    def small(self) -> bool:
        """Whether there is so little of it that calls count."""
        return self.image == (256,) or self.image[-1] <= 8

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes read and written: forward x and y; backward x, dx and dy besides."""
        size = math.prod(self.shape)
        y = size // self.shrinks
        return 4 * (size + y), 4 * (3 * size + 2 * y)


def convolution(inputs: int, outputs: int, kernel: int, side: int, groups: int = 1) -> Layer:
    """A convolution that keeps the size."""
    return Layer("convolution", (inputs, outputs, kernel, groups), (inputs, side))


CONVOLUTIONS = {
    "3×3, 64 → 64, 32²": convolution(64, 64, 3, 32),
    "3×3, 128 → 128, 16²": convolution(128, 128, 3, 16),
    "3×3, 256 → 256, 8²": convolution(256, 256, 3, 8),
    "3×3, 512 → 512, 4²": convolution(512, 512, 3, 4),
    "1×1, 16 → 96, 32²": convolution(16, 96, 1, 32),
    "1×1, 40 → 240, 8²": convolution(40, 240, 1, 8),
    "depthwise 3×3, 32, 32²": convolution(32, 32, 3, 32, 32),
    "depthwise 5×5, 144, 16²": convolution(144, 144, 5, 16, 144),
    "depthwise 7×7, 96, 16²": convolution(96, 96, 7, 16, 96),
    "depthwise 7×7, 384, 4²": convolution(384, 384, 7, 4, 384),
}
NORM_IMAGES: dict[str, list[tuple[int, ...]]] = {
    "batch": [(64, 32), (128, 16), (256, 8), (512, 4)],
    "batch rows": [(256,)],
    "layer": [(256,)],
    "layer2d": [(96, 16), (192, 8), (768, 2)],
    "group": [(64, 32), (256, 8)],
    "instance": [(64, 32), (256, 8)],
    "rms": [(256,)],
    "rms2d": [(64, 32)],
}
NORMS = [
    Layer(kind, image[:1], image, relu)
    for kind, images in NORM_IMAGES.items()
    for image in images
    for relu in (False, True)
]
OTHERS = [
    Layer("max pool", (2,), (64, 32), shrinks=4),
    Layer("average pool", (2,), (64, 32), shrinks=4),
    Layer("global average pool", (), (512, 4), shrinks=16),
    Layer("ReLU", (), (64, 32)),
    Layer("SiLU", (), (96, 32)),
    Layer("GELU", (), (384, 16)),
]


def convolutions(report: Report, options: Options) -> None:
    """Convolutions, over PyTorch's, and as a fraction of the rate of a matrix product."""
    rate = in_new_process(machine.product_rate)
    report.say(
        f"## Convolutions, batch {BATCH}\n\nGFLOP/s are those of the direct algorithm, whatever was done, and their "
        f"fraction is of a matrix product of 2048 × 2048 float32 by NumPy: {rate:.0f} GFLOP/s."
    )
    rows = []
    with Team(TURN_MS) as team:
        for title, layer in CONVOLUTIONS.items():
            inputs, outputs, kernel, groups = layer.arguments
            flops = 2 * BATCH * inputs // groups * outputs * kernel**2 * layer.image[1] ** 2
            for backward in (False, True):
                ours, _, cells, _ = compare(team, title, layer, backward, options)
                done = flops * (3 if backward else 1) / ours.median / 1e6
                rows.append([*cells, f"{done:.0f}", f"{done / rate:.2f}"])
    report.table([*HEADER, "GFLOP/s", "of the product's"], rows)


def norms(report: Report, options: Options) -> None:
    """Norms with and without activation, over PyTorch's, and as a fraction of the bandwidth of a copy."""
    bandwidth_bound(report, options, "Norms", NORMS, judged=True)


def others(report: Report, options: Options) -> None:
    """Pooling and activations, likewise, and the overhead of one small op."""
    bandwidth_bound(report, options, "Pooling and activations", OTHERS, judged=False)
    title = "product of 64 numbers, recorded, forward and backward"
    progress(title)
    with Team() as team:
        timings = team.time({OURS: our_small_op, "PyTorch": torch_small_op}, 2.0, options.rounds)
    report.say("## One small op")
    report.timings(title, timings)
    report.judge(title, ratio(timings[OURS], timings["PyTorch"]).median, targets.SMALL_OP)


def bandwidth_bound(report: Report, options: Options, title: str, layers: list[Layer], judged: bool) -> None:
    """Compare layers whose work is to read and to write; those that are judged are replayed too."""
    bandwidth = in_new_process(machine.copy_bandwidth)
    report.say(
        f"## {title}, batch {BATCH}\n\nThe fraction is of a copy of 256 MB by all threads, which reads and writes "
        f"{bandwidth:.1f} GB/s: x and y count once forward, x, dx and dy once backward, whatever else is read; what "
        f"stays in the cache can be faster."
    )
    rows = []
    with Team(TURN_MS) as team:
        for layer in layers:
            for backward in (False, True):
                ours, found, cells, captured = compare(team, layer.title, layer, backward, options, judged)
                cells.append(f"{layer.moved[backward] / ours.median / 1e6 / bandwidth:.2f}")
                if captured is not None:
                    cells += report.judge(cells[0], found.median, targets.NORM).row()[2:]
                    target = targets.SMALL_NORM if layer.small else targets.NORM
                    cells += [str(captured), *report.judge(f"{cells[0]}, captured", captured.median, target).row()[2:]]
                rows.append(cells)
    more = ["target", "", "captured", "target", ""] if judged else []
    report.table([*HEADER, "of the copy's", *more], rows)


def compare(
    team: Team, title: str, layer: Layer, backward: bool, options: Options, captured: bool = False
) -> tuple[Timing, Ratio, list[str], Ratio | None]:
    """Time a layer.

    Returns:
        our time, the ratio to PyTorch's fastest layout, the cells that tell both, and that ratio of a replay.
    """
    title += ", forward and backward" if backward else ", inference"
    progress(title)
    run = (layer.kind, layer.arguments, layer.relu, layer.shape, backward)
    forms: dict[str, Maker] = {"default": partial(torch_run, *run)}
    if len(layer.shape) == 4:
        forms["channels-last"] = partial(torch_run, *run, last=True)
    own: dict[str, Maker] = {OURS: partial(our_run, *run)}
    if captured:
        own[CAPTURED] = partial(our_run, *run, captured=True)
    timings = team.time({**own, **forms}, SECONDS, options.rounds, rivals=forms)
    form = fastest(timings, forms)
    ours, theirs = timings[OURS], timings[form]
    found = ratio(ours, theirs)
    cells = [title, milliseconds(ours.median), milliseconds(theirs.median), form, str(found), f"{found.least:.2f}"]
    return ours, found, cells, ratio(timings[CAPTURED], theirs) if captured else None
