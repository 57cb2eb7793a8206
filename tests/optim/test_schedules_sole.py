"""Schedules that compose with nobody: they write the rates by themselves, and refuse what others changed."""

from __future__ import annotations

import math

import pytest

from tests.optim.rates import EVERY, Own, lr_of, sgd, step_all
from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor

SOLE = {name: EVERY[name] for name in ("OneCycleLR", "SequentialLR")}


OTHERS = {
    "StepLR": lambda optimizer: optim.StepLR(optimizer, 3),
    "CosineAnnealingLR": lambda optimizer: optim.CosineAnnealingLR(optimizer, 9),
    "LinearWarmup": optim.LinearWarmup,
    "Own": Own,
    "SequentialLR": EVERY["SequentialLR"],
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", SOLE)
@pytest.mark.parametrize("first", [True, False])
def test_a_sole_schedule_refuses_another_beside_it(name, other, first):
    optimizer = sgd(0.8)
    made = [SOLE[name](optimizer), OTHERS[other](optimizer)] if first else []
    made = made or [OTHERS[other](optimizer), SOLE[name](optimizer)]
    with pytest.raises(
        ValueError, match=r"LR goes on from a learning rate of .*, but finds .*, set by hand or by another"
    ):
        step_all(made, 5)


def by_hand(optimizer):
    optimizer.param_groups[1]["lr"] *= 1.001


def on_a_plateau(optimizer):
    plateau = optim.ReduceLROnPlateau(optimizer, patience=0)
    for _ in range(2):
        plateau.step(1.0)


@pytest.mark.parametrize("change", [by_hand, on_a_plateau])
@pytest.mark.parametrize("name", SOLE)
def test_a_sole_schedule_refuses_a_rate_that_others_changed(name, change):
    optimizer = sgd(0.8, 0.2)
    schedule = SOLE[name](optimizer)
    schedule.step()
    change(optimizer)
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(
        ValueError, match=rf"{name} goes on from a learning rate of .*, but finds .*by hand or by another"
    ):
        schedule.step()
    assert schedule.last_epoch == 1
    assert optimizer.param_groups == before


@pytest.mark.parametrize("name", SOLE)
def test_a_sole_schedule_takes_another_rounding_for_its_own(name):
    optimizer = sgd(0.8, 0.2)
    schedule = SOLE[name](optimizer)
    optimizer.param_groups[0]["lr"] = math.nextafter(optimizer.param_groups[0]["lr"], 1.0)
    schedule.step()
    assert schedule.get_last_lr() == [schedule.lr_at(1, group["initial_lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SOLE)
def test_a_sole_schedule_refuses_a_group_added_later(name):
    optimizer = sgd(0.8)
    schedule = SOLE[name](optimizer)
    schedule.step()
    optimizer.add_param_group({"params": [Tensor([1.0], requires_grad=True)], "lr": 0.5})
    with pytest.raises(ValueError, match=rf"{name} was made for 1 parameter groups, but the optimizer has 2 now"):
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups][1] == 0.5


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam])
def test_one_cycle_refuses_a_momentum_set_by_hand(make):
    optimizer = make([Tensor([1.0], requires_grad=True)])
    schedule = optim.OneCycleLR(optimizer, 1.0, 10)
    option = {"momentum": 0.5} if make is optim.SGD else {"betas": (0.5, 0.999)}
    optimizer.param_groups[0].update(option)
    with pytest.raises(ValueError, match=r"OneCycleLR goes on from a momentum of 0\.95, but finds 0\.5"):
        schedule.step()
    free = make([Tensor([1.0], requires_grad=True)])
    schedule = optim.OneCycleLR(free, 1.0, 10, cycle_momentum=False)
    free.param_groups[0].update(option)
    schedule.step()
    assert free.param_groups[0].items() >= option.items()


def test_a_sequence_begins_from_the_initial_rates_or_refuses():
    def phases(optimizer):
        rise, fall = optim.LinearWarmup(optimizer, 2), optim.CosineAnnealingLR(optimizer, 4)
        again = optim.SequentialLR(optimizer, [fall, optim.LinearWarmup(optimizer, 2, start_factor=0.1)], [3])
        return optim.SequentialLR(optimizer, [rise, again], [2])

    optimizer = sgd(0.9)
    phases(optimizer)
    assert lr_of(optimizer) == 0.9 / 3
    phases(optimizer)  # nobody has stepped yet
    assert lr_of(optimizer) == 0.9 / 3
    schedule = optim.StepLR(optimizer, 1, 0.5)
    schedule.step()
    with pytest.raises(ValueError, match=r"SequentialLR goes on from a learning rate of 0\.9, but finds 0\.005"):
        phases(optimizer)
    optimizer.param_groups[0]["lr"] = 0.9
    phases(optimizer)
    assert lr_of(optimizer) == 0.9 / 3
