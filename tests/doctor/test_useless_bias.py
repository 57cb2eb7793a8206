from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, nn
from tinygrad_norm.doctor.useless_bias import useless_biases


def found(*layers, shape=(8, 4)):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return useless_biases(nn.Sequential(*layers), Tensor(x))


IMAGES = (3, 4, 6, 5)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(4, 6), nn.BatchNorm1D(6)], (8, 4)),
        ([nn.Linear(4, 6), nn.BatchNorm1D(6, track_running_stats=False)], (8, 4)),
        ([nn.Linear(4, 6), nn.BatchNorm1D(6, fused=False)], (8, 4)),
        ([nn.Conv2D(4, 6, 3), nn.BatchNorm2D(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.InstanceNorm2D(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.GroupNorm(6, 6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.BatchRenorm2D(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.GhostBatchNorm2D(6, ghost_size=2)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.IterNorm2D(6, 2)], IMAGES),
        ([nn.Linear(4, 6), nn.LInfNorm(6)], (8, 4)),
    ],
    ids=str,
)
def test_a_bias_that_the_mean_takes_out_again(layers, shape):
    assert found(*layers, shape=shape) == [("1", "0.bias")]
    assert all(layer.training for layer in layers)


@pytest.mark.parametrize(
    ("between", "norm", "useless"),
    [
        ([nn.MaxPool2D(2, padding=1)], nn.BatchNorm2D(6), True),
        ([nn.AvgPool2D(2, ceil_mode=True)], nn.BatchNorm2D(6), True),
        ([nn.AvgPool2D(2, 1), nn.MaxPool2D(2)], nn.BatchNorm2D(6), True),
        ([nn.MaxPool2D(2), nn.Flatten()], nn.BatchNorm1D(12), True),
        ([nn.Flatten(2)], nn.BatchNorm1D(6), True),
        ([nn.AvgPool2D(2, padding=1)], nn.BatchNorm2D(6), False),  # the border lacks the bias
        ([nn.AvgPool2D(3, ceil_mode=True, divisor_override=9)], nn.BatchNorm2D(6), False),
        ([nn.Flatten()], nn.LayerNorm(72), False),
        ([nn.MaxPool2D(2), nn.ReLU()], nn.BatchNorm2D(6), False),
    ],
    ids=str,
)
def test_a_bias_that_is_pooled_or_reshaped_before(between, norm, useless):
    path = str(1 + len(between))
    assert found(nn.Conv2D(4, 6, 3), *between, norm, shape=IMAGES) == [(path, "0.bias")] * useless


def test_a_bias_of_each_pixel_is_not_taken_out_after_a_pool(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(np.ones((1, 6), np.float32))
            self.pool, self.norm = nn.MaxPool2D((4, 6)), nn.BatchNorm2D(3)

        def forward(self, x):
            return self.norm(self.pool(x + self.offset))

    assert useless_biases(Net(), Tensor(rng.normal(size=(2, 3, 4, 6)).astype(np.float32))) == []


def frozen(layer):
    layer.frozen = True
    return layer


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(4, 6, bias=False), nn.BatchNorm1D(6)], (8, 4)),
        ([nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1D(6)], (8, 4)),
        ([nn.Linear(4, 6), nn.Dropout(0.5), nn.BatchNorm1D(6)], (8, 4)),  # which takes no part in inference
        ([nn.Linear(4, 6), frozen(nn.BatchNorm1D(6))], (8, 4)),  # it subtracts a constant
        ([nn.Linear(4, 6), nn.BatchNorm1D(5)], (8, 5, 4)),  # channels are not the axis of the bias
        ([nn.Linear(4, 6), nn.LayerNorm(6)], (8, 4)),
        ([nn.Linear(4, 6), nn.RMSNorm(6)], (8, 4)),
        ([nn.Conv2D(4, 6, 3), nn.GroupNorm(3, 6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.LayerNorm2D(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.EvoNormB0(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.FilterResponseNorm2D(6)], IMAGES),
        ([nn.Conv2D(4, 6, 3), nn.SwitchableNorm2D(6)], IMAGES),
        ([nn.Linear(4, 6), nn.DynamicTanh(6)], (8, 4)),
        ([nn.Linear(4, 6), nn.PowerNorm(6)], (8, 4)),
    ],
    ids=str,
)
def test_a_bias_that_is_of_use(layers, shape):
    assert found(*layers, shape=shape) == []


def test_a_bias_before_a_norm_in_inference_is_of_use(rng):
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1D(6), nn.Linear(6, 5), nn.BatchNorm1D(5))
    x = Tensor(rng.normal(size=(8, 4)).astype(np.float32))
    assert useless_biases(model, x, frozen=["1"]) == [("3", "2.bias")]
    assert all(module.training for module in model.modules())


class Skipping(nn.Module):
    """What the first layer makes goes to a norm, and around it as well."""

    def __init__(self, around):
        super().__init__()
        self.first, self.norm, self.around = nn.Linear(4, 4), nn.BatchNorm1D(4), around

    def forward(self, x):
        x = self.first(x).reshape((-1, 4))
        return self.norm(x) + x if self.around else self.norm(x)


class Twice(nn.Module):
    """A layer is followed by a norm where it is called first, and perhaps where it is called again."""

    def __init__(self, both):
        super().__init__()
        self.shared, self.norm, self.both = nn.Linear(4, 4), nn.BatchNorm1D(4), both

    def forward(self, x):
        x = self.shared(self.norm(self.shared(x)))
        return self.norm(x) if self.both else x


def test_a_bias_that_also_goes_elsewhere_is_of_use(rng):
    x = Tensor(rng.normal(size=(8, 4)).astype(np.float32))
    assert useless_biases(Skipping(around=False), x) == [("norm", "first.bias")]
    assert useless_biases(Skipping(around=True), x) == []
    assert useless_biases(Twice(both=True), x) == [("norm", "shared.bias")]
    assert useless_biases(Twice(both=False), x) == []


def test_a_bias_added_by_hand_is_found_too(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset, self.norm = nn.Parameter(np.ones(4, np.float32)), nn.BatchNorm1D(4)

        def forward(self, x):
            return self.norm(x + self.offset)

    x = Tensor(rng.normal(size=(8, 4)).astype(np.float32))
    assert useless_biases(Net(), x) == [("norm", "offset")]
    with composed():
        assert found(nn.Linear(4, 6), nn.BatchNorm1D(6)) == [("1", "0.bias")]


def test_the_bias_that_is_called_useless_has_no_gradient(rng):
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1D(6), nn.Linear(6, 5), nn.LayerNorm(5)).astype("float64")
    x = Tensor(rng.normal(size=(8, 4)))
    (model(x) * rng.normal(size=(8, 5))).sum().backward()
    without = [name for name, p in model.named_parameters() if np.abs(p.grad.numpy()).max() < 1e-12]
    assert [name for _, name in useless_biases(model, x)] == without == ["0.bias"]
