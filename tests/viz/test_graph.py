"""The graph as data, from tensors and from calls."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, modes, nn, no_grad, ops, random
from tinygrad_norm.models import create_model
from tinygrad_norm.viz.graph import Arrow, _short, as_input, code_of, from_call, from_tensor, total_flops
from tinygrad_norm.viz.timeline import Timeline


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
        Arrow("tensor0", "op0", 0),
        Arrow("tensor1", "op0", 1),
        Arrow("op0", "op1", 0),
        Arrow("op0", "op1", 1),
        Arrow("op1", "op2", 0),
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


def kept(graph):
    return sum(node.saved_bytes for node in graph.ops)


def test_a_view_counts_for_the_whole_array_that_it_keeps(rng):
    x = leaf(rng, 100, 100)
    (whole, part) = (x * 1.0, slice(None, None, 2))
    for view in ((x * 1.0)[:1], whole[part, part], whole[part, 1:]):
        assert from_tensor(view * view).ops[-1].saved_bytes == x.nbytes
    first, second = whole[:50], whole[25:75]
    assert kept(from_tensor(first * first, second * second)) == x.nbytes


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet18"])
def test_what_is_kept_is_what_the_timeline_counts(name, fused, rng):
    model, x = create_model(name, 10), Tensor(rng.normal(size=(2, 3, 32, 32)).astype(np.float32))
    with Timeline() as timeline, composed(not fused):
        y = model(x)
    assert kept(from_call(model, x, composed=not fused)) == timeline.peak.bytes == kept(from_tensor(y))


def test_parameters_of_one_number_are_there(rng):
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(2.0), nn.Parameter([1.0])

        def forward(self, x):
            return x * self.weight * 3.0 + self.bias

    graph = from_call(Affine(), (2, 3), gradients=True)
    found = {
        node.name: (node.parameters, node.gradient > 0) for node in graph.nodes.values() if node.kind == "parameter"
    }
    assert found == {"weight": (1, True), "bias": (1, True)}
    assert sum(node.parameters for node in graph.ops) == 2
    assert sum(node.parameters for node in from_call(nn.Linear(1, 1), (2, 1)).ops) == 2
    scalar = Tensor(2.0, requires_grad=True)
    assert [node.kind for node in from_tensor(scalar * leaf(rng, 3)).nodes.values()] == ["tensor", "tensor", "op"]


def test_a_number_takes_its_place(rng):
    assert from_tensor(1.0 - leaf(rng, 3)).edges == [Arrow("tensor0", "op0", 1)]


class Shared(nn.Module):
    """One layer under two names, and a block under two."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.alias = self.encoder
        self.blocks = nn.ModuleList([nn.Sequential(self.stem, nn.Tanh())])

    def forward(self, x):
        return self.alias(self.encoder(self.blocks[0](self.stem(x))))


def test_a_shared_module_keeps_its_class_and_its_parameters():
    layer = nn.Linear(8, 8)
    graph = from_call(nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU()), (2, 8))
    assert [node.module for node in graph.ops] == ["2", "1", "2", "3"]
    assert graph.modules == {"1": "ReLU", "2": "Linear", "3": "ReLU"}
    assert [node.name for node in graph.nodes.values() if node.kind == "parameter"] == ["2.weight", "2.bias"]

    graph = from_call(Shared(), (2, 4))
    assert {graph.modules[node.module] for node in graph.ops} == {"Linear", "ReLU", "Tanh"}
    assert {"blocks": "ModuleList", "blocks.0": "Sequential", "blocks.0.0": "Linear"}.items() <= graph.modules.items()
    names = {node.name for node in graph.nodes.values() if node.kind == "parameter"}
    assert names == {"0.weight", "0.bias", "alias.0.weight", "alias.0.bias"}


def test_a_part_of_a_model_has_paths_of_its_own():
    model = nn.Sequential(nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU())]))
    graph = from_call(model[0][0], (2, 4))
    assert [node.module for node in graph.ops] == ["0", "1"]
    assert graph.modules == {"0": "Linear", "1": "ReLU"}
    assert [node.name for node in graph.nodes.values() if node.kind == "parameter"] == ["0.weight", "0.bias"]


