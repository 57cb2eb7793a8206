"""Every optimizer, and steps with gradients that are given."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor

EVERY = {
    "SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda params: optim.Adam(params, amsgrad=True),
    "AdamW": lambda params: optim.AdamW(params, betas=(0.5, 0.75)),
    "RMSprop": lambda params: optim.RMSprop(params, centered=True, momentum=0.5),
    "Lookahead": lambda params: optim.Lookahead(optim.Adam(params), k=3),
}


def run(optimizer, gradients):
    for step in gradients:
        for parameter, gradient in zip(parameters_of(optimizer), step, strict=True):
            parameter.grad = None if gradient is None else Tensor(gradient)
        optimizer.step()


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def draw(optimizer, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=parameter.shape) for parameter in parameters_of(optimizer)] for _ in range(steps)]


def values(optimizer):
    return [parameter.raw.copy() for parameter in parameters_of(optimizer)]
