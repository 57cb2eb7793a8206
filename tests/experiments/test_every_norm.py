from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm.experiments import every_norm as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(
    experiment.QUICK,
    width=1 / 16,
    image_size=8,
    images=32,
    epochs=1,
    batch_size=8,
    norms=("batch", "rms"),
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


def test_every_norm_at_every_rate_with_every_seed(result):
    cases = {(row["norm"], row["lr"], row["seed"]) for row in result["rows"]}
    assert len(cases) == len(result["rows"]) == 2 * 2 * 2
    assert result["steps"] == 4


def test_same_seeds_same_result(result):
    assert experiment.run(SMALL, Progress(show=False)) == result


def measured(**errors):
    """What was measured if errors were these, by the norm, of two seeds at each of two rates."""
    settings = replace(SMALL, norms=tuple(errors), lrs=(0.01, 0.1))
    rows = [
        {"norm": norm, "lr": lr, "seed": seed, "test_error": error, "diverged": None}
        for norm, both in errors.items()
        for lr, found in zip((0.01, 0.1), both, strict=True)
        for seed, error in enumerate(found)
    ]
    return Measurements.of(settings, rows, steps=4)


RESULT = measured(
    batch=([0.10, 0.12], [0.20, 0.22]), rms=([0.05, 0.06], [0.21, 0.30]), frn=([0.13, 0.14], [0.90, 0.90])
)


def test_what_is_better_and_worse_than_batch_norm_follows_from_the_ranges():
    first, second = experiment.tell(RESULT).summary
    assert "0.01, beside batch (11.0 % (10.0 % to 12.0 %)), better: rms; worse: frn." in first
    assert "0.1, beside batch (21.0 % (20.0 % to 22.0 %)), no difference seen: rms; worse: frn." in second


def test_the_table_begins_with_the_least_error():
    [table] = experiment.tell(RESULT).tables
    assert [row[0] for row in table.rows] == ["rms", "batch", "frn"]
    assert table.rows[2] == ["frn", "13.5 % (13.0 % to 14.0 %)", "90.0 %"]


def test_each_norm_has_a_mark_at_its_mean():
    [axes] = experiment.draw(RESULT).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["frn", "batch", "rms"]
    marks = next(line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(marks.get_xdata(), float), [0.135, 0.11, 0.055])
