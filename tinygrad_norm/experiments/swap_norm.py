"""Batch norm swapped for layer norm in one block and everywhere, over batch sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from tinygrad_norm import models, nn
from tinygrad_norm.experiments import batch_sizes
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story
from tinygrad_norm.experiments.runs import make_net
from tinygrad_norm.figures import Figure

QUESTION = "What does layer norm in place of batch norm change, in one block and everywhere, at batches of 2 to 64?"
BATCH, ONE_BLOCK, EVERYWHERE = VARIANTS = "batch norm", "layer norm in one block", "layer norm everywhere"


@dataclass(frozen=True, kw_only=True)
class Settings(batch_sizes.Sweep):
    """A sweep with the path of the block whose norms are swapped."""

    block: str = "layer3.0"


FULL = Settings(model="resnet18", width=0.25, epochs=4, lr=0.05, batch_sizes=(2, 4, 8, 16, 32, 64))
QUICK = replace(FULL, width=0.125, image_size=16, images=192, epochs=3, batch_sizes=(2, 8, 16), seeds=(0, 1, 2))


def run(settings: Settings, progress: Progress) -> Measurements:
    """Train the three nets at each batch size."""
    nets: dict[str, Callable[[], nn.Module]] = {
        BATCH: partial(make_net, settings, "batch"),
        ONE_BLOCK: partial(swapped, settings),
        EVERYWHERE: partial(make_net, settings, "layer"),
    }
    return Measurements.of(settings, batch_sizes.train_each(settings, nets, progress))


def swapped(settings: Settings) -> nn.Module:
    """Swap the norms of one block. The weights are those of batch norm everywhere, for a norm draws none."""
    model = make_net(settings, "batch")
    models.replace_norm(model, settings.block, "layer")
    return model


def tell(result: Measurements) -> Story:
    """Compare the swapped nets with the original at each batch size, and each with itself over the sizes."""
    summary = [
        *batch_sizes.compare_with(result, BATCH, (ONE_BLOCK, EVERYWHERE)),
        *batch_sizes.compare_sizes(result, VARIANTS),
    ]
    how = (
        f"{batch_sizes.procedure(result)} The one block is {result.settings.block}. Layer norm is that of "
        "images, over the channels at each pixel: it does not see the batch, and is the same in training and inference."
    )
    return Story(summary, batch_sizes.error_tables(result, VARIANTS), how)


def draw(result: Measurements) -> Figure:
    """Draw the test error over the batch size."""
    title = f"{result.settings.model}: batch norm swapped for layer norm"
    return batch_sizes.draw_errors(result, VARIANTS, title, {ONE_BLOCK: "dashed"})
