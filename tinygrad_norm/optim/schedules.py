"""Learning-rate schedules: each learning rate is a function of the number of steps, so a resumed run repeats none.

A schedule reads a group's "initial_lr" (its "lr" when the first schedule was made) and writes its "lr". Several on one
optimizer compose as PyTorch's chainable ones do: a schedule that finds another rate than its own, because another
schedule or somebody by hand wrote it, scales that one. OneCycleLR and SequentialLR refuse it instead. Of a rate of 0
nothing is left to scale: what others did to it before is lost there.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tinygrad_norm.checks import (
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Range,
    check_choice,
    check_integer,
    check_number,
    check_type,
)
from tinygrad_norm.launch import host, looked_up
from tinygrad_norm.optim.optimizer import Optimizer

_WRITTEN = ("lr", "initial_lr", "momentum", "betas")
"""The options that schedules write."""


class LRScheduler(ABC):
    """A learning rate for every step; making one already writes that of step 0.

    Args:
        optimizer: whose learning rates to write.
        per_batch: whether `step()` is meant after each batch and not after each epoch; the Trainer reads it.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> schedule = optim.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> isinstance(schedule, optim.LRScheduler), optimizer.param_groups[0]["lr"]
        (True, 1.0)
        >>> schedule.step()
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """

    def __init__(self, optimizer: Optimizer, *, per_batch: bool = False) -> None:
        self.optimizer = _checked(optimizer, self)
        self.per_batch = per_batch
        self.last_epoch = 0
        rates, first = self._rates(0), optimizer.first_lrs
        for number, (group, rate) in enumerate(zip(optimizer.param_groups, rates, strict=True)):
            if group["lr"] in (group["initial_lr"], first.get(number)):  # nobody has stepped or set a rate yet
                first[number] = rate
        self.write(0, rates)

    @abstractmethod
    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return the learning rate after `step` steps of a group that began with `initial_lr`."""

    def next_lr(self, step: int, lr: float, initial_lr: float) -> float:
        """Return the learning rate after `step` steps of a group that somebody else left at `lr`, scaled as its own.

        Raises:
            ValueError: its own was 0 before, and `lr` is not.
        """
        scale = initial_lr or 1.0
        before = self.lr_at(step - 1, scale) if step else scale
        if not before:
            raise ValueError(
                f"{type(self).__name__}: the learning rate after {step - 1} steps is 0, but was changed to {lr:g}, and "
                "there is no factor from 0 to the next; change it after another step"
            )
        return lr * (self.lr_at(step, scale) / before)

    def step(self) -> None:
        """Go on to the next learning rate; call it after the optimizer's step."""
        written = [(group, option) for group in self.optimizer.param_groups for option in _WRITTEN]
        host(_go_on, [(vars(self), "last_epoch"), *written], self)

    @property
    def last_epoch(self) -> int:
        """How many steps were made."""
        looked_up(vars(self), "last_epoch")
        found: int = vars(self)["last_epoch"]
        return found

    @last_epoch.setter
    def last_epoch(self, step: int) -> None:
        vars(self)["last_epoch"] = step

    def _go_on(self) -> None:
        step = self.last_epoch + 1
        self.write(step, self._rates(step))
        self.last_epoch = step

    def write(self, step: int, rates: Sequence[float]) -> None:
        """Write the learning rate of each group, and whatever else changes with the step."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _rates(self, step: int) -> list[float]:
        """Return the learning rate of each group after `step` steps, going on from those after one step less."""
        rates = []
        for group in self.optimizer.param_groups:
            lr: float = group["lr"]
            initial: float = group.setdefault("initial_lr", lr)
            alone = lr == (self.lr_at(step - 1, initial) if step else initial)
            rates.append(self.lr_at(step, initial) if alone else self.next_lr(step, lr, initial))
        return rates

    def _own_rates(self, step: int) -> list[float]:
        """Return the learning rate of each group after `step` steps of this schedule alone."""
        groups = self.optimizer.param_groups
        return [self.lr_at(step, group["initial_lr" if "initial_lr" in group else "lr"]) for group in groups]

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the kind, the number of steps, and the learning rates if somebody else changed them.

        All else is an argument; the initial learning rates are saved with the optimizer.
        """
        rates = self.get_last_lr()
        state = {"kind": type(self).__name__, "last_epoch": self.last_epoch}
        return state if rates == self._own_rates(self.last_epoch) else {**state, "lr": rates}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; load the optimizer before, which holds the initial learning rates.

        Raises:
            ValueError: it is the state of another kind of schedule, or a number is out of range.
        """
        _check_kind(self, state_dict)
        step = check_integer("last_epoch", state_dict.get("last_epoch"), 0)
        groups = len(self.optimizer.param_groups)
        changed = state_dict.get("lr")
        self.write(step, self._own_rates(step) if changed is None else _per_group("lr", changed, groups, NOT_NEGATIVE))
        self.last_epoch = step


class StepLR(LRScheduler):
    """Multiply the learning rate by `gamma` every `step_size` steps.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> schedule, rates = optim.StepLR(optimizer, step_size=2, gamma=0.1), []
        >>> for _ in range(5):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
        ...     schedule.step()
        >>> rates
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, *, per_batch: bool = False) -> None:
        self.step_size = check_integer("StepLR: step_size", step_size, 1)
        self.gamma = check_number("StepLR: gamma", gamma, POSITIVE)
        super().__init__(optimizer, per_batch=per_batch)

    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return `initial_lr * gamma ** (step // step_size)`."""
        return initial_lr * self.gamma ** (step // self.step_size)


class CosineAnnealingLR(LRScheduler):
    """Go from the initial learning rate to `eta_min` on half a cosine of `T_max` steps, and then back, as a wave.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, 2017 (without the restarts).

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> schedule, rates = optim.CosineAnnealingLR(optimizer, T_max=4), []
        >>> for _ in range(5):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
        ...     schedule.step()
        >>> rates
        [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, *, per_batch: bool = False) -> None:
        self.T_max = check_integer("CosineAnnealingLR: T_max", T_max, 1)
        self.eta_min = check_number("CosineAnnealingLR: eta_min", eta_min, NOT_NEGATIVE)
        super().__init__(optimizer, per_batch=per_batch)

    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return `eta_min + (initial_lr - eta_min) * (1 + cos(pi * step / T_max)) / 2`."""
        return _cosine(initial_lr, self.eta_min, step / self.T_max)

    def next_lr(self, step: int, lr: float, initial_lr: float) -> float:
        """Return the learning rate after `step` steps of a group that somebody else left at `lr`.

        Its distance from `eta_min` is scaled; from the end of a half wave it rises by what the schedule's own would.
        """
        if not step:
            return lr
        before, after = [1 + math.cos(math.pi * number / self.T_max) for number in (step - 1, step)]
        if (step - 1) % (2 * self.T_max) == self.T_max:
            return lr + (initial_lr - self.eta_min) * after / 2
        return self.eta_min + (lr - self.eta_min) * (after / before)


class LinearWarmup(LRScheduler):
    """Rise from `start_factor` of the learning rate to all of it on a line of `total_iters` steps, and stay there.

    PyTorch's LinearLR with its defaults.

    Source: Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, 2017.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> schedule, rates = optim.LinearWarmup(optimizer, total_iters=4, start_factor=0.2), []
        >>> for _ in range(6):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
        ...     schedule.step()
        >>> rates
        [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, start_factor: float = 1 / 3, *, per_batch: bool = False
    ) -> None:
        self.total_iters = check_integer("LinearWarmup: total_iters", total_iters, 1)
        self.start_factor = check_number("LinearWarmup: start_factor", start_factor, FRACTION)
        super().__init__(optimizer, per_batch=per_batch)

    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return `initial_lr * (start_factor + (1 - start_factor) * min(step / total_iters, 1))`."""
        return initial_lr * _linear(self.start_factor, 1.0, min(step / self.total_iters, 1.0))


class _Sole(LRScheduler):
    """A schedule whose learning rates do not depend on those there are, so that it composes with nobody else's."""

    def __init__(self, optimizer: Optimizer, *, per_batch: bool) -> None:
        super().__init__(optimizer, per_batch=per_batch)
        self.groups = len(optimizer.param_groups)

    def next_lr(self, step: int, lr: float, initial_lr: float) -> float:
        """Refuse a learning rate that is not this schedule's own, but for rounding."""
        own = self.lr_at(step - 1, initial_lr) if step else initial_lr
        if not math.isclose(lr, own, rel_tol=1e-9, abs_tol=1e-12 * initial_lr):
            raise ValueError(
                f"{type(self).__name__} goes on from a learning rate of {own:g}, but finds {lr:g}, set by hand or by "
                'another schedule; it composes with neither: write group["lr"] back, or chain other schedules'
            )
        return self.lr_at(step, initial_lr)

    def _go_on(self) -> None:
        self.check()
        super()._go_on()

    def check(self) -> None:
        """Raise a ValueError if the optimizer got another group since the schedule was made."""
        if (groups := len(self.optimizer.param_groups)) != self.groups:
            raise ValueError(
                f"{type(self).__name__} was made for {self.groups} parameter groups, but the optimizer has {groups} "
                "now; make it after the last group"
            )


