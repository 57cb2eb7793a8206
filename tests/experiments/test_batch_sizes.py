from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_norm import data, nn, optim, random
from tinygrad_norm.experiments import batch_sizes, runs, small_batches
from tinygrad_norm.experiments.progress import Progress
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.experiments.runs import standard_digits

SMALL = replace(small_batches.QUICK, image_size=8, images=20, epochs=2, batch_sizes=(4, 8), seeds=(0, 1))


NETS = {"linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}


@pytest.fixture
def trained(monkeypatch):
    made = []

    def sgd(parameters, **options):
        made.append(options["lr"])
        return original(parameters, **options)

    original = optim.SGD
    monkeypatch.setattr(optim, "SGD", sgd)
    return batch_sizes.train_each(SMALL, NETS, Progress(show=False)), made


def test_equal_epochs_and_a_rate_in_proportion_to_the_batch(trained):
    rows, rates = trained
    at_epochs = Measurements(rows=rows).pick(equal="epochs")
    assert [(row["batch_size"], row["seed"]) for row in at_epochs] == [(4, 0), (4, 1), (8, 0), (8, 1)]
    assert [row["steps"] for row in at_epochs] == [10, 10, 4, 4]  # a short last batch is left out
    assert rates == [SMALL.lr * size / 32 for size in (4, 4, 8, 8)]


def test_a_row_holds_the_error_on_the_test_images(trained):
    for row in trained[0]:
        assert (row["variant"], row["diverged"]) == ("linear", None)
        assert row["test_error"] == pytest.approx(round(row["test_error"] * 355) / 355, abs=1e-6)


def test_equal_steps_are_those_of_the_largest_batch_in_the_same_run():
    nets = []

    def also(variant, model, dataset):
        nets.append((variant, copy.deepcopy(model), len(dataset)))
        return {}

    rows = batch_sizes.train_each(SMALL, NETS, Progress(show=False), also)
    assert {(variant, images) for variant, _, images in nets} == {("linear", 20)}
    assert [(row["equal"], row["steps"]) for row in Measurements(rows=rows).pick(seed=0)] == [
        *(("epochs", 10), ("steps", 4)),
        *(("epochs", 4), ("steps", 4)),
    ]
    train_set, test_set = standard_digits(8, 20)
    for seed, (early, late) in zip(SMALL.seeds, (nets[:2], nets[2:4]), strict=False):
        random.manual_seed(seed)
        model = NETS["linear"]()
        loader = data.DataLoader(train_set, 4, shuffle=True, drop_last=True, seed=seed)
        runs.train_steps(model, optim.SGD(model.parameters(), lr=SMALL.lr * 4 / 32, momentum=0.9), loader, 4)
        found = early[1]
        np.testing.assert_array_equal(found[1].weight.numpy(), model[1].weight.numpy())
        assert not np.array_equal(found[1].weight.numpy(), late[1][1].weight.numpy())
        (row,) = Measurements(rows=rows).pick(batch_size=4, seed=seed, equal="steps")
        assert row["test_error"] == pytest.approx(1 - runs.evaluate_dataset(model, test_set)["accuracy"], rel=1e-5)


def test_a_net_that_diverges_at_once_is_measured_at_both_moments():
    with np.errstate(all="ignore"):
        rows = batch_sizes.train_each(replace(SMALL, lr=1e300), NETS, Progress(show=False))
    assert [row["equal"] for row in rows] == ["epochs", "steps"] * 4
    assert [(row["diverged"], row["test_error"]) for row in rows] == [(2, 1.0)] * 8  # its outputs are NaN


def test_a_net_that_diverges_later_has_not_yet_at_equal_steps():
    class Breaks(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x) * (np.inf if self.calls > 6 else 1.0)

    nets = {"breaks": lambda: nn.Sequential(nn.Flatten(), Breaks(64, 10))}
    with np.errstate(all="ignore"):
        rows = batch_sizes.train_each(replace(SMALL, seeds=(0,)), nets, Progress(show=False))
    assert [(row["equal"], row["diverged"]) for row in rows] == [
        *(("epochs", 7), ("steps", None)),
        *(("epochs", None), ("steps", None)),
    ]


def made_up(errors):
    rows = [
        {
            "variant": variant,
            "batch_size": size,
            "seed": seed,
            "equal": equal,
            "steps": 1600 if equal == "epochs" and size == 2 else 100,
            "test_error": error,
        }
        for (variant, size, equal), by_seed in errors.items()
        for seed, error in enumerate(by_seed)
    ]
    return Measurements(settings={"batch_sizes": [32, 2]}, rows=rows)


RESULT = made_up({
    ("A", 32, "epochs"): (0.1, 0.2),
    ("A", 32, "steps"): (0.1, 0.2),
    ("A", 2, "epochs"): (0.05, 0.06),
    ("A", 2, "steps"): (0.5, 0.6),
    ("B", 32, "epochs"): (0.15, 0.25),
    ("B", 32, "steps"): (0.15, 0.25),
    ("B", 2, "epochs"): (0.1, 0.2),
    ("B", 2, "steps"): (0.2, 0.3),
})  # fmt: skip


def test_comparisons_follow_from_the_numbers():
    assert batch_sizes.compare_with(RESULT, "A", ["B"]) == [
        "After all epochs, B beside A: worse at batch 2; no difference seen at batch 32."
    ]
    assert batch_sizes.compare_with(RESULT, "B", ["A"]) == [
        "After all epochs, A beside B: better at batch 2; no difference seen at batch 32."
    ]


def test_a_comparison_of_batch_sizes_says_what_is_equal():
    first, second, third, fourth = batch_sizes.compare_sizes(RESULT, ["A", "B"])
    at_epochs, at_steps = "At equal epochs (1,600 steps against 100), ", "At equal steps (100 each), "
    assert first.startswith(f"{at_epochs}A at batch 2 is better than at batch 32: 5.5 % (5.0 % to 6.0 %) against 15.0")
    assert second.startswith(f"{at_epochs}B at batch 2 and at batch 32: no difference seen")
    assert third.startswith(f"{at_steps}A at batch 2 is worse than at batch 32: 55.0 % (50.0 % to 60.0 %) against 15.0")
    assert fourth.startswith(f"{at_steps}B at batch 2 and at batch 32: no difference seen")


def test_tables():
    at_epochs, at_steps = batch_sizes.error_tables(RESULT, ["A", "B"])
    assert (at_epochs.title, at_steps.title) == ("Test error at equal epochs", "Test error at equal steps")
    assert list(at_epochs.header) == list(at_steps.header) == ["batch size", "32", "2"]
    assert at_epochs.rows[0] == ["steps", "100", "1,600"]
    assert at_epochs.rows[1] == ["A", "15.0 % (10.0 % to 20.0 %)", "5.5 % (5.0 % to 6.0 %)"]
    assert at_steps.rows[0] == ["steps", "100", "100"]
    assert at_steps.rows[1] == ["A", "15.0 % (10.0 % to 20.0 %)", "55.0 % (50.0 % to 60.0 %)"]
