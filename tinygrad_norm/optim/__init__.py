"""Optimizers, learning-rate schedules, and clipping of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_norm.checks import module_getattr
from tinygrad_norm.optim.adam import Adam, AdamW
from tinygrad_norm.optim.clipping import clip_grad_adaptive, clip_grad_norm, clip_grad_value
from tinygrad_norm.optim.groups import decay_groups
from tinygrad_norm.optim.lookahead import Lookahead
from tinygrad_norm.optim.optimizer import Optimizer
from tinygrad_norm.optim.rmsprop import RMSprop
from tinygrad_norm.optim.schedules import (
    CosineAnnealingLR,
    LinearWarmup,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from tinygrad_norm.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LRScheduler",
    "LinearWarmup",
    "Lookahead",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "decay_groups",
]

if not TYPE_CHECKING:  # a type checker that saw this would take any name for a good one
    __getattr__ = module_getattr(__name__, __all__)
