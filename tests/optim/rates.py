"""Every schedule, one of one's own, and what steps them."""

from __future__ import annotations

from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor


def sgd(*lrs, **options):
    return optim.SGD([{"params": [Tensor([1.0], requires_grad=True)], "lr": lr} for lr in lrs or (0.8,)], **options)


EVERY = {
    "StepLR": lambda optimizer: optim.StepLR(optimizer, step_size=2, gamma=0.3),
    "CosineAnnealingLR": lambda optimizer: optim.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.01),
    "LinearWarmup": lambda optimizer: optim.LinearWarmup(optimizer, total_iters=9, start_factor=0.1),
    "OneCycleLR": lambda optimizer: optim.OneCycleLR(optimizer, max_lr=2.0, total_steps=12),
    "SequentialLR": lambda optimizer: optim.SequentialLR(
        optimizer, [optim.LinearWarmup(optimizer, 4), optim.CosineAnnealingLR(optimizer, 8)], [4]
    ),
}


def lr_of(optimizer):
    return optimizer.param_groups[0]["lr"]


def step_all(schedules, steps):
    for _ in range(steps):
        for schedule in schedules:
            schedule.step()


class Own(optim.LRScheduler):
    """A schedule of one's own: the learning rate falls like the root of the steps."""

    def lr_at(self, step, initial_lr):
        return initial_lr / (step + 1) ** 0.5
