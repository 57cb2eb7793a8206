from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.experiments.papers.nets import Block, plain_net, residual_net, signal_net


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_layers_and_logits(norm):
    x = Tensor(np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32))
    plain, residual = plain_net(norm, 4, 2), residual_net(norm, 3, 4)
    convolutions = [module for module in plain.modules() if isinstance(module, nn.Conv2D)]
    assert [layer.weight.shape[0] for layer in convolutions] == [4, 4, 8, 8, 16, 16]
    weights = [module for module in residual.modules() if isinstance(module, nn.Conv2D | nn.Linear)]
    assert len(weights) == 4 * 3 + 2 + 1
    assert plain(x).shape == residual(x).shape == (5, 10)
    norms = [module for module in residual.modules() if isinstance(module, nn.BatchNorm2D)]
    assert len(norms) == (len(weights) - 1 if norm == "batch" else 0)


def test_a_block_adds_what_comes_in():
    block = next(module for module in residual_net("none", 1, 2).modules() if isinstance(module, Block))
    for parameter in block.parameters():
        parameter.replace(np.zeros_like(parameter.raw))
    x = np.random.default_rng(0).normal(size=(2, 2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(block(Tensor(x)).raw, np.maximum(x, 0))


def test_a_net_of_signals():
    net = signal_net("batch", 3)
    shapes = []
    x = Tensor(np.random.default_rng(0).normal(size=(5, 1, 1, 40)).astype(np.float32))
    for layer in net:
        x = layer(x)
        shapes.append(x.shape)
    assert shapes[1::3][:3] == [(5, 3, 1, 40), (5, 6, 1, 20), (5, 12, 1, 10)]
    assert x.shape == (5, 10)