class SequentialLR(_Sole):
    """One schedule after another, each counting from its own beginning: warm-up and then cosine, for one.

    It begins from the initial learning rates, and composes with no other schedule.

    Args:
        optimizer: whose learning rates to write.
        schedulers: schedules of this optimizer.
        milestones: the step at which each schedule but the first begins, rising.

    Raises:
        TypeError: one of them does not depend on the step alone.
        ValueError: milestones or schedules do not fit, or a learning rate is another than when the first schedule was
            made; in `step`, a learning rate was changed since, or a group added.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> parts = [optim.LinearWarmup(optimizer, 2, 0.5), optim.StepLR(optimizer, 1, 0.1)]
        >>> schedule, rates = optim.SequentialLR(optimizer, parts, milestones=[2]), []
        >>> for _ in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 3))
        ...     schedule.step()
        >>> rates
        [0.5, 0.75, 1.0, 0.1]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: milestones are one fewer than schedulers, got {len(milestones)} for {len(schedulers)}"
            )
        for scheduler in schedulers:
            check_type("SequentialLR: a schedule", scheduler, LRScheduler, "one that depends on the step alone")
            if scheduler.optimizer is not optimizer or scheduler.per_batch != schedulers[0].per_batch:
                raise ValueError("SequentialLR: schedulers share one optimizer and one per_batch")
        self.schedulers = list(schedulers)
        self.milestones = [check_integer("SequentialLR: milestones", milestone, 1) for milestone in milestones]
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"SequentialLR: milestones rise, got {self.milestones}")
        for number, group in enumerate(optimizer.param_groups):
            if group["lr"] == optimizer.first_lrs.get(number):  # which these schedules wrote as they were made
                group["lr"] = group["initial_lr"]
        super().__init__(optimizer, per_batch=schedulers[0].per_batch)

    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return the learning rate of the schedule that this step is in."""
        scheduler, step = self._active(step)
        return scheduler.lr_at(step, initial_lr)

    def write(self, step: int, rates: Sequence[float]) -> None:
        """Let the schedule that this step is in write."""
        scheduler, step = self._active(step)
        scheduler.write(step, rates)

    def _active(self, step: int) -> tuple[LRScheduler, int]:
        index = bisect_right(self.milestones, step)
        return self.schedulers[index], step - (self.milestones[index - 1] if index else 0)


