from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, optim
from tinygrad_norm.data import ArrayDataset, DataLoader
from tinygrad_norm.experiments import runs


@pytest.fixture
def dataset(rng):
    targets = np.arange(24) % 3
    return ArrayDataset(
        rng.normal(size=(24, 4)).astype(np.float32) + 3 * np.eye(3, 4, dtype=np.float32)[targets], targets
    )


def trained(dataset, lr, steps=30, **options):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1D(8), nn.Linear(8, 3))
    loader = DataLoader(dataset, 8, shuffle=True)
    return model, runs.train_steps(model, optim.SGD(model.parameters(), lr=lr), loader, steps, **options)


def test_a_run_counts_its_steps_over_epochs_and_learns(dataset):
    ticks = []
    model, run = trained(dataset, 0.3, tick=lambda: ticks.append(1))
    assert len(run.losses) == len(run.accuracies) == len(ticks) == 30  # ten epochs of three batches
    assert run.diverged is None
    assert run.losses[-1] < 0.5 * run.losses[0]
    assert runs.evaluate_dataset(model, dataset)["accuracy"] > 0.9
    assert model.training  # as before


def test_parts_in_inference_stay_so(dataset):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1D(8), nn.BatchNorm1D(8), nn.Linear(8, 3))
    model[1].eval()
    runs.train_steps(model, optim.SGD(model.parameters(), lr=0.1), DataLoader(dataset, 8), 4)
    runs.evaluate_dataset(model, dataset)
    assert (model[1].num_batches_tracked.item(), model[2].num_batches_tracked.item()) == (0, 4)
    assert [layer.training for layer in model] == [True, False, True, True]


def test_outputs_of_nan_are_wrong(dataset):
    class Spoilt(nn.Module):
        def forward(self, x):
            scores = np.eye(3)[np.arange(len(x)) % 3]
            scores[x.numpy()[:, 0] == dataset.inputs[20, 0]] = np.nan
            return Tensor(scores)

    assert runs.evaluate_dataset(Spoilt(), dataset, batch_size=12)["accuracy"] == 0.5  # the second batch has one


def test_something_can_be_done_after_some_steps(dataset):
    seen = []
    model, run = trained(dataset, 0.1, at={7: lambda model: seen.append(model), 40: lambda model: seen.append(None)})
    assert seen == [model]
    assert len(run.losses) == 30


def test_a_loss_that_is_not_finite_ends_the_run_as_a_result(dataset):
    _, run = trained(dataset, 1e30)
    assert run.diverged is not None
    assert len(run.losses) == len(run.accuracies) == run.diverged - 1
    assert all(map(math.isfinite, run.losses))


def test_enough_is_enough(dataset):
    _, run = trained(dataset, 0.1, enough=lambda run: len(run.losses) == 7)
    assert len(run.losses) == 7


def test_the_weights_are_not_touched_by_a_step_whose_loss_is_not_finite(dataset):
    model = nn.Linear(4, 3)
    model.weight.data = np.full((3, 4), np.inf, np.float32)
    bias = model.bias.raw.copy()
    run = runs.train_steps(model, optim.SGD(model.parameters(), lr=0.1), DataLoader(dataset, 8), 5)
    assert run.diverged == 1
    np.testing.assert_array_equal(model.bias.raw, bias)


def test_trailing_mean_and_the_step_of_a_goal():
    assert runs.trailing_mean([4.0, 2.0, 0.0, 1.0], 2) == [4.0, 3.0, 1.0, 0.5]
    assert runs.trailing_mean([], 2) == []
    assert runs.trailing_mean([1e30, 2.0, 4.0, 6.0], 2)[2:] == [3.0, 5.0]  # what was large before is forgotten
    assert runs.steps_until([4.0, 2.0, 0.0, 1.0], 1.0, 2) == 3
    assert runs.steps_until([0.0, 5.0, 0.0], 1.0, 2) is None  # one low loss alone is no mean of two


def test_standard_digits():
    train, test = runs.standard_digits(16, images=100)
    whole, _ = runs.standard_digits(16)
    assert train.inputs.shape == (100, 1, 16, 16)
    assert test.inputs.shape == (355, 1, 16, 16)
    assert abs(whole.inputs.mean()) < 1e-5
    assert abs(whole.inputs.std() - 1) < 1e-5
    np.testing.assert_array_equal(train.inputs, whole.inputs[:100])


def test_a_run_whose_running_statistics_overflow_goes_on_and_is_measured(dataset):
    model = nn.Sequential(nn.Linear(4, 8), nn.PowerNorm(8, warmup=0), nn.Linear(8, 3))
    model[1].running_square.data[:] = np.inf
    run = runs.train_steps(model, optim.SGD(model.parameters(), lr=0.1), DataLoader(dataset, 8), 5)
    assert len(run.losses) == 5
    assert model[1].refuses_infinity
