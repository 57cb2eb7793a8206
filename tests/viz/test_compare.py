"""A layer both ways: figures, differences, one picture."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, kernels, modes, nn, no_grad, random
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.viz import compare_graphs
from tinygrad_norm.viz.graph import total_flops

LAYERS = {
    "batch1d": (nn.BatchNorm1D(6), (5, 6)),
    "batch2d": (nn.BatchNorm2D(6, activation="relu"), (3, 6, 5, 4)),
    "batch3d": (nn.BatchNorm3D(6), (3, 6, 2, 3, 4)),
    "layer": (nn.LayerNorm(6), (5, 6)),
    "layer2d": (nn.LayerNorm2D(6), (3, 6, 5, 4)),
    "group": (nn.GroupNorm(2, 6), (3, 6, 5, 4)),
    "instance1d": (nn.InstanceNorm1D(6, affine=True), (3, 6, 5)),
    "instance2d": (nn.InstanceNorm2D(6, affine=True), (3, 6, 5, 4)),
    "instance3d": (nn.InstanceNorm3D(6, affine=True), (2, 6, 2, 3, 4)),
    "rms": (nn.RMSNorm(6), (5, 6)),
    "rms2d": (nn.RMSNorm2D(6), (3, 6, 5, 4)),
}


def test_no_norm_is_left_out():
    exported = {name for name, kind in norm_layers().items() if kind.__module__ == nn.normalization.__name__}
    assert {type(layer).__name__ for layer, _ in LAYERS.values()} == exported


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
    for name, _ in module.named_parameters():
        assert found.dot.count(f"<B>{name}</B>") == 2
    for side, figures in found.sides.items():
        assert figures.flops == total_flops(node for node in found.graph.ops if node.module.startswith(side))


def test_a_wrong_kernel_shows(monkeypatch):
    def wrong(*given):
        dx, *others = right(*given)
        return 1.01 * dx, *others

    right = definitions.normalize_gradient
    monkeypatch.setattr(definitions, "normalize_gradient", wrong)
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


def test_random_numbers_are_the_same_on_both_sides():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.LayerNorm(8)).astype("float64")
    state = random.state_dict()
    found = compare_graphs(model, (4, 8))
    assert max(found.differences.values()) < 1e-10
    assert random.state_dict() == state


class Outputs(nn.Module):
    """Several, of which one wants no gradient, from a part that is frozen and a part that is unused."""

    def __init__(self):
        super().__init__()
        self.norm, self.unused = nn.LayerNorm(4, dtype="float64"), nn.Linear(2, 2)
        self.norm.bias.requires_grad_(False)
        self.calls = []

    def forward(self, x):
        self.calls.append(modes.setting.get().composed)
        return {"y": self.norm(x), "mean": x.detach().mean()}


def test_several_outputs_frozen_and_unused_parameters():
    found = compare_graphs(Outputs(), (3, 4))
    names = ("x", "norm.weight", "unused.weight", "unused.bias")
    assert set(found.differences) == {"outputs y", "outputs mean", *(f"gradients of {name}" for name in names)}
    assert max(found.differences.values()) < 1e-10
    assert found.graph.output_names == ["fused y", "fused mean", "composed y", "composed mean"]


def test_sides_take_turns_and_only_the_layer_is_timed(monkeypatch):
    def slow(*seed):
        time.sleep(0.05)
        return right(*seed)

    right = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", slow)
    layer = Outputs()
    found = compare_graphs(layer, (3, 4))
    assert max(side.seconds for side in found.sides.values()) < 0.05
    assert layer.calls[-8:] == [False, True] * 4


def test_a_layer_that_raises_midway_is_left_as_it_was():
    class Failing(Outputs):
        def forward(self, x):
            y = self.batch(self.norm(x))
            self.calls.append(False)
            if len(self.calls) > 4:
                raise RuntimeError("midway")
            return y

    layer = Failing()
    layer.batch = nn.BatchNorm1D(4, dtype="float64")
    with pytest.raises(RuntimeError, match="midway"):
        compare_graphs(layer, (3, 4))
    np.testing.assert_array_equal(layer.batch.running_mean.numpy(), np.zeros(4))


@pytest.mark.parametrize(
    ("x", "how", "message"),
    [
        (
            (2, 4),
            {"direction": "backwards"},
            "compare_graphs: direction is .*, got 'backwards'; did you mean backward",
        ),
        ((2, 4), {"show": ("bogus",)}, "compare_graphs: show is .*, got 'bogus'"),
        ((2, -4), {}, "a shape is whole numbers, none below 0"),
        (((2, 4), (2, 4)), {}, "an input has one shape"),
    ],
)
def test_bad_input(x, how, message):
    with pytest.raises(ValueError, match=message):
        compare_graphs(nn.LayerNorm(4), x, **how)


def test_one_fact_may_be_given_by_itself():
    assert "FLOP</FONT>" in compare_graphs(nn.LayerNorm(4), (2, 4), show="flops").dot


def test_without_a_tape_there_is_no_way_back():
    with no_grad(), pytest.raises(ValueError, match=r"this runs under no_grad\(\)"):
        compare_graphs(nn.LayerNorm(4), (2, 4))