LAYERS = [
    (nn.Linear(5, 7), (3, 5)),
    (nn.Linear(5, 7, bias=False), (3, 5)),
    (nn.BatchNorm1D(6, activation="gelu"), (5, 6)),
    (nn.LayerNorm(6).eval(), (5, 6)),
    (nn.BatchNorm2D(4).eval(), (2, 4, 3, 3)),
    (nn.MaxPool2D(2), (1, 2, 4, 4)),
    (nn.SiLU(), (3, 4)),
    (nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.RMSNorm(4), nn.ReLU(), nn.Dropout(0.5)), (3, 2, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_flops_are_one_quantity(layer, shape, rng):
    """Fused or composed, of a call or of what came out."""
    fused, definition = from_call(layer, shape), from_call(layer, shape, composed=True)
    assert total_flops(fused.ops) == total_flops(definition.ops) > 0
    y = layer(leaf(rng, *shape))
    assert total_flops(from_tensor(y).ops) == total_flops(fused.ops)


def test_flops_are_of_products_and_of_each_other_number(rng):
    linear, norm, relu = from_call(nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.ReLU()), (3, 5)).ops
    assert linear.flops == 2 * 3 * 5 * 7 + 3 * 7
    assert norm.flops > 5 * 3 * 7
    assert relu.flops == 3 * 7
    convolution = nn.Conv2D(3, 8, 3, padding=1, activation="relu")
    (node,) = from_call(convolution, (2, 3, 6, 5)).ops
    assert node.flops == 2 * (2 * 8 * 6 * 5) * (3 * 9) + 2 * (2 * 8 * 6 * 5)
    assert total_flops(from_tensor(convolution(leaf(rng, 2, 3, 6, 5))).ops) == node.flops
    assert [n.flops for n in from_tensor(leaf(rng, 2, 3).T.reshape(6) + 1.0).ops] == [0, 0, 6]


def test_flops_that_nothing_tells_are_unknown(rng):
    x = Tensor(rng.normal(size=(4, 5)).astype(np.float32))
    loss = ops.cross_entropy(nn.Linear(5, 3)(x), np.array([0, 1, 2, 0]))
    assert total_flops(from_tensor(loss).ops) > 0
    loss.backward()
    assert total_flops(from_tensor(loss).ops) is None


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
    assert graph.ops[0].flops == 2 * 5 * 6 * 4 + 5 * 4
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


def test_a_gradient_from_before_is_none_of_this_graph(net):
    (net(Tensor(np.ones((5, 6), np.float32))) * 1000).sum().backward()
    assert all(node.gradient is None for node in from_call(net, (5, 6)).nodes.values())
    net[0].bias.requires_grad_(False)
    found = {node.name: node.gradient for node in from_call(net, (5, 6), gradients=True).nodes.values()}
    assert found["0.bias"] is None
    assert 0 < found["2.weight"] < 1000


def test_a_tensor_tells_the_gradients_that_its_leaves_hold(rng):
    x = leaf(rng, 3)
    y = x * x
    y.backward(np.ones(3, np.float32))
    assert [node.gradient for node in from_tensor(y).nodes.values()] == [
        pytest.approx(np.linalg.norm(x.grad.numpy())),
        None,
    ]


def test_the_definition_and_where_it_stands(net):
    linear, norm, _ = from_call(net, (5, 6)).ops
    assert linear.code.startswith("def linear(x: AnyArray, weight: AnyArray")
    assert linear.source.startswith("tinygrad_norm/definitions/linear.py:")
    assert "def normalize" in norm.code or "def composed" in norm.code
    (primitive,) = from_tensor(ops.exp(Tensor([1.0], requires_grad=True))).ops
    assert primitive.code.startswith("def forward(self, x: Array)")


def test_composed_shows_primitives(net):
    names = {node.name for node in from_call(net, (5, 6), composed=True).ops}
    assert "BatchNorm" not in names
    assert {"MatMul", "Add"} <= names
    assert not any(node.fused for node in from_call(net, (5, 6), composed=True).ops)


class Classified(nn.Module):
    """A loss in float32, whose definition computes in float64."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return ops.cross_entropy(self.fc(x).astype(np.float32), np.arange(5) % 3)


def test_casts_of_a_definition_are_drawn_when_they_are_asked_for():
    graphs = [from_call(Classified(), (5, 6), composed=True, gradients=True, casts=casts) for casts in (False, True)]
    plain, cast = [[node.name for node in graph.ops] for graph in graphs]
    assert [name for name in cast if name != "AsType"] == plain
    assert cast.count("AsType") == 5
    for graph in graphs:
        taken = {edge.target for edge in graph.edges}
        assert {node.id for node in graph.ops} == taken
        assert {node.name: node.parameters for node in graph.ops if node.parameters} == {
            "PermuteDims": 18,
            "Add": 3,
        }
        assert graph.outputs == [graph.ops[-1].id]
        assert all(node.gradient > 0 for node in graph.nodes.values() if node.kind == "parameter")


def test_a_cast_of_the_model_itself_is_drawn():
    assert [node.name for node in from_call(Classified(), (5, 6)).ops] == ["Linear", "AsType", "CrossEntropy"]


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
    assert graph.edges[-1] == Arrow("op99998", "op99999", 0)


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
    with pytest.raises(ValueError, match="no way back: the output requires no gradient, as nothing"):
        from_call(model, (4, 3), gradients=True)
    with no_grad(), pytest.raises(ValueError, match=r"no way back: this runs under no_grad\(\)"):
        from_call(nn.Linear(3, 2), (4, 3), gradients=True)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ((4, -3), r"a shape is whole numbers, none below 0, got \(4, -3\)"),
        ((4, 3.0), r"a shape is whole numbers, none below 0, got \(4, 3\.0\)"),
        (((4, 3), (4, 3)), r"several inputs stand in a list, \[\(4, 3\), \(4, 3\)\]"),
    ],
)
def test_what_is_no_shape(x, message):
    with pytest.raises(ValueError, match=message):
        from_call(nn.Linear(3, 2), x)


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

    assert modes.setting.get().hooks == ()


def test_several_inputs_and_outputs(rng):
    class Two(nn.Module):
        def forward(self, a, b):
            return {"sum": a + b, "both": [a * b, a]}

    graph = from_call(Two(), leaf(rng, 2, 2), rng.normal(size=(2, 2)).astype(np.float32))
    assert [node.name for node in graph.nodes.values() if node.kind == "input"] == ["input 0", "input 1"]
    assert graph.outputs == ["op0", "op1", "input0"]
    assert graph.output_names == ["sum", "both.0", "both.1"]
    assert graph.to_json()["output_names"] == graph.output_names


def test_outputs_of_tensors_are_numbered(rng):
    x = leaf(rng, 2)
    assert from_tensor(x * 2).output_names == [""]
    assert from_tensor(x * 2, x * 3).output_names == ["0", "1"]


def test_inputs_in_dictionaries_and_lists_have_names(rng):
    class Named(nn.Module):
        def forward(self, given, *others):
            return {name: x * 2 for name, x in given.items()}, *(x + 1 for pair in others for x in pair)

    def inputs(*given):
        return [node.name for node in from_call(Named(), *given).nodes.values() if node.kind != "op"]

    a, b = leaf(rng, 2), leaf(rng, 2)
    assert inputs({"a": a, "b": b}) == ["input a", "input b"]
    assert inputs({"a": a}, [b, a]) == ["input 0.a", "input 1.0"]
    assert from_call(Named(), {"a": a}, [b]).output_names == ["0.a", "1"]


def test_running_statistics_go_by_their_names_in_inference():
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4)).eval()
    names = {node.name for node in from_call(model, np.ones((2, 3, 4, 4), np.float32)).nodes.values()}
    assert {"1.running_mean", "1.running_var"} <= names


def test_a_call_counts_the_second_time_and_leaves_the_random_generator_alone():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return ops.dropout(x, 0.5)

    model, before = Counting(), random.state_dict()
    from_call(model, (4, 3))
    assert model.calls == 2
    assert random.state_dict() == before


def test_a_leaf_keeps_nothing_for_the_way_back_and_takes_no_time(net):
    graph = from_call(net, (5, 6), gradients=True)
    for node in graph.nodes.values():
        if node.kind != "op":
            assert (node.saved_bytes, node.saved, node.flops, node.seconds, node.backward_seconds) == (
                0,
                [],
                0,
                None,
                None,
            )
            assert (node.code, node.source, node.family, node.fused, node.settings) == ("", "", "", False, {})
            assert node.differentiable == (node.kind == "parameter")


def test_a_shape_stands_for_the_same_random_numbers_in_the_dtype_of_the_parameters():
    x = as_input((3, 4), nn.Linear(4, 2, dtype=np.float64))
    np.testing.assert_array_equal(x.raw, np.random.default_rng(0).standard_normal((3, 4)))
    assert as_input((3, 0), nn.Linear(4, 2)).dtype == as_input((), nn.ReLU()).dtype == np.float32
    given = Tensor([1.0])
    assert as_input(given, nn.ReLU()) is given
    assert as_input(given.raw, nn.ReLU()).tolist() == [1]


def test_settings_are_told_in_60_characters():
    assert _short(np.ones((2, 3))) == "array(2, 3)"
    assert _short("x" * 58) == repr("x" * 58)
    assert _short("x" * 59) == "'" + "x" * 56 + "..."


def test_the_code_of_a_function_typed_in_by_hand_is_unknown():
    typed: dict[str, object] = {}
    exec("def forward(self, x): return x", typed)
    assert code_of(typed["forward"]) == ("", "")


def test_only_parameters_count_as_parameters():
    graph = from_call(nn.BatchNorm1D(3), (4, 3))
    found = {
        node.kind: node.parameters for node in graph.nodes.values() if node.kind in ("parameter", "input", "output")
    }
    assert found == {"parameter": 3, "input": 0}
