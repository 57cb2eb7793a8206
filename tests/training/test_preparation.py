"""A recipe becomes images, a net, an optimizer, a loader and a schedule, each as the recipe says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tinygrad_norm import nn, random
from tinygrad_norm.data import ArrayDataset
from tinygrad_norm.data.augmentation import CutMix, Mixup
from tinygrad_norm.optim import SGD
from tinygrad_norm.training import recipe_for
from tinygrad_norm.training.preparation import (
    check_classes,
    count_parameters,
    load_data,
    load_split,
    load_training,
    make_loader,
    make_model,
    make_schedule,
    prepare,
    rehearse,
)


@pytest.fixture
def recipe(few_digits):
    return recipe_for("lenet5", data=few_digits, image_size=16, epochs=3, batch_size=32, lr=0.01)


def test_a_rehearsal_changes_nothing(recipe):
    recipe = dataclasses.replace(recipe, model="alexnet", image_size=32, augment=("noise",))  # which has dropout
    training, _, _ = load_data(recipe)
    model, _, loader = prepare(recipe, training)
    before, position, generator = model.state_dict(), loader.state_dict(), random.state_dict()
    kept = {name: np.array(value) for name, value in before.items()}
    model.eval()
    rehearse(model, loader)
    assert (loader.state_dict(), random.state_dict(), model.training) == (position, generator, False)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, kept[name], err_msg=name)


def test_class_names_in_errors_do_not_reach_the_terminal_as_they_are():
    dataset = ArrayDataset(np.zeros((2, 1)), np.array([0, 1]), ("\x1b[31m", "n" * 20_000))
    with pytest.raises(
        ValueError, match=r"knows 1 class \(two\\nlines\), these images 2 classes \(\\x1b\[31m, n+…n+\)$"
    ):
        check_classes("it knows", 1, ("two\nlines",), dataset)


def test_norm_and_its_momentum_reach_the_net():
    model = make_model(recipe_for("lenet5", norm_momentum=0.3), 1, 10)
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2D)] == [0.3, 0.3]
    model = make_model(recipe_for("lenet5", norm="power", norm_momentum=0.3), 1, 10)
    assert [m.momentum for m in model.modules() if isinstance(m, nn.PowerNorm)] == [0.3, 0.3]
    kinds = {type(module) for module in make_model(recipe_for("lenet5", norm="group"), 1, 10).modules()}
    assert nn.GroupNorm in kinds
    assert nn.BatchNorm2D not in kinds


def test_the_optimizer_spares_biases_and_norms(recipe):
    training, _, _ = load_data(recipe)
    _, optimizer, loader = prepare(dataclasses.replace(recipe, optimizer="sgd", weight_decay=0.3), training)
    decaying, spared = optimizer.param_groups
    assert (decaying["weight_decay"], spared["weight_decay"], spared["momentum"]) == (0.3, 0.0, 0.9)
    assert {parameter.ndim for parameter in spared["params"]} == {1}
    assert len(loader) == 110 // 32


@pytest.mark.parametrize(
    ("schedule", "warmup", "first", "highest", "last"),
    [
        ("onecycle", 0.25, 1 / 25, 4, 0.0),
        ("cosine", 0.25, 0.01, 5, 0.0),
        ("cosine", 0.0, 1.0, 0, 0.0),
        ("constant", 0.25, 0.01, 5, 1.0),
        ("constant", 0.0, 1.0, 0, 1.0),
    ],
)
def test_schedules_rise_for_the_warm_up_and_end_as_they_should(schedule, warmup, first, highest, last):
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    made = make_schedule(recipe_for("mlp", schedule=schedule, warmup=warmup, epochs=4, lr=0.5), optimizer, 5)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"] / 0.5)
        if made is not None:
            made.step()
    assert rates[0] == pytest.approx(first)
    assert int(np.argmax(np.round(rates, 9))) == highest
    assert max(rates) == pytest.approx(1)
    assert rates[-1] == pytest.approx(last, abs=0.02)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant"])
def test_one_step_is_enough_for_each_schedule(schedule):
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    made = make_schedule(recipe_for("mlp", schedule=schedule, warmup=0.9, epochs=1, lr=0.5), optimizer, 1)
    assert optimizer.param_groups[0]["lr"] > 0
    if made is not None:
        made.step()


def test_every_tenth_image_of_a_class_validates(recipe):
    training, validation, test = load_data(recipe)
    assert (len(training), len(validation), len(test)) == (110, 10, 40)
    assert sorted(validation.targets) == list(range(10))
    assert training.inputs.shape[1:] == (1, 16, 16)
    again, _ = load_training(dataclasses.replace(recipe, validation_every=4))
    assert len(again) == 90
    assert len(load_split(recipe, "train")) == 120


@pytest.mark.parametrize(("mix", "kind"), [({"mixup": 0.3}, Mixup), ({"cutmix": 0.3}, CutMix), ({}, type(None))])
def test_batches_are_whole_shuffled_augmented_and_mixed_as_the_recipe_says(recipe, mix, kind):
    training, _ = load_training(recipe)
    plain, mixed, other = (
        make_loader(dataclasses.replace(recipe, **changes), training)
        for changes in ({"augment": ()}, {"augment": ("noise",), **mix}, {"augment": (), "seed": 1})
    )
    assert type(mixed.mix) is kind
    batches = [list(loader) for loader in (plain, mixed, other)]
    assert [[len(inputs) for inputs, _ in found] for found in batches] == [[32] * 3] * 3
    first, augmented, reordered = (found[0] for found in batches)
    assert not np.array_equal(first[0], augmented[0])
    assert not np.array_equal(first[0], reordered[0])
    assert augmented[1].ndim == (2 if mix else 1)  # mixed targets are probabilities


def test_a_seed_makes_the_same_net_and_its_size_is_counted(recipe):
    training, _ = load_training(recipe)
    first, second, third = (prepare(dataclasses.replace(recipe, seed=seed), training)[0] for seed in (3, 3, 4))
    one, two, three = (next(net.parameters()).raw for net in (first, second, third))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, three)
    assert count_parameters(nn.Linear(4, 3)) == 15


def test_a_rehearsal_fails_where_training_would(recipe):
    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    before = random.state_dict()
    with pytest.raises(ZeroDivisionError):
        rehearse(Broken(), make_loader(recipe, load_training(recipe)[0]))
    assert random.state_dict() == before