class OneCycleLR(_Sole):
    """Up to `max_lr` and down to almost nothing, once; momentum goes the other way. One step is one batch.

    It begins from `max_lr` alone, whatever the learning rates are, and composes with no other schedule.

    Args:
        optimizer: whose learning rates to write.
        max_lr: the highest learning rate, of all groups or of each.
        total_steps: steps in the cycle; or `epochs` and `steps_per_epoch`, whose product it is.
        epochs: see `total_steps`.
        steps_per_epoch: see `total_steps`.
        pct_start: the part of the cycle spent going up, from 0 to 1.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: whether to write the momentum (the first of `betas`) too.
        base_momentum: at the highest learning rate.
        max_momentum: at the beginning and at the end.
        div_factor: the first learning rate is `max_lr / div_factor`.
        final_div_factor: the last one is the first one divided by this.
        three_phase: go down as long as up, and spend the rest of the cycle on the last decay.

    Raises:
        ValueError: an argument out of range; in `step`, the end of the cycle is passed, a learning rate or momentum
            was changed since the last step, or a group added.

    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates,
        2018.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0, momentum=0.9)
        >>> schedule, rates = optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=5), []
        >>> for _ in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
        ...     schedule.step()
        >>> rates
        [0.04, 0.95, 0.61, 0.19]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        *,
        per_batch: bool = True,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    f"OneCycleLR: total_steps, or both epochs and steps_per_epoch are given, got epochs={epochs} and "
                    f"steps_per_epoch={steps_per_epoch}"
                )
            total_steps = check_integer("OneCycleLR: epochs", epochs, 1) * check_integer(
                "OneCycleLR: steps_per_epoch", steps_per_epoch, 1
            )
        self.total_steps = check_integer("OneCycleLR: total_steps", total_steps, 1)
        check_choice("OneCycleLR: anneal_strategy", anneal_strategy, ("cos", "linear"))
        self.anneal = _cosine if anneal_strategy == "cos" else _linear
        self.cycle_momentum = cycle_momentum
        base = check_number("OneCycleLR: base_momentum", base_momentum, FRACTION)
        high = check_number("OneCycleLR: max_momentum", max_momentum, FRACTION)
        div = check_number("OneCycleLR: div_factor", div_factor, POSITIVE)
        final_div = check_number("OneCycleLR: final_div_factor", final_div_factor, POSITIVE)
        rise = check_number("OneCycleLR: pct_start", pct_start, FRACTION) * self.total_steps
        # Between which it goes: the step, the learning rate in units of the initial one, and the momentum.
        self.knots = [(0.0, 1.0, high), (rise - 1, div, base)]
        if three_phase:
            self.knots.append((2 * rise - 2, 1.0, high))
        self.knots.append((self.total_steps - 1, 1 / final_div, high))

        groups = _checked(optimizer, self).param_groups
        if cycle_momentum and not any(name in optimizer.defaults for name in ("momentum", "betas")):
            raise ValueError("OneCycleLR: cycle_momentum=True is for an optimizer with momentum or betas")
        for group, highest in zip(groups, _per_group("OneCycleLR: max_lr", max_lr, len(groups), POSITIVE), strict=True):
            group["lr"] = group["initial_lr"] = highest / div
        super().__init__(optimizer, per_batch=per_batch)

    def lr_at(self, step: int, initial_lr: float) -> float:
        """Return the learning rate of this step; `initial_lr` is `max_lr / div_factor`."""
        return initial_lr * self._at(step)[0]

    def _at(self, step: int) -> tuple[float, float]:
        """Return the learning rate of a step, in units of the initial one, and the momentum."""
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR has total_steps={self.total_steps}, and step() was called once more")
        phases = list(pairwise(self.knots))
        (first, *before), (last, *after) = next((phase for phase in phases if step <= phase[1][0]), phases[-1])
        part = min((step - first) / (last - first), 1.0) if last > first else 1.0
        lr, momentum = [self.anneal(start, end, part) for start, end in zip(before, after, strict=True)]
        return lr, momentum

    def check(self) -> None:
        """Raise a ValueError if the optimizer got another group, or a momentum was changed."""
        super().check()
        own = self._at(self.last_epoch)[1]
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            found = group["betas"][0] if "betas" in group else group["momentum"]
            if not math.isclose(found, own, rel_tol=1e-9):
                raise ValueError(
                    f"OneCycleLR goes on from a momentum of {own:g}, but finds {found:g}; cycle_momentum=False "
                    "leaves it to others"
                )

    def write(self, step: int, rates: Sequence[float]) -> None:
        """Write the learning rates and the momenta of this step."""
        super().write(step, rates)
        momentum = self._at(step)[1]
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum


class ReduceLROnPlateau:
    """Multiply the learning rates by `factor` when a metric has not improved for more than `patience` epochs.

    Args:
        optimizer: whose learning rates to write.
        mode: "min" if a lower metric is better, or "max".
        factor: from 0 up to but not including 1.
        patience: how many epochs without improvement are allowed.
        threshold: how much better counts as better: a part of the best ("rel") or a difference ("abs").
        threshold_mode: "rel" or "abs".
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: the lowest learning rate, of all groups or of each.
        eps: smaller reductions are not made.

    Example:
        >>> optimizer = optim.SGD([nn.Parameter([0.0])], lr=1.0)
        >>> schedule = optim.ReduceLROnPlateau(optimizer, patience=1)
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     schedule.step(loss)
        >>> optimizer.param_groups[0]["lr"]
        0.1
    """

    per_batch = False

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = _checked(optimizer, self)
        check_choice("ReduceLROnPlateau: mode", mode, ("min", "max"))
        check_choice("ReduceLROnPlateau: threshold_mode", threshold_mode, ("rel", "abs"))
        self.sign = 1.0 if mode == "min" else -1.0
        self.factor = check_number("ReduceLROnPlateau: factor", factor, BELOW_ONE)
        self.patience = check_integer("ReduceLROnPlateau: patience", patience, 0)
        self.threshold = check_number("ReduceLROnPlateau: threshold", threshold, NOT_NEGATIVE)
        self.relative = threshold_mode == "rel"
        self.cooldown = check_integer("ReduceLROnPlateau: cooldown", cooldown, 0)
        _per_group("ReduceLROnPlateau: min_lr", min_lr, len(optimizer.param_groups), NOT_NEGATIVE)
        self.min_lr = min_lr
        self.eps = check_number("ReduceLROnPlateau: eps", eps, NOT_NEGATIVE)
        self.best = self.sign * math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    def step(self, metric: float) -> None:
        """Count an epoch that ended with this metric; NaN is no improvement."""
        self.last_epoch += 1
        margin = self.sign * self.threshold
        bound = self.best * (1 - margin) if self.relative else self.best - margin
        if self.sign * metric < self.sign * bound:
            self.best = float(metric)
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        for group, lowest in zip(
            groups, _per_group("ReduceLROnPlateau: min_lr", self.min_lr, len(groups), NOT_NEGATIVE), strict=True
        ):
            lr = max(group["lr"] * self.factor, lowest)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the kind and what was counted; the learning rates are saved with the optimizer."""
        names = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")
        return {"kind": type(self).__name__, **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: it is the state of another kind of schedule, or a number is out of range.
        """
        _check_kind(self, state_dict)
        best = check_number("ReduceLROnPlateau: best", state_dict.get("best"), Range("a number", lambda value: True))
        names = ("last_epoch", "num_bad_epochs", "cooldown_counter")
        counts = {name: check_integer(name, state_dict.get(name), 0) for name in names}
        self.best = best
        self.__dict__.update(counts)


def _go_on(_: Any, schedule: LRScheduler) -> None:
    schedule._go_on()


def _cosine(start: float, end: float, part: float) -> float:
    """Go from `start` to `end` on half a cosine, as `part` goes from 0 to 1."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


def _linear(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _checked(optimizer: Optimizer, scheduler: object) -> Optimizer:
    check_type(f"{type(scheduler).__name__}: optimizer", optimizer, Optimizer, "one, such as SGD(...)")
    return optimizer


def _check_kind(schedule: LRScheduler | ReduceLROnPlateau, state: Mapping[str, Any]) -> None:
    """Refuse the state of another kind of schedule; states of older versions do not say theirs."""
    own = type(schedule).__name__
    if (kind := state.get("kind", own)) != own:
        raise ValueError(f"{own}: load_state_dict takes the state of a schedule of its kind, got that of {kind!r}")


def _per_group(name: str, value: float | Sequence[float], groups: int, allowed: Range) -> list[float]:
    values = list(value) if isinstance(value, Sequence) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{name} is a number, or one for each of {groups} groups, got {len(values)}")
    return [check_number(name, value, allowed) for value in values]
