"""The two seconds of checks before each commit: one gradient, one layer, one step of training."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops, optim
from tinygrad_norm.modes import composed
from tinygrad_norm.testing import gradcheck

pytestmark = pytest.mark.smoke


def test_gradient_of_a_chain_of_primitives(rng):
    x = Tensor(rng.normal(size=(3, 5)), requires_grad=True)
    w = Tensor(rng.normal(size=(5, 2)), requires_grad=True)
    gradcheck(lambda x, w: ops.logsumexp(ops.tanh(x @ w), axis=1), [x, w])


def test_fused_and_composed_batch_norm_agree(rng):
    x, cotangent = rng.normal(3, 2, size=(2, 4, 3, 5, 7))
    found = []
    for definition in (False, True):
        norm = nn.BatchNorm2D(3, dtype=np.float64)
        given = Tensor(x, requires_grad=True)
        with composed(definition):
            norm(given).backward(cotangent)
        found.append((given.grad.numpy(), norm.weight.grad.numpy(), norm.running_var.numpy()))
    for kernel, primitives in zip(*found, strict=True):
        np.testing.assert_allclose(kernel, primitives, rtol=1e-9, atol=1e-12)


def test_training_steps_lower_the_loss(rng):
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1D(16, activation="relu"), nn.Linear(16, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    inputs, labels = rng.normal(size=(32, 8)).astype(np.float32), rng.integers(3, size=32)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
