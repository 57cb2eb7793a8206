"""The compiling peers of the benchmarks: as many parameters as ours, PyTorch's logits, a loss that falls."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import onnx_peers
from benchmarks.contenders import torch_net
from benchmarks.jax_peers import JAX_NETS, State
from benchmarks.nets import NETS, batch
from tinygrad_norm.models import create_model


@pytest.mark.parametrize("name", JAX_NETS)
def test_a_net_in_jax_has_our_parameters(name):
    import jax

    state = State()
    logits = jax.eval_shape(lambda x: JAX_NETS[name](state, x), batch(name, 2)[0].transpose(0, 2, 3, 1))
    assert logits.shape == (2, 10)
    ours = create_model(name, **NETS[name].options)
    assert sum(each.size for each in state.params) == sum(each.size for each in ours.parameters())
    assert sum(each.size for each in state.running) == sum(each.size for each in ours.buffers() if each.ndim)


@pytest.mark.parametrize("name", ["mlp", "baseline_cnn", "efficientnet_b0"])
def test_onnxruntime_gives_the_logits_of_the_folded_net(name, monkeypatch):
    import torch

    torch.manual_seed(0)
    kept = torch_net(name, 3, channels_last=False)
    monkeypatch.setattr(onnx_peers, "torch_net", lambda *_, **__: kept)
    found = np.asarray(onnx_peers.onnx_inference(name, 3)())[0]
    with torch.no_grad():
        expected = kept[1].eval()(kept[2]).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
