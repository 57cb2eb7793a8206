"""Schedules: beside PyTorch, composed, gone on with, and what they refuse."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from tests.optim.rates import EVERY, Own, lr_of, sgd, step_all
from tests.optim.steps import Run, run_both
from tinygrad_norm import capture, ops, optim
from tinygrad_norm.tensor import Tensor


def test_writes_what_pytorch_writes(golden_schedule, rates):
    found, expected = rates(golden_schedule)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("name", EVERY)
def test_goes_on_where_it_was_bit_for_bit(name):
    whole = sgd(0.8, 0.2)
    schedule = EVERY[name](whole)
    expected = []
    for _ in range(12):
        schedule.step()
        expected.append([(group["lr"], group["momentum"]) for group in whole.param_groups])

    before, after = sgd(0.8, 0.2), sgd(5.0, 5.0)
    schedule = EVERY[name](before)
    for _ in range(5):
        schedule.step()
    again = EVERY[name](after)
    after.load_state_dict(before.state_dict())
    again.load_state_dict(schedule.state_dict())
    found = []
    for _ in range(7):
        again.step()
        found.append([(group["lr"], group["momentum"]) for group in after.param_groups])
    assert found == expected[5:]


@pytest.mark.parametrize("name", EVERY)
def test_loading_writes_the_learning_rate_of_that_step(name):
    before, after = sgd(0.8, 0.2), sgd(0.8, 0.2)
    schedule, again = EVERY[name](before), EVERY[name](after)
    for _ in range(5):
        schedule.step()
    again.load_state_dict(schedule.state_dict())
    assert again.get_last_lr() == schedule.get_last_lr() != [0.8, 0.2]
    assert after.param_groups[0]["momentum"] == before.param_groups[0]["momentum"]


@pytest.mark.parametrize("name", EVERY)
def test_learning_rates_can_be_asked_for_ahead(name):
    optimizer = sgd(0.8, 0.2)
    schedule = EVERY[name](optimizer)
    for step in range(12):
        expected = [schedule.lr_at(step, group["initial_lr"]) for group in optimizer.param_groups]
        assert schedule.get_last_lr() == expected
        assert schedule.last_epoch == step
        schedule.step()


# Several on one optimizer: beside them, cases "composed_..." of the golden trajectories


def test_two_schedules_multiply():
    optimizer = sgd(1.0)
    step_all([optim.StepLR(optimizer, 2), optim.CosineAnnealingLR(optimizer, 10)], 4)
    assert lr_of(optimizer) == pytest.approx(0.006545084971874737, rel=1e-12)  # PyTorch's


def test_a_plateau_and_another_multiply():
    optimizer = sgd(1.0)
    plateau, step = optim.ReduceLROnPlateau(optimizer, patience=0), optim.StepLR(optimizer, 3)
    for metric in (1.0, 2.0, 3.0):
        plateau.step(metric)
        step.step()
    assert lr_of(optimizer) == pytest.approx(0.001, rel=1e-12)


def test_a_rate_set_by_hand_between_steps_stays_and_is_scaled():
    optimizer = sgd(1.0)
    schedule = optim.StepLR(optimizer, 3)
    schedule.step()
    optimizer.param_groups[0]["lr"] = 0.3
    schedule.step()
    assert lr_of(optimizer) == 0.3
    schedule.step()
    assert lr_of(optimizer) == pytest.approx(0.03, rel=1e-12)


def test_a_second_schedule_begins_from_the_learning_rate_there_is():
    optimizer = sgd(0.8)
    optim.LinearWarmup(optimizer, start_factor=0.5)
    assert lr_of(optimizer) == 0.4
    optim.CosineAnnealingLR(optimizer, T_max=4)
    assert lr_of(optimizer) == 0.4
    optim.LinearWarmup(optimizer, start_factor=0.25)
    assert lr_of(optimizer) == 0.1
    assert optimizer.param_groups[0]["initial_lr"] == 0.8


def test_a_schedule_of_ones_own_steps_by_the_epoch_and_composes():
    optimizer = sgd(1.0)
    own = Own(optimizer)
    assert own.per_batch is False
    step_all([own, optim.StepLR(optimizer, 2)], 3)
    assert lr_of(optimizer) == pytest.approx(0.05, rel=1e-12)


def test_a_group_that_begins_with_nothing_is_scaled_once_it_has_a_rate():
    optimizer = sgd(0.8, 0.0)
    schedule = optim.StepLR(optimizer, 2, 0.5)
    schedule.step()
    optimizer.param_groups[1]["lr"] = 0.6
    schedule.step()
    assert schedule.get_last_lr() == [0.4, 0.3]


def test_from_zero_there_is_nothing_to_scale_by():
    optimizer = sgd(0.8)
    schedule = optim.LinearWarmup(optimizer, 4, start_factor=0.0)
    optimizer.param_groups[0]["lr"] = 0.3
    with pytest.raises(
        ValueError, match=r"LinearWarmup: the learning rate after 0 steps is 0, but was changed to 0\.3"
    ):
        schedule.step()
    assert (lr_of(optimizer), schedule.last_epoch) == (0.3, 0)


def some(optimizer):
    return [
        optim.LinearWarmup(optimizer, 3, start_factor=0.5),
        optim.StepLR(optimizer, 2, gamma=0.3),
        optim.CosineAnnealingLR(optimizer, 11, eta_min=0.001),
    ]


def test_composed_schedules_go_on_where_they_were_bit_for_bit():
    def run(optimizer, schedules, steps):
        rows = []
        for _ in range(steps):
            step_all(schedules, 1)
            if schedules[0].last_epoch == 4:
                optimizer.param_groups[0]["lr"] *= 0.7
            rows.append([group["lr"] for group in optimizer.param_groups])
        return rows

    whole, before, after = sgd(0.8, 0.2), sgd(0.8, 0.2), sgd(0.8, 0.2)
    expected = run(whole, some(whole), 10)
    schedules, again = some(before), some(after)
    run(before, schedules, 5)
    after.load_state_dict(before.state_dict())
    for old, new in zip(schedules, again, strict=True):
        new.load_state_dict(old.state_dict())
    assert run(after, again, 5) == expected[5:]


def test_a_state_holds_the_learning_rate_where_it_is_not_the_schedules_own():
    optimizer, other = sgd(0.8), sgd(0.8)
    schedule = optim.StepLR(optimizer, 2)
    schedule.step()
    assert schedule.state_dict() == {"kind": "StepLR", "last_epoch": 1}
    optimizer.param_groups[0]["lr"] = 0.3
    assert schedule.state_dict() == {"kind": "StepLR", "last_epoch": 1, "lr": [0.3]}
    again = optim.StepLR(other, 2)
    again.load_state_dict(schedule.state_dict())
    assert (again.last_epoch, again.get_last_lr()) == (1, [0.3])
    with pytest.raises(ValueError, match="lr is a number, or one for each of 1 groups, got 2"):
        again.load_state_dict({"last_epoch": 1, "lr": [0.3, 0.3]})
    with pytest.raises(ValueError, match="lr is a finite number of at least 0, got -1"):
        again.load_state_dict({"last_epoch": 1, "lr": [-1.0]})
    assert (again.last_epoch, again.get_last_lr()) == (1, [0.3])


def test_one_cycle_begins_from_its_own_rates_whatever_there_are():
    optimizer = sgd(0.9)
    other = optim.LinearWarmup(optimizer, 2)
    other.step()
    optim.OneCycleLR(optimizer, 1.0, 10).step()
    assert lr_of(optimizer) == optim.OneCycleLR(sgd(), 1.0, 10).lr_at(1, 0.04)


def test_a_group_added_later_follows_from_its_own_learning_rate():
    optimizer = sgd(0.8)
    schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    schedule.step()
    optimizer.add_param_group({"params": [Tensor([1.0], requires_grad=True)], "lr": 0.1})
    schedule.step()
    assert schedule.get_last_lr() == [0.4, 0.05]
    optimizer.add_param_group({"params": [Tensor([1.0], requires_grad=True)], "lr": 0.3})
    schedule.step()
    assert schedule.get_last_lr() == [0.4, 0.05, 0.3]
    schedule.step()
    assert schedule.get_last_lr() == [0.2, 0.025, 0.15]


def test_says_what_a_step_is_meant_to_be():
    optimizer = sgd()
    assert not optim.StepLR(optimizer, 1).per_batch
    assert optim.StepLR(optimizer, 1, per_batch=True).per_batch
    assert optim.OneCycleLR(optimizer, 1.0, 10).per_batch
    assert not optim.ReduceLROnPlateau(optimizer).per_batch
    assert optim.SequentialLR(optimizer, [optim.LinearWarmup(optimizer, per_batch=True)], []).per_batch


def test_the_end_of_one_cycle_is_its_lowest_learning_rate():
    optimizer = sgd()
    schedule = optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=10, anneal_strategy="linear")
    for _ in range(10):
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1 / 25 / 1e4)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(ValueError, match=r"OneCycleLR has total_steps=10, and step\(\) was called once more"):
        schedule.step()
    assert optimizer.param_groups[0] == before
    assert schedule.last_epoch == 10


@pytest.mark.parametrize(("total", "pct_start"), [(1, 0.3), (10, 0.0), (10, 0.1), (10, 1.0), (3, 0.3)])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_of_any_proportions_stays_in_its_range(total, pct_start, three_phase):
    optimizer = sgd()
    schedule = optim.OneCycleLR(optimizer, 1.0, total, pct_start=pct_start, three_phase=three_phase)
    for _ in range(total):
        assert 1 / 25 / 1e4 <= optimizer.param_groups[0]["lr"] <= 1.0 + 1e-12
        assert 0.85 - 1e-12 <= optimizer.param_groups[0]["momentum"] <= 0.95 + 1e-12
        schedule.step()


def test_adams_second_beta_is_left_alone_by_one_cycle():
    optimizer = optim.Adam([Tensor([1.0], requires_grad=True)], betas=(0.5, 0.75))
    optim.OneCycleLR(optimizer, 1.0, 10)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.75)


# Plateaus


def test_a_plateau_goes_on_where_it_was():
    metrics = [3, 2, 2, 2, 2.5, 2, 1, 1, 1, 1, 1, 1]
    whole, before, after = sgd(), sgd(), sgd(5.0)
    schedules = [optim.ReduceLROnPlateau(o, patience=1, cooldown=1, factor=0.5) for o in (whole, before, after)]
    for metric in metrics:
        schedules[0].step(metric)
    for metric in metrics[:5]:
        schedules[1].step(metric)
    after.load_state_dict(before.state_dict())
    schedules[2].load_state_dict(schedules[1].state_dict())
    assert schedules[2].state_dict() == schedules[1].state_dict()
    for metric in metrics[5:]:
        schedules[2].step(metric)
    assert schedules[2].state_dict() == schedules[0].state_dict()
    assert schedules[2].get_last_lr() == schedules[0].get_last_lr()
    assert whole.param_groups[0]["lr"] < 0.2


def test_nan_is_no_improvement():
    optimizer = sgd(0.8)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for metric, lr in ((1.0, 0.8), (math.nan, 0.4), (math.nan, 0.2), (0.5, 0.2)):
        schedule.step(metric)
        assert optimizer.param_groups[0]["lr"] == lr
    assert schedule.best == 0.5


def test_first_metrics_that_are_nan_count_as_bad_epochs():
    """As in PyTorch: the first number after them is the best there was, in either mode."""
    for mode, sign in (("min", 1.0), ("max", -1.0)):
        optimizer = sgd(0.8)
        schedule = optim.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=1)
        found = []
        for metric in (math.nan, math.nan, math.nan, 3.0, math.nan, 2.0):
            schedule.step(sign * metric)
            found.append((optimizer.param_groups[0]["lr"], sign * schedule.best, schedule.num_bad_epochs))
        assert found == [
            (0.8, math.inf, 1),
            (0.4, math.inf, 0),
            (0.4, math.inf, 1),
            (0.4, 3, 0),
            (0.4, 3, 1),
            (0.4, 2, 0),
        ]


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda optimizer: optim.StepLR(optimizer, 2), lambda optimizer: optim.LinearWarmup(optimizer)),
        (lambda optimizer: optim.StepLR(optimizer, 2), lambda optimizer: optim.ReduceLROnPlateau(optimizer)),
        (lambda optimizer: optim.ReduceLROnPlateau(optimizer), lambda optimizer: optim.StepLR(optimizer, 2)),
    ],
)
def test_the_state_of_another_kind_is_refused(make, other):
    schedule, another = make(sgd()), other(sgd())
    another.step(*[1.0] * isinstance(another, optim.ReduceLROnPlateau))
    kinds = f"^{type(schedule).__name__}: .* its kind, got that of {type(another).__name__!r}$"
    with pytest.raises(ValueError, match=kinds):
        schedule.load_state_dict(another.state_dict())
    assert schedule.last_epoch == 0


def test_a_state_of_an_older_version_does_not_say_its_kind():
    schedule = optim.StepLR(sgd(0.8), 2, 0.5)
    schedule.load_state_dict({"last_epoch": 2})
    assert (schedule.last_epoch, schedule.get_last_lr()) == (2, [0.4])


def test_a_spoilt_state_is_refused_whole():
    schedule = optim.ReduceLROnPlateau(sgd())
    schedule.step(1.0)
    before = schedule.state_dict()
    with pytest.raises(ValueError, match="cooldown_counter is an integer of at least 0, got -1"):
        schedule.load_state_dict({**before, "best": 7.0, "cooldown_counter": -1})
    with pytest.raises(TypeError, match="best is a number, got None"):
        schedule.load_state_dict({"last_epoch": 3})
    assert schedule.state_dict() == before
    cosine = optim.CosineAnnealingLR(sgd(), 5)
    for state in ({}, {"last_epoch": 2.5}):
        with pytest.raises(TypeError, match="last_epoch is an integer of at least 0"):
            cosine.load_state_dict(state)
    assert cosine.last_epoch == 0


# What is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.StepLR(o, 0), ValueError, "step_size is an integer of at least 1, got 0"),
        (lambda o: optim.StepLR(o, "2"), TypeError, "step_size is an integer"),  # type: ignore[arg-type]
        (lambda o: optim.StepLR(o, 2, math.nan), ValueError, "gamma is a finite number above 0, got nan"),
        (lambda o: optim.CosineAnnealingLR(o, 0), ValueError, "T_max is"),
        (lambda o: optim.CosineAnnealingLR(o, 5, -1), ValueError, "eta_min is"),
        (lambda o: optim.LinearWarmup(o, 0), ValueError, "total_iters is"),
        (lambda o: optim.LinearWarmup(o, 5, 1.5), ValueError, "start_factor is a number from 0 to 1, got 1.5"),
        (lambda o: optim.OneCycleLR(o, 1.0), ValueError, "OneCycleLR: total_steps, or both epochs and steps_per_epoch"),
        (lambda o: optim.OneCycleLR(o, 1.0), ValueError, "got epochs=None and steps_per_epoch=None"),
        (lambda o: optim.OneCycleLR(o, 1.0, epochs=3), ValueError, "got epochs=3 and steps_per_epoch=None"),
        (lambda o: optim.OneCycleLR(o, 1.0, steps_per_epoch=3), ValueError, "got epochs=None and steps_per_epoch=3"),
        (lambda o: optim.OneCycleLR(o, 1.0, 0), ValueError, "total_steps is"),
        (lambda o: optim.OneCycleLR(o, 1.0, epochs=0, steps_per_epoch=4), ValueError, "epochs is"),
        (lambda o: optim.OneCycleLR(o, 0, 5), ValueError, "max_lr is a finite number above 0, got 0"),
        (
            lambda o: optim.OneCycleLR(o, [1.0, 2.0], 5),
            ValueError,
            "max_lr is a number, or one for each of 1 groups, got 2",
        ),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, pct_start=2), ValueError, "pct_start is"),
        (
            lambda o: optim.OneCycleLR(o, 1.0, 5, anneal_strategy="sine"),
            ValueError,
            "is 'cos' or 'linear', got 'si",
        ),
        (lambda o: optim.SequentialLR(o, [], []), ValueError, "got 0 for 0"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), ValueError, "got 1 for 1"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 3, [3, 3]), ValueError, "milestones rise"),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 2, [0]),
            ValueError,
            "milestones is an integer",
        ),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(sgd(), 1)], []), ValueError, "share one optimizer"),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.StepLR(o, 1, per_batch=True)], [1]),
            ValueError,
            "and one per_batch",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], []),  # type: ignore[list-item]
            TypeError,
            "one that depends on the step alone, got ReduceLROnPlateau",
        ),
        (lambda o: optim.ReduceLROnPlateau(o, "low"), ValueError, "mode is 'min' or 'max', got 'low'"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor is"),
        (lambda o: optim.ReduceLROnPlateau(o, patience=-1), ValueError, "patience is"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "threshold_mode is 'rel' or 'abs'"),
        (lambda o: optim.ReduceLROnPlateau(o, min_lr=[0.1, 0.1]), ValueError, r"min_lr is a number, .* got 2"),
    ],
)
def test_arguments_out_of_range(make, error, message):
    optimizer = sgd()
    with pytest.raises(error, match=message):
        make(optimizer)


@pytest.mark.parametrize("make", [*EVERY.values(), optim.ReduceLROnPlateau])
def test_takes_an_optimizer(make):
    with pytest.raises(TypeError, match=r"optimizer is one, .* got list"):
        make([Tensor([1.0])])


def test_one_cycle_without_momentum_to_write():
    class Plain(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1, "maximize": False}, {})

        def update(self, parameter, gradient, state, group):
            parameter -= group["lr"] * gradient

    optimizer = Plain([Tensor([1.0], requires_grad=True)])
    with pytest.raises(ValueError, match="cycle_momentum=True is for an optimizer with momentum or betas"):
        optim.OneCycleLR(optimizer, 1.0, 5)
    assert optimizer.param_groups[0]["lr"] == 0.1
    optim.OneCycleLR(optimizer, 1.0, 5, cycle_momentum=False)
    assert optimizer.param_groups[0]["lr"] == 0.04


@pytest.mark.parametrize("per_batch", [True, False])
def test_a_schedule_says_whether_it_steps_with_each_batch(per_batch):
    def made(schedule, *arguments, **options):
        return schedule(sgd(momentum=0.5), *arguments, **options, per_batch=per_batch)

    for schedule in (
        made(optim.StepLR, 3),
        made(optim.CosineAnnealingLR, 3),
        made(optim.LinearWarmup, 3),
        made(optim.OneCycleLR, 1.0, total_steps=3),
    ):
        assert schedule.per_batch == per_batch
    assert not any(schedule(sgd(momentum=0.5), 3).per_batch for schedule in (optim.StepLR, optim.CosineAnnealingLR))
    assert not optim.LinearWarmup(sgd()).per_batch
    assert not optim.ReduceLROnPlateau(sgd(momentum=0.5)).per_batch
    assert optim.OneCycleLR(sgd(momentum=0.5), 1.0, total_steps=3).per_batch


@pytest.mark.parametrize("name", ["epochs", "steps_per_epoch"])
def test_one_cycle_has_at_least_one_step(name):
    with pytest.raises(ValueError, match=f"{name} is an integer of at least 1, got 0"):
        optim.OneCycleLR(sgd(momentum=0.5), 1.0, **{"epochs": 2, "steps_per_epoch": 2} | {name: 0})
    one = optim.OneCycleLR(sgd(momentum=0.5), 1.0, epochs=3, steps_per_epoch=5)
    assert one.total_steps == 15


def test_a_plateau_lasts_ten_epochs_if_nothing_is_said():
    plateau = optim.ReduceLROnPlateau(sgd(1.0))
    rates = []
    for metric in (1.0, *[1.0 - 1e-4] * 11, *[2.0] * 11):
        plateau.step(metric)
        rates += plateau.get_last_lr()
    assert rates == [1.0] * 11 + [0.1] * 11 + [0.1 * 0.1]


def test_a_schedule_goes_from_its_defaults():
    warm = optim.LinearWarmup(sgd(3.0))
    rates = warm.get_last_lr()
    for _ in range(6):
        warm.step()
        rates += warm.get_last_lr()
    assert rates == pytest.approx([1, 1.4, 1.8, 2.2, 2.6, 3, 3])
    step = optim.StepLR(sgd(3.0), 1)
    step.step()
    assert step.get_last_lr() == pytest.approx([0.3])
    assert optim.CosineAnnealingLR(sgd(3.0), 2).lr_at(2, 3.0) == 0


@pytest.mark.parametrize("value", [math.inf, math.nan, -0.1])
def test_lowest_rates_and_thresholds_are_finite_and_not_negative(value):
    optimizer = optim.SGD([Tensor([1.0], requires_grad=True)], lr=0.1)
    for make in (
        lambda: optim.CosineAnnealingLR(optimizer, 5, eta_min=value),
        lambda: optim.ReduceLROnPlateau(optimizer, min_lr=value),
        lambda: optim.ReduceLROnPlateau(optimizer, threshold=value),
    ):
        with pytest.raises(ValueError, match="is a finite number of at least 0"):
            make()


def test_a_rate_that_somebody_else_left_rises_again_by_what_the_cosine_s_own_would():
    schedule = optim.CosineAnnealingLR(sgd(), T_max=4, eta_min=0.01)
    own = [schedule.lr_at(step, 0.5) for step in (4, 5)]
    assert schedule.next_lr(5, 0.2, 0.5) == pytest.approx(0.2 + own[1] - own[0])


def test_a_rate_that_would_fall_by_no_more_than_eps_stays():
    optimizer = sgd(1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, eps=0.5)
    for _ in range(3):
        schedule.step(1.0)
    assert optimizer.param_groups[0]["lr"] == 1.0


# In a captured step


CAPTURED = {
    **EVERY,
    "OneCycleLR of Adam": lambda optimizer: optim.OneCycleLR(optimizer, max_lr=0.1, total_steps=25),
    "of one's own": Own,
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_step_goes_on_with_the_schedule(name):
    def schedule(optimizer):
        return CAPTURED[name](optimizer)

    make = partial(optim.Adam, lr=0.05) if name.endswith("Adam") else partial(optim.SGD, lr=0.05, momentum=0.9)
    fast = run_both(make, schedule, steps=12)
    assert (len(fast.plans), fast.why) == (1, "")


def test_a_captured_step_meets_the_end_of_a_cycle_as_an_eager_one():
    run = Run(partial(optim.SGD, lr=0.1, momentum=0.9), lambda optimizer: optim.OneCycleLR(optimizer, 0.1, 7))
    fast = capture(run.step)
    x, y = Tensor(np.ones((4, 3), np.float32)), Tensor(np.ones((4, 2), np.float32))
    for _ in range(7):
        fast(x, y)
    with pytest.raises(ValueError, match="total_steps=7, and step\\(\\) was called once more"):
        fast(x, y)
    assert run.schedule.last_epoch == 7


def test_options_that_schedules_do_not_write_stay_guards():
    def between(run, number):
        run.optimizer.param_groups[0]["maximize"] = number in (5, 6)
        run.optimizer.param_groups[1]["nesterov"] = number > 8

    make = partial(optim.SGD, lr=0.05, momentum=0.9)
    fast = run_both(make, lambda optimizer: optim.StepLR(optimizer, 2), between, steps=12)
    assert fast.why == ""


def test_a_rate_set_by_hand_inside_of_a_captured_step_is_noticed():
    run = Run(partial(optim.SGD, lr=0.8))

    def step(x, y):
        run.optimizer.param_groups[0]["lr"] /= 2
        return run.step(x, y)

    fast = capture(step)
    x, y = Tensor(np.ones((4, 3), np.float32)), Tensor(np.ones((4, 2), np.float32))
    for _ in range(4):
        fast(x, y)
    assert lr_of(run.optimizer) == 0.05
    assert "it changes 'lr'" in fast.why


def test_a_schedule_that_waits_for_a_plateau_keeps_a_step_eager():
    run = Run(partial(optim.SGD, lr=0.1), lambda optimizer: optim.ReduceLROnPlateau(optimizer, patience=0))

    def step(x, y, factor):
        run.optimizer.zero_grad()
        loss = ops.mse_loss(run.model(x), y) * factor
        loss.backward()
        run.schedule.step(loss.item())

    fast = capture(step)
    x = Tensor(np.ones((4, 3), np.float32))
    for factor in (1.0, 1.0, 0.5, 0.5):
        fast(x, Tensor(np.zeros((4, 2), np.float32)), Tensor(factor))
    assert run.schedule.last_epoch == 4
    assert "item() reads elements" in fast.why
