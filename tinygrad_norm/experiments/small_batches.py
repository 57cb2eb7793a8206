"""Batch, group, layer and instance norm at small batches.

Source: Wu and He, Group Normalization, 2018, table 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tinygrad_norm import data, nn
from tinygrad_norm.experiments import batch_sizes
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements, Story
from tinygrad_norm.experiments.runs import make_net, without_dropout
from tinygrad_norm.figures import Figure
from tinygrad_norm.models.norms import NormChoice

QUESTION = "How do batch, group, layer and instance norm fare at batches of 32, 16, 8, 4 and 2?"
COMPARED: dict[str, Callable[[int], nn.Module]] = {
    "batch norm": nn.BatchNorm2D,
    "group norm": lambda channels: nn.GroupNorm(min(4, channels // 2), channels),
    "layer norm": lambda channels: nn.GroupNorm(1, channels),
    "instance norm": lambda channels: nn.InstanceNorm2D(channels, affine=True),
}
RECALIBRATED = "batch norm, recalibrated"
VARIANTS = (*COMPARED, RECALIBRATED)


FULL = batch_sizes.Sweep(model="baseline_cnn", width=0.5, epochs=5, lr=0.02, batch_sizes=(32, 16, 8, 4, 2))
QUICK = replace(FULL, width=0.25, image_size=16, images=256, epochs=3, seeds=(0, 1, 2))


def run(settings: batch_sizes.Sweep, progress: Progress) -> Measurements:
    """Train with each norm at each batch size; measure batch norm a second time with recalibrated statistics."""
    nets = {name: partial(create, settings, norm) for name, norm in COMPARED.items()}
    return Measurements.of(settings, batch_sizes.train_each(settings, nets, progress, recalibrated))


def recalibrated(variant: str, model: nn.Module, dataset: data.ArrayDataset) -> dict[str, nn.Module]:
    """Return a copy of a net with batch norm whose statistics are recomputed; nothing of any other net."""
    if variant != "batch norm":
        return {}
    again = copy.deepcopy(model)
    nn.recalibrate(again, data.DataLoader(dataset, 256))
    return {RECALIBRATED: again}


def create(settings: batch_sizes.Sweep, norm: NormChoice) -> nn.Module:
    """Create the net with one of the norms."""
    return without_dropout(make_net(settings, norm))


def tell(result: Measurements) -> Story:
    """Compare batch norm with the others at each batch size, and each norm with itself over the sizes."""
    others = [name for name in VARIANTS if name != "batch norm"]
    summary = [*batch_sizes.compare_sizes(result, VARIANTS), *batch_sizes.compare_with(result, "batch norm", others)]
    how = (
        f"{batch_sizes.procedure(result)} There is no dropout. Group norm has 4 groups; layer norm is one group, all "
        "channels and positions of an image, as Wu and He (2018) have it. Recalibrated: the same nets as batch norm, "
        "with running statistics recomputed from all training images. Wu and He report, for ResNet-50 on ImageNet at "
        "batches of 32, 16, 8, 4 and 2 (per GPU), validation errors of 23.6, 23.7, 24.8, 27.3 and 34.7 % "
        "for batch norm, and 24.1, 24.2, 24.0, 24.2 and 24.1 % for group norm; at 32, 25.3 % for layer norm and 28.4 % "
        "for instance norm."
    )
    return Story(summary, batch_sizes.error_tables(result, VARIANTS), how)


def draw(result: Measurements) -> Figure:
    """Draw the test error over the batch size."""
    title = f"{result.settings.model}: norms at small batches"
    return batch_sizes.draw_errors(result, VARIANTS, title, {RECALIBRATED: "dashed"})
