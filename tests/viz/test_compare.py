"""A layer both ways: figures, differences, one picture."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, kernels, nn
from tinygrad_norm.kernels import reference
from tinygrad_norm.viz import compare_graphs

LAYERS = {
    "batch1d": (nn.BatchNorm1D(6), (5, 6)),
    "batch2d": (nn.BatchNorm2D(6, activation="relu"), (3, 6, 5, 4)),
    "layer": (nn.LayerNorm(6), (5, 6)),
    "layer2d": (nn.LayerNorm2D(6), (3, 6, 5, 4)),
    "group": (nn.GroupNorm(2, 6), (3, 6, 5, 4)),
    "instance": (nn.InstanceNorm2D(6, affine=True), (3, 6, 5, 4)),
    "rms": (nn.RMSNorm(6), (5, 6)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_norm(layer):
    module, shape = LAYERS[layer]
    found = compare_graphs(module.astype("float64"), shape)
    fused, composed = found.sides["fused"], found.sides["composed"]
    assert fused.ops < composed.ops
    assert fused.saved_bytes < composed.saved_bytes
    assert fused.flops == composed.flops > 0
    assert min(fused.seconds, composed.seconds) > 0
    assert set(found.differences) >= {"outputs", "gradients of x", "gradients of weight"}
    assert max(found.differences.values()) < 1e-10
    for side in found.sides:
        assert f"<B>{side}</B>" in found.dot
    assert found.dot.count("<B>input</B>") == 1  # both sides have it in common


def test_a_wrong_kernel_shows(monkeypatch):
    def wrong(*given):
        dx, *others = right(*given)
        return 1.01 * dx, *others

    right = reference.normalize_gradient
    monkeypatch.setattr(reference, "normalize_gradient", wrong)
    monkeypatch.setattr(kernels, "_use_cpu", False)
    found = compare_graphs(nn.BatchNorm1D(6).astype("float64"), (5, 6))
    assert found.differences["gradients of x"] == pytest.approx(0.01, rel=1e-6)
    assert found.differences["gradients of weight"] < 1e-10
    assert "the two differ by 0.01 at most" in found.graph.title


def test_the_layer_is_left_as_it_was(rng):
    norm, x = nn.BatchNorm1D(3), Tensor(rng.normal(size=(4, 3)).astype(np.float32), requires_grad=True)
    before = {name: value.numpy().copy() for name, value in norm.named_buffers()}
    compare_graphs(norm, x)
    for name, value in norm.named_buffers():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert x.grad is None
    assert all(parameter.grad is None for parameter in norm.parameters())


def test_work_is_one_for_each_number():
    found = compare_graphs(nn.RMSNorm(8, elementwise_affine=False), (3, 8))
    names = [node.name for node in found.graph.ops if node.module.startswith("composed")]
    assert found.sides["composed"].flops >= 3 * 8 * 3  # squares, their sum, the quotient
    assert found.sides["composed"].flops <= 3 * 8 * len(names)


def test_a_layer_without_fused_ops():
    with pytest.raises(ValueError, match="Flatten runs no fused op"):
        compare_graphs(nn.Flatten(), Tensor(np.ones((2, 3), np.float32)))
