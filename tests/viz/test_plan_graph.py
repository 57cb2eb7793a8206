"""The graph of a plan: launches, and what goes from one to the next."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Op, capture, nn, no_grad, ops, optim
from tinygrad_norm.viz import draw_graph
from tinygrad_norm.viz.plan_graph import from_plan


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1D(4), nn.Tanh(), nn.Linear(4, 3))


def captured(function, *arguments):
    fast = capture(function)
    while fast.why:
        fast(*arguments)
    return fast


def inference(net):
    net.eval()
    with no_grad():
        return captured(net, np.ones((5, 6), np.float32)).plan


def behind(graph, end):
    """All nodes from which arrows lead to one."""
    found: set[str] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        more = {arrow.source for arrow in graph.edges if arrow.target == node} - found
        found |= more
        waiting += more
    return found


def test_the_way_from_the_input_to_the_result_is_whole(net):
    graph = from_plan(inference(net))
    (output,) = graph.outputs
    back = behind(graph, output)
    assert {node for node in back if graph.nodes[node].kind == "input"} == {"input0"}
    assert sum(graph.nodes[node].kind == "parameter" for node in back) == 6
    assert {graph.nodes[node].module for node in back} >= {"0", "1", "2", "3"}
    assert graph.nodes[output].shape == (5, 3)
    assert sum(node.parameters for node in graph.ops) == sum(each.size for each in net.parameters())
    numbers = [int(node.id.removeprefix("op")) for node in graph.ops]
    assert numbers == sorted(numbers)
    place = {name: number for number, name in enumerate(graph.nodes)}
    assert all(place[arrow.source] < place[arrow.target] for arrow in graph.edges)


def test_each_parameter_reaches_its_own_update(net):
    optimizer = optim.SGD(net.parameters(), 0.1)

    def step(x, target):
        optimizer.zero_grad()
        loss = ops.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    fast = captured(step, np.ones((5, 6), np.float32), np.arange(5) % 3)
    fast.profile(np.ones((5, 6), np.float32), np.arange(5) % 3)
    graph = from_plan(fast.plan)
    assert graph.output_names == ["loss"]
    losses = {node for node in behind(graph, graph.outputs[0]) if graph.nodes[node].kind == "input"}
    assert losses == {"input0", "input1"}
    assert all(node.seconds >= 0 for node in graph.ops)
    for node in (node for node in graph.nodes.values() if node.kind == "parameter"):
        takers = [graph.nodes[arrow.target] for arrow in graph.edges if arrow.source == node.id]
        (update,) = [taker.id for taker in takers if taker.name in ("sgd", "with_names")]  # in NumPy
        assert "input1" in behind(graph, update)


def test_an_op_without_launches_goes_by_its_name():
    class Twice(Op):
        def forward(self, x):
            return x + x

        def backward(self, grad):
            return grad + grad

    plan = captured(lambda x: Twice()(x), np.ones(3, np.float32)).plan
    assert [node.name for node in from_plan(plan).ops] == ["Twice"]


def test_a_plan_is_drawn_as_any_graph(net, tmp_path):
    drawing = draw_graph(inference(net), title="as it runs", depth=0)
    assert drawing.summary().startswith("as it runs: ")
    assert '"2"' in drawing.dot or ">2<" in drawing.dot
    assert drawing.save(tmp_path / "plan.html").read_text().startswith("<!")
    for wrong in ({"x": (5, 6)}, {"composed": True}, {"direction": "backward"}):
        with pytest.raises(ValueError, match="a plan is drawn as it runs"):
            draw_graph(inference(net), **wrong)


def test_a_captured_function_is_drawn_by_its_plan(net):
    with pytest.raises(TypeError, match=r"a plan, got a Captured; give its \.plan"):
        draw_graph(capture(net), (5, 6))
