from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, random
from tinygrad_norm.experiments.papers import fixup as experiment
from tinygrad_norm.experiments.papers.paper import AGREES, CONTRADICTS, NOT_SHOWN
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, depths=(2,), features=4, images=16, batch_size=8, lr=0.01, seeds=(0,))
X = np.random.default_rng(0).normal(size=(5, 1, 3, 3)).astype(np.float32)


def test_each_kind_at_each_depth():
    result = experiment.run(SMALL, Progress(show=False))
    assert [(row["depth"], row["kind"]) for row in result["rows"]] == [(2, "none"), (2, "fixup"), (2, "batch")]
    assert (result["steps"], result["trained_on"]) == (2, 16)
    assert [len(row["losses"]) for row in result["rows"]] == [2, 2, 2]


def test_a_net_that_diverges_is_wrong_in_all():
    [row] = experiment.run(replace(SMALL, depths=(20,), lr=1e6), Progress(show=False)).pick(kind="none")
    assert (row["diverged"], row["test_error"]) == (2, 1.0)


def test_fixup_begins_with_blocks_that_do_nothing():
    random.manual_seed(0)
    net = experiment.create("fixup", 9, 6, 4)
    assert not net(Tensor(X)).numpy().any()
    stem = net[:4](Tensor(X)).numpy()  # flatten, linear, shift, ReLU
    np.testing.assert_array_equal(net[:8](Tensor(X)).numpy(), stem)


def test_the_first_layer_of_a_block_shrinks_with_the_number_of_blocks():
    random.manual_seed(0)
    deviations = [experiment.create("fixup", 9, 64, depth)[4].conv1.weight.numpy().std() for depth in (1, 100)]
    assert deviations[0] / deviations[1] == pytest.approx(10, rel=0.1)


def test_as_usual_each_block_doubles_the_variance_or_so():
    random.manual_seed(0)
    net = experiment.create("none", 9, 64, 10)
    first, last = (np.square(part(Tensor(X)).numpy()).mean() for part in (net[:3], net[:13]))
    assert last > 100 * first
    assert isinstance(experiment.create("batch", 9, 4, 1)[3].norm1, nn.BatchNorm1D)


def measured(none, fixup, batch):
    """What was measured if the errors of two seeds were these, at 3 and at 30 blocks."""
    rows = [
        {"depth": depth, "kind": kind, "seed": seed, "diverged": 1 if error == 1.0 else None, "test_error": error}
        | {"losses": [3.0, 2.0]}
        for kind, both in (("none", none), ("fixup", fixup), ("batch", batch))
        for depth, errors in zip((3, 30), both, strict=True)
        for seed, error in enumerate(errors)
    ]
    return Measurements.of(replace(SMALL, depths=(3, 30), seeds=(0, 1)), rows, steps=2, trained_on=16)


def outcomes(result):
    return [finding.outcome for finding in experiment.judge(result).findings]


AS_CLAIMED = measured(none=([0.5, 0.6], [1.0, 1.0]), fixup=([0.1, 0.2], [0.3, 0.4]), batch=([0.1, 0.1], [0.5, 0.6]))


def test_verdicts_follow_from_the_figures(draw):
    assert outcomes(AS_CLAIMED) == [AGREES] * 3
    failing = measured(none=([0.2, 0.3],) * 2, fixup=([0.9, 1.0],) * 2, batch=([0.1, 0.1],) * 2)
    assert outcomes(failing) == [CONTRADICTS] * 3
    only_shallow = measured(none=([0.9, 0.9],) * 2, fixup=([0.1, 0.2], [0.7, 0.9]), batch=([0.1, 0.1], [0.1, 0.2]))
    assert outcomes(only_shallow) == [NOT_SHOWN] * 3
    summary = experiment.tell(AS_CLAIMED).summary
    assert "diverged: 0 of 2 at 3 blocks, 2 of 2 at 30 blocks." in summary[4]
    assert {"training loss of 30 blocks", "batch norm"} <= draw(experiment, AS_CLAIMED)
