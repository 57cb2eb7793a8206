"""One training step of 784-256-128-10 with batch norm and ReLU, batch 64, Adam: ours and PyTorch's."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from benchmarks.timing import Maker
from tinygrad_norm import Tensor, nn, ops, optim

SIZES = (784, 256, 128, 10)
BATCH = 64


def ours() -> Callable[[], object]:
    """A step of tinygrad_norm, with the activation fused into the norm as its users have it."""
    layers: list[nn.Module] = []
    for features, width in pairwise(SIZES[:-1]):
        layers += [nn.Linear(features, width), nn.BatchNorm1D(width, activation="relu")]
    model = nn.Sequential(*layers, nn.Linear(*SIZES[-2:]))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    images, labels = batch()

    def step() -> None:
        optimizer.zero_grad()
        ops.cross_entropy(model(Tensor(images)), labels).backward()
        optimizer.step()

    return step


def pytorch(fused: bool) -> Callable[[], object]:
    """A step of PyTorch in eager mode, with its default or its fused optimizer."""
    import torch  # in its own process alone

    torch.set_num_threads(os.cpu_count() or 1)
    layers: list[torch.nn.Module] = []
    for features, width in pairwise(SIZES[:-1]):
        layers += [torch.nn.Linear(features, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*SIZES[-2:]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)
    images, labels = (torch.from_numpy(array) for array in batch())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def batch() -> tuple[np.ndarray, np.ndarray]:
    """The same random images and labels for all."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((BATCH, SIZES[0]), np.float32), rng.integers(0, SIZES[-1], BATCH)


CONTENDERS: dict[str, Maker] = {
    "tinygrad_norm": ours,
    "PyTorch eager": partial(pytorch, fused=False),
    "PyTorch eager, fused Adam": partial(pytorch, fused=True),
}
"""Ours first."""
