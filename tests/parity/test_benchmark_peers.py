"""What the benchmarks compare with: the same nets in PyTorch, with the same parameters and the same logits."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from benchmarks.nets import NETS, batch
from benchmarks.peer_folding import fold_batch_norm
from benchmarks.peers import PEERS, StochasticDepth
from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.models import create_model
from tinygrad_norm.modes import no_grad

value = run_path(str(Path(__file__).parents[1] / "models" / "zoo_cases.py"))["value"]


@pytest.fixture(params=NETS)
def nets(request):
    """Ours and PyTorch's in float64, with the same weights and statistics."""
    name = request.param
    mine, theirs = create_model(name, **NETS[name].options).astype(np.float64), PEERS[name]().double()
    assert [p.shape for p in mine.parameters()] == [tuple(p.shape) for p in theirs.parameters()]
    assert [b.shape for b in mine.buffers()] == [tuple(b.shape) for b in theirs.buffers()]
    state = {key: value(key, array.shape) for key, array in mine.state_dict().items()}
    mine.load_state_dict(state)
    with torch.no_grad():
        for kind in ("parameters", "buffers"):
            for ours, peer in zip(getattr(mine, kind)(), getattr(theirs, kind)(), strict=True):
                peer.copy_(torch.from_numpy(ours.numpy()))
    return name, mine, theirs


def test_training_gives_our_logits_and_gradients(nets):
    name, mine, theirs = nets
    for module in [*mine.modules(), *theirs.modules()]:
        if isinstance(module, nn.Dropout | nn.StochasticDepth | torch.nn.Dropout | StochasticDepth):
            module.p = 0
    images, labels = batch(name, 3)
    found, expected = mine(Tensor(images.astype(np.float64))), theirs(torch.from_numpy(images).double())
    ops.cross_entropy(found, labels).backward()
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()
    close(found.numpy(), expected.detach().numpy())
    for ours, peer in zip(mine.parameters(), theirs.parameters(), strict=True):
        close(ours.grad.numpy(), peer.grad.numpy())


def test_inference_gives_our_logits_folded_too(nets):
    name, mine, theirs = nets
    images = batch(name, 3)[0].astype(np.float64)
    mine = nn.fold_activations(nn.fold_batch_norm(mine.eval()))
    theirs = fold_batch_norm(theirs.eval())
    assert not any(isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for module in theirs.modules())
    with no_grad(), torch.no_grad():
        close(mine(Tensor(images)).numpy(), theirs(torch.from_numpy(images)).numpy())


@pytest.mark.parametrize("name", NETS)
def test_dropout_and_backward_go_together_in_training(name):
    model = PEERS[name]()
    images, labels = map(torch.from_numpy, batch(name, 2))
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    assert all(p.grad is not None for p in model.parameters())


def close(found, expected):
    assert np.abs(found - expected).max() <= 1e-9 * max(np.abs(expected).max(), 1e-3)
