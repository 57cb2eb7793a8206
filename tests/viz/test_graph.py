"""The graph as data, from tensors and from calls."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, no_grad, ops
from tinygrad_norm.viz.graph import Edge, from_call, from_tensor


def leaf(rng, *shape):
    return Tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True)


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1D(4, activation="relu"), nn.Linear(4, 3))


def test_a_tensor_knows_what_made_it(rng):
    x, w = leaf(rng, 2, 3), leaf(rng, 3, 4)
    y = x @ w
    graph = from_tensor((y * y).sum())
    assert [(node.id, node.name, node.shape) for node in graph.nodes.values()] == [
        ("tensor0", "tensor", (2, 3)),
        ("tensor1", "tensor", (3, 4)),
        ("op0", "MatMul", (2, 4)),
        ("op1", "Multiply", (2, 4)),
        ("op2", "Sum", ()),
    ]
    assert graph.edges == [
        Edge("tensor0", "op0", 0),
        Edge("tensor1", "op0", 1),
        Edge("op0", "op1", 0),
        Edge("op0", "op1", 1),
        Edge("op1", "op2", 0),
    ]
    assert graph.outputs == ["op2"]


def test_what_is_kept_counts_once(rng):
    x, w = leaf(rng, 2, 3), leaf(rng, 3, 4)
    y = x @ w  # keeps x and w
    z = y * y  # keeps y, twice
    first, second = from_tensor(z).ops
    assert (first.saved_bytes, second.saved_bytes) == (x.nbytes + w.nbytes, y.nbytes)
    assert second.saved == [((2, 4), "float32")] * 2
    assert [node.saved_bytes for node in from_tensor(ops.exp(y) + ops.exp(y)).ops][1:] == [y.nbytes, y.nbytes, 0]


def test_parameters_have_names_and_their_memory_counts_for_nobody(net, rng):
    graph = from_call(net, (5, 6))
    named = {node.name: node.parameters for node in graph.nodes.values() if node.kind == "parameter"}
    assert named == {"0.weight": 24, "0.bias": 4, "1.weight": 4, "1.bias": 4, "2.weight": 12, "2.bias": 3}
    linear, norm, last = graph.ops
    assert (linear.parameters, norm.parameters, last.parameters) == (28, 8, 15)
    assert linear.saved_bytes == 5 * 6 * 4  # the input alone
    assert last.saved_bytes == 5 * 4 * 4
    assert norm.saved_bytes >= linear.saved_bytes - 5 * 2 * 4


def test_a_call_tells_modules_settings_and_costs(net):
    graph = from_call(net, (5, 6), gradients=True)
    assert [(node.name, node.module) for node in graph.ops] == [("Linear", "0"), ("BatchNorm", "1"), ("Linear", "2")]
    assert graph.modules == {"0": "Linear", "1": "BatchNorm1D", "2": "Linear"}
    assert graph.ops[0].flops == 2 * 5 * 6 * 4
    assert graph.ops[1].fused
    assert "eps" in graph.ops[1].settings
    assert all(node.seconds > 0 and node.backward_seconds > 0 and node.gradient > 0 for node in graph.ops)
    assert all(node.gradient > 0 for node in graph.nodes.values() if node.kind == "parameter" and node.name != "0.bias")


def test_a_gradient_is_the_norm_of_that_of_the_output(rng):
    model = nn.Linear(3, 2)
    (node,) = from_call(model, (4, 3), gradients=True).ops
    seed = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    assert node.gradient == pytest.approx(np.linalg.norm(seed), rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_definition_and_where_it_stands(net):
    linear, norm, _ = from_call(net, (5, 6)).ops
    assert linear.code.startswith("def composed(self, x: Tensor, weight: Tensor")
    assert linear.source.startswith("tinygrad_norm/ops/matmul.py:")
    assert "def composed" in norm.code
    (primitive,) = from_tensor(ops.exp(Tensor([1.0], requires_grad=True))).ops
    assert primitive.code.startswith("def forward(self, x: Array)")


def test_composed_shows_primitives(net):
    names = {node.name for node in from_call(net, (5, 6), composed=True).ops}
    assert "BatchNorm" not in names
    assert {"MatMul", "Add"} <= names
    assert not any(node.fused for node in from_call(net, (5, 6), composed=True).ops)


def test_two_calls_give_the_same_graph_and_leave_the_model_alone(net):
    before = {name: array.copy() for name, array in ((n, b.numpy()) for n, b in net.named_buffers())}
    one, other = from_call(net, (5, 6)), from_call(net, (5, 6))
    for graph in (one, other):
        for node in graph.nodes.values():
            node.seconds = None
    assert one == other
    for name, buffer in net.named_buffers():
        np.testing.assert_array_equal(buffer.numpy(), before[name])


def test_a_graph_is_json(net):
    graph = from_call(net, (5, 6), gradients=True)
    found = json.loads(json.dumps(graph.to_json()))
    assert [node["id"] for node in found["nodes"]] == list(graph.nodes)
    assert found["edges"][0] == {"source": "input0", "target": "op0", "place": 0}
    assert found["nodes"][0]["bytes"] == 5 * 6 * 4


def test_a_chain_of_many_ops_needs_no_recursion():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x
    for _ in range(100_000):
        y = -y
    graph = from_tensor(y)
    assert len(graph.ops) == 100_000
    assert graph.edges[-1] == Edge("op99998", "op99999", 0)


def test_without_a_tape_there_is_no_graph(rng):
    with no_grad():
        y = leaf(rng, 2) * 2
    for tensor in (y, leaf(rng, 2), Tensor([1.0])):
        with pytest.raises(ValueError, match=r"this tensor of shape \(\d,\) has no tape"):
            from_tensor(tensor)


def test_no_way_back_is_an_error():
    model = nn.Linear(3, 2)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no way back"):
        from_call(model, (4, 3), gradients=True)


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1D(3)

    def forward(self, x):
        self.norm(x)
        raise RuntimeError("midway")


def test_a_model_that_raises_midway_leaves_no_hook_and_no_changed_buffer():
    model = Failing()
    before = model.norm.running_mean.numpy().copy()
    with pytest.raises(RuntimeError, match="midway"):
        from_call(model, (4, 3))
    np.testing.assert_array_equal(model.norm.running_mean.numpy(), before)
    from tinygrad_norm import tape

    assert tape._state.get().hooks == ()


def test_several_inputs_and_outputs(rng):
    class Two(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b, "both": [a * b, a]}

    graph = from_call(Two(), leaf(rng, 2, 2), rng.normal(size=(2, 2)).astype(np.float32))
    assert [node.name for node in graph.nodes.values() if node.kind == "input"] == ["input 0", "input 1"]
    assert graph.outputs == ["op0", "op1", "input0"]
