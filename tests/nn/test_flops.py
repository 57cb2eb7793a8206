from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, modes, nn, ops, random
from tinygrad_norm.models import create_model
from tinygrad_norm.nn.flops import count_flops, flops_of, work_of


class Recorder(modes.Hook):
    def __init__(self):
        self.flops = {}

    def after_forward(self, op, inputs, output):
        self.flops[type(op).__name__] = flops_of(op, inputs)


@pytest.mark.parametrize(
    ("layer", "shape", "flops"),
    [
        (nn.Linear(5, 7), (3, 5), 2 * 3 * 5 * 7),
        (nn.Linear(5, 7, bias=False), (3, 4, 5), 2 * 3 * 4 * 5 * 7),
        (nn.Conv2D(3, 8, 3, padding=1), (2, 3, 6, 5), 2 * (2 * 8 * 6 * 5) * (3 * 9)),
        (nn.Conv2D(3, 8, (1, 5), stride=2), (2, 3, 6, 5), 2 * (2 * 8 * 3 * 1) * (3 * 5)),
        (nn.Conv2D(8, 8, 7, padding=3, groups=8), (1, 8, 4, 4), 2 * (8 * 16) * 49),
        (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1D(6), nn.ReLU(), nn.Linear(6, 2)), (5, 4), 2 * 5 * (24 + 12)),
        (nn.MaxPool2D(2), (1, 2, 4, 4), 0),
    ],
)
def test_layers(layer, shape, flops):
    assert count_flops(layer, *shape) == flops


def test_composed_it_costs_the_same(rng):
    layer = nn.Sequential(nn.Conv2D(4, 6, 3, padding=1, groups=2), nn.Flatten(), nn.Linear(6 * 20, 3))
    with composed():
        assert count_flops(layer, 2, 4, 5, 4) == 2 * (2 * 6 * 20) * (2 * 9) + 2 * 2 * 120 * 3


def test_matrix_products_and_sums_of_products(rng):
    recorder = Recorder()
    a, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5))
    with modes.hooks(recorder):
        ops.matmul(a, b)
        ops.einsum("nij,jk->nik", a, b)
        ops.exp(a)
    assert recorder.flops == {"MatMul": 2 * 2 * 3 * 4 * 5, "Einsum": 2 * 2 * 3 * 4 * 5, "Exp": 0}


@pytest.mark.parametrize(
    ("name", "multiply_adds"),
    [("resnet18", 1.814e9), ("efficientnet_b0", 0.386e9)],
)
def test_imagenet_nets_cost_what_torchvision_says(name, multiply_adds):
    model = create_model(name, 1000, small_images=False)
    assert count_flops(model, 1, 3, 224, 224) / 2 == pytest.approx(multiply_adds, abs=0.0005e9)


def test_the_model_is_left_as_it_was(rng):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1D(4), nn.Dropout())
    model[2].eval()
    state, draws = model.state_dict(), random.state_dict()
    assert count_flops(model, 6, 3) == 2 * 6 * 12
    assert [layer.training for layer in model.modules()] == [True, True, True, False]
    assert all(np.array_equal(array, state[key]) for key, array in model.state_dict().items())
    assert random.state_dict() == draws
    assert model(Tensor(rng.normal(size=(6, 3)).astype(np.float32))).requires_grad


class Calls(modes.Hook):
    """Writes down each op and what it was called with."""

    def __init__(self):
        self.found = []

    def after_forward(self, op, inputs, output):
        self.found.append((op, inputs))


def work(function, *shapes):
    """All the operations of each op of a call."""
    calls = Calls()
    with modes.no_grad(), modes.hooks(calls):
        function(*[Tensor(np.ones(shape, np.float32)) for shape in shapes])
    return [(type(op).__name__, work_of(op, inputs)) for op, inputs in calls.found]


def test_all_work_of_a_layer_is_its_products_its_bias_and_its_activation():
    products, rows = 2 * 3 * 5 * 7, 3 * 7
    weight, bias = (7, 5), (7,)
    assert work(lambda x, w: ops.linear(x, w), (3, 5), weight) == [("Linear", products)]
    assert work(ops.linear, (3, 5), weight, bias) == [("Linear", products + rows)]
    assert work(lambda *x: ops.linear(*x, "relu"), (3, 5), weight, bias) == [("Linear", products + 2 * rows)]
    images = 2 * (2 * 4 * 3 * 3) * (3 * 4)
    assert work(ops.conv2d, (2, 3, 4, 4), (4, 3, 2, 2)) == [("Conv2D", images)]
    assert work(ops.conv2d, (2, 3, 4, 4), (4, 3, 2, 2), (4,)) == [("Conv2D", images + 72)]


def test_all_work_of_a_fused_op_is_that_of_its_definition():
    with composed():
        assert work(ops.silu, (3, 5)) == [("Sigmoid", 15), ("Gated", 15)]
    assert work(ops.silu, (3, 5)) == [("Silu", 30)]


def test_work_of_other_ops_is_the_numbers_they_take_or_make():
    assert work(lambda x: x.sum(), (3, 5)) == [("Sum", 15)]
    assert work(lambda x, y: x + y, (3, 1), (5,)) == [("Add", 15)]
    assert work(lambda x: x * 2.0, (4,)) == [("Multiply", 4)]
    assert work(lambda x: x.reshape(15).broadcast_to(2, 15), (3, 5)) == [("Reshape", 0), ("BroadcastTo", 0)]
    assert work(ops.matmul, (3, 5), (5, 2)) == [("MatMul", 60)]


def test_a_product_counts_by_either_of_its_factors(rng):
    x, y = Tensor(rng.normal(size=(2, 5, 3)), requires_grad=True), Tensor(rng.normal(size=(2, 3, 4)))
    op = (x @ y).creator
    assert flops_of(op, [None, y]) == flops_of(op, [x, None]) == flops_of(op, [x, y]) == 2 * 2 * 5 * 3 * 4
