from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm.experiments import running_stats as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(
    experiment.QUICK,
    model="baseline_cnn",
    image_size=8,
    images=96,
    batch_size=32,
    momenta=(0.5, 0.01, None),
    measured_at=(1, 3, 9),
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def result():
    return experiment.run(SMALL, Progress(show=False))


@pytest.fixture(scope="module")
def still():
    """Three whole epochs with weights that do not move."""
    return experiment.run(replace(SMALL, lr=0.0, seeds=(0,)), Progress(show=False))


def first_norm(result, momentum):
    return [moment["layers"][0] for moment in result.pick(momentum=momentum)[0]["measured"]]


def test_the_plain_average_over_whole_epochs_is_the_mean_of_the_data(still):
    by_step = [layer["mean_error"] for layer in first_norm(still, None)]
    assert by_step[0] > 1e-3  # one batch of three is not the data
    assert by_step[1] < 1e-6
    assert by_step[2] < 1e-6
    channel = first_norm(still, None)[-1]["first_channel"]
    assert channel["running_mean"] == pytest.approx(channel["true_mean"], rel=1e-5)


def test_a_small_momentum_has_not_forgotten_where_it_began(still):
    steps = np.array(SMALL.measured_at)
    ratio = [moment["first_channel"] for moment in first_norm(still, 0.01)]
    running = np.array([values["running_mean"] for values in ratio])
    expected = (1 - 0.99**steps) * np.array([values["true_mean"] for values in ratio])
    np.testing.assert_allclose(running[1:], expected[1:], rtol=0.02)  # after whole epochs, but for the batches' order


def test_a_momentum_that_follows_has_the_smaller_gap(still):
    gaps = {momentum: still.pick(momentum=momentum)[0]["measured"][-1]["gap"] for momentum in SMALL.momenta}
    assert gaps[None] < gaps[0.01]
    assert gaps[0.5] < gaps[0.01]


def test_training_does_not_depend_on_the_running_statistics(result):
    for seed in SMALL.seeds:
        losses = [row["losses"] for row in result.pick(seed=seed)]
        assert len(losses[0]) == 9
        assert losses[0] == losses[1] == losses[2]
    one, other = [result.pick(seed=seed)[0]["losses"] for seed in SMALL.seeds]
    assert one != other


def test_every_norm_is_measured_and_true_values_are_the_same_for_every_momentum(result):
    for seed in SMALL.seeds:
        measured = [row["measured"] for row in result.pick(seed=seed)]
        assert [layer["layer"] for layer in measured[0][0]["layers"]] == ["features.1", "features.4", "features.9"]
        true = [[layer["first_channel"]["true_var"] for layer in moments[-1]["layers"]] for moments in measured]
        assert true[0] == true[1] == true[2]


def test_words_follow_from_the_numbers(result):
    rows = [
        {"momentum": momentum, "seed": seed, "diverged": None, "measured": [moment(gap + seed / 100)] * 3}
        for momentum, gap in ((0.5, 0.2), (0.01, 0.9), (None, 0.205))
        for seed in SMALL.seeds
    ]
    summary = experiment.tell(Measurements(settings=result["settings"], rows=rows)).summary
    assert "at momentum 0.5 and at momentum None: no difference seen at 2 seeds" in summary[0]
    assert "at momentum 0.5 is smaller than at momentum 0.01" in summary[1]
    assert summary[2].startswith("At momentum 0.5, the running means end 0.1 standard deviations")
    assert summary[2].endswith("the gap is under 50 % from step 1 on.")
    assert summary[3].endswith("the gap is not yet under 50 % at 9.")


def test_a_run_that_diverges_is_a_result():
    with np.errstate(all="ignore"):
        result = experiment.run(replace(SMALL, lr=1e38, momenta=(0.5, 0.01), seeds=(0,)), Progress(show=False))
    row = result["rows"][0]
    assert row["diverged"] == len(row["losses"]) + 1 < 9
    assert [moment["step"] for moment in row["measured"]] == [1, 3, 9]
    assert np.isnan(row["measured"][-1]["layers"][0]["mean_error"])
    story = experiment.tell(result)
    assert story.summary[-1].startswith("2 of 2 runs diverged")
    assert story.tables[0].rows[-1][1] == "inf %"


def moment(gap):
    return {"gap": gap, "training_loss": 1.0, "inference_loss": 2.0, "layers": [{"mean_error": 0.1}]}
