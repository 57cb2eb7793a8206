"""What the benchmarks compare with: the same nets in PyTorch, with the same parameters and the same logits."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from benchmarks.nets import NETS, batch
from benchmarks.peers import PEERS, StochasticDepth
from tinygrad_norm import Tensor, nn
from tinygrad_norm.models import create_model
from tinygrad_norm.tape import no_grad

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


@pytest.mark.parametrize("training", [True, False])
def test_logits_are_ours(nets, training):
    name, mine, theirs = nets
    mine.train(training)
    theirs.train(training)
    for module in [*mine.modules(), *theirs.modules()]:
        if isinstance(module, nn.Dropout | nn.StochasticDepth | torch.nn.Dropout | StochasticDepth):
            module.p = 0
    images = batch(name, 3)[0].astype(np.float64)
    with no_grad(), torch.no_grad():
        found, expected = mine(Tensor(images)).numpy(), theirs(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() < 1e-9 * np.abs(expected).max()
