from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tinygrad_norm import nn
from tinygrad_norm.experiments import small_batches as experiment
from tinygrad_norm.experiments.batch_sizes import train_each
from tinygrad_norm.experiments.progress import Progress

SMALL = replace(experiment.QUICK, image_size=8, images=24, epochs=1, batch_sizes=(8, 2), seeds=(0, 1))


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


def test_every_norm_at_every_batch_size(result):
    assert len(result["rows"]) == 5 * 2 * 2 * 2
    for variant in experiment.VARIANTS:
        for equal, steps in (("epochs", [3, 3, 12, 12]), ("steps", [3, 3, 3, 3])):
            rows = result.pick(variant=variant, equal=equal)
            assert [row["batch_size"] for row in rows] == [8, 8, 2, 2]
            assert [row["steps"] for row in rows] == steps


def test_measuring_changes_nothing(result):
    """Batch norm's statistics after all epochs do not know of the recalibration on the way."""
    by_steps, by_epochs = experiment.tell(result).tables
    assert by_steps.rows != by_epochs.rows
    nets = {"batch norm": partial(experiment.create, SMALL, experiment.COMPARED["batch norm"])}
    plain = train_each(SMALL, nets, Progress(show=False))
    assert plain == result.pick(variant="batch norm")


def test_recalibration_measures_the_same_net_with_other_statistics(result):
    as_trained, again = [result.pick(variant=name) for name in ("batch norm", experiment.RECALIBRATED)]
    assert [row["test_error"] for row in as_trained] != [row["test_error"] for row in again]


@pytest.mark.parametrize(("name", "groups"), [("group norm", 4), ("layer norm", 1)])
def test_groups(name, groups):
    layer = experiment.COMPARED[name](16)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_the_nets_hold_the_norms_they_are_named_for():
    kinds = {
        name: {type(module) for module in experiment.create(SMALL, norm).modules()}
        for name, norm in experiment.COMPARED.items()
    }
    assert nn.BatchNorm2D in kinds["batch norm"]
    assert nn.InstanceNorm2D in kinds["instance norm"]
    assert nn.GroupNorm in kinds["group norm"] & kinds["layer norm"]
    assert nn.BatchNorm2D not in kinds["group norm"] | kinds["layer norm"] | kinds["instance norm"]
