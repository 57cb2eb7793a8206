"""Captured training steps beside eager ones, from one state and on the same batches."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor, capture, nn, ops, optim, random


def net():
    random.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1D(5, activation="silu"), nn.Linear(5, 2))


class Run:
    """A net, its optimizer, its schedule and its step."""

    def __init__(self, make, make_schedule=None, clip=None):
        self.model = net()
        self.optimizer = make(self.groups())
        self.schedule = make_schedule and make_schedule(self.optimizer)
        self.step = training_step(self.model, self.optimizer, self.schedule, clip)

    def groups(self):
        """What the optimizer is made with."""
        return optim.decay_groups(self.model, 0.02)

    def state(self):
        """Copies of all that a step changes."""
        found = [each.raw.copy() for each in (*self.model.parameters(), *self.model.buffers())]
        found += [None if each.grad is None else each.grad.raw.copy() for each in self.model.parameters()]
        found.append(self.optimizer.state_dict())
        return [*found, self.schedule and vars(self.schedule) | {"optimizer": None, "schedulers": None}]


def training_step(model, optimizer, schedule, clip):
    def step(x, y):
        optimizer.zero_grad()
        loss = ops.mse_loss(model(x), y)
        loss.backward()
        if clip is not None:
            clip(model.parameters())
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss.detach()

    return step


def run_both(make, make_schedule=None, between=None, clip=None, steps=20, run=Run):
    """Train eagerly and captured; after each step all is the same. Returns the captured step.

    Args:
        make: makes an optimizer of parameter groups.
        make_schedule: makes a schedule of it.
        between: changes a run before the step of that number.
        clip: clips gradients of parameters.
        steps: how many.
        run: the class of what is trained.
    """
    eager, captured = run(make, make_schedule, clip), run(make, make_schedule, clip)
    fast, rng = capture(captured.step), np.random.default_rng(3)
    for number in range(steps):
        x, y = (Tensor(rng.normal(size=(4, n)).astype(np.float32)) for n in (3, 2))
        if between is not None:
            between(eager, number)
            between(captured, number)
        np.testing.assert_equal(fast(x, y).raw, eager.step(x, y).raw)
        np.testing.assert_equal(captured.state(), eager.state())
    return fast
