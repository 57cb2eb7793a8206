"""Every norm layer, both ways, beside batch norm and beside its own composition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.options import Options
from benchmarks.report import Ratio, Report, milliseconds, progress, ratio
from benchmarks.timing import Team, Timing
from tinygrad_norm.certificate.norm_examples import NORMS
from tinygrad_norm.dtypes import Array

SIZES = {"N": 32, "C": 64, "L": 1024, "D": 1, "H": 32, "W": 32, "K": 10}
"""Of images; sequences and volumes have as many values."""
SMALL = {"N": 3, "C": 4, "L": 4, "D": 1, "H": 2, "W": 2, "K": 3}
"""To see that it works."""
SECONDS = 2.0
OWN, COMPOSED, BATCH = "own", "composed", "batch"


class Measured(NamedTuple):
    """A norm's time, and its ratios to batch norm's and to that of its composition."""

    own: Timing
    over_batch: Ratio
    over_composed: Ratio

    def cells(self) -> list[str]:
        """The cells of its row."""
        return [milliseconds(self.own.median), str(self.over_batch), str(self.over_composed)]


def layers() -> list[str]:
    """Return the layers that are timed; one of images stands for that of sequences."""
    return [name for name in sorted(NORMS) if not (name.endswith("1D") and f"{name[:-2]}2D" in NORMS)]


def measure(options: Options, sizes: Mapping[str, int] = SIZES) -> dict[str, Measured]:
    """Time each norm layer, at these sizes."""
    found = {}
    with Team() as team:
        for layer in layers():
            progress(layer)
            makers: dict[str, Callable[[], Callable[[], object]]] = {
                OWN: partial(step, layer, False, sizes),
                COMPOSED: partial(step, layer, True, sizes),
                BATCH: partial(step, "BatchNorm2D", False, sizes),
            }
            timings = team.time(makers, SECONDS, options.rounds)
            own = timings[OWN]
            found[layer] = Measured(own, ratio(own, timings[BATCH]), ratio(own, timings[COMPOSED]))
    return found


def step(layer: str, as_composed: bool, sizes: Mapping[str, int]) -> Callable[[], object]:
    """A call of the layer in training, and its way back."""
    from tinygrad_norm import Tensor, composed, grad

    example, rng = NORMS[layer][0], np.random.default_rng(0)
    made, (x, *others) = make(layer, sizes), example.draw(sizes, rng, np.float32)
    if example.axes.startswith("NC"):  # as nets hand them on: the channels last in memory
        x, *others = [_channels_last(each) if each.ndim == x.ndim else each for each in (x, *others)]
    dy = np.empty_like(x)
    dy[...] = rng.normal(size=x.shape)
    given = Tensor(x, requires_grad=True)
    leaves: list[Tensor] = [given, *made.parameters()]

    def call() -> object:
        with composed(as_composed):
            return grad(made(given, *others), leaves, dy)

    return call


def _channels_last(images: Array) -> Array:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(images, 1, -1)), -1, 1)


def make(layer: str, sizes: Mapping[str, int]) -> Any:
    """Make a layer with ReLU: as the zoo has it by name, or with its own defaults."""
    from tinygrad_norm.certificate.norm_examples import make_norm
    from tinygrad_norm.models.norm_catalog import zoo_name
    from tinygrad_norm.models.norms import Norms

    if name := zoo_name(layer):
        return Norms(name)(sizes["C"], "relu")
    return make_norm(layer, NORMS[layer][0]._replace(options={}), sizes, activation="relu")


def run(report: Report, options: Options) -> None:
    """Tabulate them."""
    shape = "×".join(str(SIZES[axis]) for axis in "NCHW")
    report.say(
        f"## Every norm\n\nWith ReLU, on {shape} in float32, forward and backward; a ratio is the median by round."
    )
    rows = [[layer, *measured.cells()] for layer, measured in measure(options).items()]
    report.table(["norm", "ms", "over batch norm", "over its composition"], rows)
