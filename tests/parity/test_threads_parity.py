"""Our kernels and PyTorch's in one process, each with its own threads: TBB's and OpenMP's."""

from __future__ import annotations

import threading

import numpy as np
import torch

from tinygrad_norm import Tensor, ops


def product(x):
    return ops.relu(ops.linear(Tensor(x), Tensor(x))).numpy()


def torchs(x):
    return torch.relu(torch.nn.functional.linear(torch.from_numpy(x), torch.from_numpy(x))).numpy()


def test_in_turn_and_at_once_they_compute_what_they_compute_alone(rng):
    x = rng.normal(size=(600, 600)).astype(np.float32)
    ours, theirs = product(x), torchs(x)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    differing: list[str] = []

    def work(function, expected):
        differing.extend(function.__name__ for _ in range(20) if not np.array_equal(function(x), expected))

    threads = [threading.Thread(target=work, args=pair) for pair in ((product, ours), (torchs, theirs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):
        np.testing.assert_array_equal(product(x), ours)
        np.testing.assert_array_equal(torchs(x), theirs)
    assert not differing
