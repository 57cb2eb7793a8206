"""Optimizers in a captured step: the bits of an eager one, whatever the user changes between two calls."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tests.optim.optimizers import EVERY
from tests.optim.steps import Run, run_both
from tinygrad_norm import Tensor, capture, optim

MORE = {
    "SGD with Nesterov's momentum": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "plain SGD": partial(optim.SGD, lr=0.1),
    "Lookahead of SGD": lambda params: optim.Lookahead(optim.SGD(params, lr=0.1, momentum=0.5), k=2, alpha=0.3),
    "going up": partial(optim.RMSprop, maximize=True),
}
OPTIMIZERS = EVERY | MORE


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_twenty_steps(make):
    fast = run_both(make, clip=lambda parameters: optim.clip_grad_norm(parameters, 0.7))
    assert (len(fast.plans), fast.why) == (1, "")


def changes(**options):
    """What changes options of the first group before steps 5 to 7."""

    def between(run, number):
        group = run.optimizer.param_groups[0]
        if number == 5:
            group.update(options)
        if number == 8:
            group.update({name: run.optimizer.defaults[name] for name in options})

    return between


SGD, ADAM = partial(optim.SGD, lr=0.1, momentum=0.9), partial(optim.Adam, lr=0.01)
CHANGES = {
    "lr": (SGD, {"lr": 0.3}),
    "lr of 0": (SGD, {"lr": 0.0}),
    "momentum": (SGD, {"momentum": 0.5}),
    "momentum of 0": (SGD, {"momentum": 0.0}),
    "momentum, from 0": (partial(optim.SGD, lr=0.1), {"momentum": 0.9}),
    "dampening": (SGD, {"dampening": 0.3}),
    "nesterov": (SGD, {"nesterov": True}),
    "maximize": (SGD, {"maximize": True}),
    "weight_decay": (SGD, {"weight_decay": 0.5}),
    "betas": (ADAM, {"betas": (0.5, 0.9)}),
    "eps": (ADAM, {"eps": 0.1}),
    "amsgrad": (ADAM, {"amsgrad": True}),
    "Adam's maximize": (ADAM, {"maximize": True}),
    "AdamW's decay": (optim.AdamW, {"weight_decay": 0.5}),
    "alpha": (optim.RMSprop, {"alpha": 0.5}),
    "centered": (optim.RMSprop, {"centered": True}),
    "RMSprop's momentum": (optim.RMSprop, {"momentum": 0.9}),
}


@pytest.mark.parametrize(("make", "options"), CHANGES.values(), ids=CHANGES)
def test_options_change_between_steps(make, options):
    fast = run_both(make, between=changes(**options), steps=12)
    assert fast.why == ""


def test_lookahead_meets_more_often():
    def between(run, number):
        if number == 6:
            run.optimizer.k, run.optimizer.alpha = 2, 0.9

    fast = run_both(EVERY["Lookahead"], between=between, steps=14)
    assert fast.why == ""


class AllButTheLast(Run):
    def groups(self):
        return [each for each in self.model.parameters() if each is not self.model[2].bias]


def test_parameters_are_frozen_and_added():
    def between(run, number):
        if number == 4:
            run.model[0].bias.requires_grad_(False)
            run.model[0].bias.grad = None
        if number == 8:
            run.model[2].bias.grad = None
            run.optimizer.add_param_group({"params": [run.model[2].bias], "lr": 0.5})

    fast = run_both(SGD, between=between, steps=14, run=AllButTheLast)
    assert fast.why == ""


def test_a_state_is_loaded():
    saved = {}

    def between(run, number):
        if number == 5:
            saved[id(run)] = run.optimizer.state_dict()
        if number == 9:
            run.optimizer.load_state_dict(saved[id(run)])

    fast = run_both(partial(optim.Adam, amsgrad=True), between=between, steps=14)
    assert fast.why == ""


def test_an_option_that_is_not_allowed_is_refused_by_a_replay_too():
    run = Run(SGD)
    fast = capture(run.step)
    x, y = Tensor(np.ones((4, 3), np.float32)), Tensor(np.ones((4, 2), np.float32))
    for _ in range(5):
        fast(x, y)
    assert fast.why == ""
    run.optimizer.param_groups[0]["lr"] = -1.0
    before = [each.raw.copy() for each in run.model.parameters()]
    with pytest.raises(ValueError, match="lr is a finite number of at least 0, got -1"):
        fast(x, y)
    np.testing.assert_equal([each.raw for each in run.model.parameters()], before)
