from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.experiments import batch_sizes, small_batches
from tinygrad_norm.experiments.progress import Progress

SMALL = replace(small_batches.QUICK, image_size=8, images=20, epochs=2, batch_sizes=(4, 8), seeds=(0, 1))


@pytest.fixture
def trained(monkeypatch):
    made = []

    def sgd(parameters, **options):
        made.append(options["lr"])
        return original(parameters, **options)

    original = optim.SGD
    monkeypatch.setattr(optim, "SGD", sgd)
    nets = {"linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}
    return list(batch_sizes.train_each(SMALL, nets, Progress(show=False))), made


def test_equal_epochs_and_a_rate_in_proportion_to_the_batch(trained):
    nets, rates = trained
    assert [(net.batch_size, net.seed) for net in nets] == [(4, 0), (4, 1), (8, 0), (8, 1)]
    assert [len(net.run.losses) for net in nets] == [10, 10, 4, 4]  # a short last batch is left out
    assert rates == [SMALL.lr * size / 32 for size in (4, 4, 8, 8)]


def test_a_row_holds_the_error_on_the_test_images(trained):
    row = trained[0][0].row("renamed")
    assert (row["variant"], row["batch_size"], row["seed"], row["diverged"]) == ("renamed", 4, 0, None)
    assert row["test_error"] == pytest.approx(round(row["test_error"] * 355) / 355, abs=1e-6)


def made_up(errors):
    rows = [
        {"variant": variant, "batch_size": size, "seed": seed, "test_error": error}
        for (variant, size), by_seed in errors.items()
        for seed, error in enumerate(by_seed)
    ]
    return {"settings": {"batch_sizes": [32, 2]}, "rows": rows}


RESULT = made_up({
    ("A", 32): (0.1, 0.2),
    ("A", 2): (0.5, 0.6),
    ("B", 32): (0.15, 0.25),
    ("B", 2): (0.1, 0.2),
})  # fmt: skip


def test_comparisons_follow_from_the_numbers():
    assert batch_sizes.compare_with(RESULT, "A", ["B"]) == [
        "B beside A: better at batch 2; no difference seen at batch 32."
    ]
    assert batch_sizes.compare_with(RESULT, "B", ["A"]) == [
        "A beside B: worse at batch 2; no difference seen at batch 32."
    ]
    first, second = batch_sizes.compare_sizes(RESULT, ["A", "B"])
    assert first.startswith("A at batch 2 is worse than at batch 32: ")
    assert second.startswith("B at batch 2 and at batch 32: no difference seen")


def test_table():
    table = batch_sizes.error_table(RESULT, ["A", "B"])
    assert list(table.header) == ["batch size", "32", "2"]
    assert table.rows[0] == ["A", "15.0 % (10.0 % to 20.0 %)", "55.0 % (50.0 % to 60.0 %)"]
