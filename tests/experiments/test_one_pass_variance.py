from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_norm import kernels
from tinygrad_norm.experiments import one_pass_variance as experiment
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements

SMALL = replace(experiment.QUICK, means=(1.0, 1e4, 1e5), batch=16, channels=32, pixels=8, seeds=(0, 1))


@pytest.fixture(params=["as chosen", "reference"])
def result(request):
    if request.param == "as chosen":
        yield experiment.run(SMALL, Progress(show=False))
        return
    before = "cpu" if kernels._use_cpu else "reference"
    kernels.use("reference")
    yield experiment.run(SMALL, Progress(show=False))
    kernels.use(before)


def test_one_pass_fails_at_large_means_and_ours_does_not(result):
    for row in result["rows"]:
        if row["method"] != "one pass":
            assert row["largest_error"] < 1e-5
            assert row["negative"] == 0
        elif row["mean"] >= 1e4:
            assert row["median_error"] > 1
            assert 0 < row["negative"] < 1
        else:
            assert row["largest_error"] < 1e-5


def test_every_method_at_every_mean_with_every_seed(result):
    assert len(result["rows"]) == 3 * 3 * 2
    first, second = [result.pick(seed=seed, method="one pass", mean=1e4)[0] for seed in (0, 1)]
    assert first["median_error"] != second["median_error"]


def test_words_follow_from_the_numbers(result):
    summary = experiment.tell(result).summary
    assert summary[0].startswith("From a mean of 10000 standard deviations on, E[x²] − E[x]² is off by more than 100 %")
    tame = Measurements(settings={**result["settings"], "means": [1.0]}, rows=result.pick(mean=1.0))
    summary = experiment.tell(tame).summary
    assert summary[0].endswith("is not off by more than 100 % in half of the channels up to 1.")
    assert not any("negative" in sentence for sentence in summary)
