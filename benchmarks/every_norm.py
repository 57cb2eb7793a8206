"""Every norm of images that the zoo knows, both ways, beside batch norm and beside its own composition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.options import Options
from benchmarks.report import Ratio, Report, milliseconds, progress, ratio
from benchmarks.timing import Team, Timing
from tinygrad_norm.models.norms import OF_IMAGES

SHAPE = (32, 64, 32, 32)
SECONDS = 2.0
OWN, COMPOSED, BATCH = "own", "composed", "batch"


def measure(options: Options) -> dict[str, tuple[Timing, Ratio, Ratio]]:
    """Time each norm; return its milliseconds, and their ratios to batch norm's and to those of its composition."""
    found = {}
    for norm in OF_IMAGES:
        progress(norm)
        makers: dict[str, Callable[[], Callable[[], object]]] = {
            OWN: partial(step, norm, False),
            COMPOSED: partial(step, norm, True),
            BATCH: partial(step, "batch", False),
        }
        with Team() as team:
            timings = team.time(makers, SECONDS, options.rounds)
        own = timings[OWN]
        found[norm] = own, ratio(own, timings[BATCH]), ratio(own, timings[COMPOSED])
    return found


def step(norm: str, as_composed: bool) -> Callable[[], object]:
    """A call of the layer in training, and its way back."""
    from tinygrad_norm import Tensor, composed, grad
    from tinygrad_norm.models.norms import Norms

    layer, rng = Norms(norm)(SHAPE[1], "relu"), np.random.default_rng(0)
    n, channels, height, width = SHAPE
    images, dy = (  # as nets hand them on: the channels last in memory
        rng.normal(size=(n, height, width, channels)).astype(np.float32).transpose(0, 3, 1, 2) for _ in range(2)
    )
    x = Tensor(images, requires_grad=True)
    leaves: list[Tensor] = [x, *layer.parameters()]

    def call() -> object:
        with composed(as_composed):
            return grad(layer(x), leaves, dy)

    return call


def run(report: Report, options: Options) -> None:
    """Tabulate them."""
    shape = "×".join(map(str, SHAPE))
    report.say(f"## Every norm\n\nWith ReLU, on {shape} in float32, forward and backward; a ratio is that of medians.")
    rows = [
        [norm, milliseconds(own.median), str(over_batch), str(over_composed)]
        for norm, (own, over_batch, over_composed) in measure(options).items()
    ]
    report.table(["norm", "ms", "over batch norm", "over its composition"], rows)
