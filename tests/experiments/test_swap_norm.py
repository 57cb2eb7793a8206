from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import nn, random
from tinygrad_norm.experiments import swap_norm as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.runs import make_net

SMALL = replace(experiment.QUICK, width=1 / 16, image_size=8, images=16, epochs=1, batch_sizes=(2, 8), seeds=(0, 1))


def norms(model):
    return {
        path: type(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2D | nn.LayerNorm2D)
    }


def test_one_block_is_swapped_and_the_weights_are_the_same():
    random.manual_seed(0)
    whole = make_net(SMALL, "batch")
    random.manual_seed(0)
    swapped = experiment.swapped(SMALL)
    for path, kind in norms(swapped).items():
        assert (kind is nn.LayerNorm2D) == path.startswith("layer3.0.")
    assert set(norms(whole).values()) == {nn.BatchNorm2D}
    assert set(norms(make_net(SMALL, "layer")).values()) == {nn.LayerNorm2D}
    for (name, one), (_, other) in zip(whole.named_parameters(), swapped.named_parameters(), strict=True):
        np.testing.assert_array_equal(one.raw, other.raw, err_msg=name)


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


def test_every_net_at_every_batch_size(result):
    cases = {(row["variant"], row["batch_size"], row["seed"]) for row in result["rows"]}
    assert len(cases) == len(result["rows"]) / 2 == 3 * 2 * 2  # at equal epochs, and at equal steps
    assert {variant for variant, _, _ in cases} == set(experiment.VARIANTS)


def test_same_seeds_same_result(result):
    assert experiment.run(SMALL, Progress(show=False)) == result


def test_every_batch_size_is_compared(result):
    story = experiment.tell(result)
    beside = [sentence for sentence in story.summary if "beside batch norm: " in sentence]
    assert len(beside) == 2
    assert [sentence.partition(" (")[0] for sentence in story.summary[2:]] == ["At equal epochs"] * 3 + [
        "At equal steps"
    ] * 3
    for sentence in beside:
        assert sorted(map(int, re.findall(r"\d+", sentence))) == [2, 8]
    assert "layer3.0" in story.how
