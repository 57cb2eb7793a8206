from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, modes, nn, random


class Noisy(nn.Module):
    """Counts its calls in a buffer, in inference too, and fails on demand."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", Tensor(np.array(0)))
        self.modes = []

    def forward(self, x):
        self.calls.raw = self.calls.raw + 1
        self.modes.append((self.training, modes.is_recording(), x.dtype.name))
        if x.shape[0] == 13:
            raise RuntimeError("unlucky")
        return x, [x * 2]


def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Dropout(), nn.Sequential(nn.Linear(5, 3, bias=False)))


def test_the_table():
    net = model()
    net[1].requires_grad_(False)
    assert net.summary((2, 3, 4)) == (
        "Module   Type        Output shape  Parameters\n"
        "---------------------------------------------\n"
        "(model)  Sequential  (2, 3)                 0\n"
        "0        Flatten     (2, 12)                0\n"
        "1        Linear      (2, 5)                65\n"
        "2        Dropout     (2, 5)                 0\n"
        "3        Sequential  (2, 3)                 0\n"
        "3.0      Linear      (2, 3)                15\n"
        "---------------------------------------------\n"
        "Parameters: 80, trainable 15 (320 bytes)\n"
        "Buffers: 0 (0 bytes)"
    )


def test_modes_that_are_not_those_around_are_told():
    net = nn.Sequential(nn.Sequential(nn.BatchNorm1D(3), nn.Dropout()), nn.BatchNorm1D(3), nn.BatchNorm1D(3))
    net[0].eval()
    net[0][1].train()
    net[2].eval()
    net[2].frozen = net[0][0].frozen = True
    types = [line[9:45].rstrip() for line in net.summary((2, 3)).splitlines()[2:8]]
    assert [kind.partition("  ")[0] for kind in types] == [
        "Sequential",
        "Sequential (eval)",
        "BatchNorm1D (frozen)",
        "Dropout (training)",
        "BatchNorm1D",
        "BatchNorm1D (eval, frozen)",
    ]
    net.train().eval()
    types = [line.split()[1:3] for line in net.summary().splitlines()[2:6]]
    assert types[0] == ["Sequential", "(eval)"]
    assert types[1][0] == "Sequential"
    assert types[3] == ["Dropout", "-"]


def test_without_input_the_shapes_are_left_out():
    assert "0        Flatten     -                      0" in model().summary()


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4)
    twin = nn.Linear(4, 4)
    twin.weight = layer.weight
    table = nn.Sequential(layer, twin, layer).summary((1, 4))
    assert [line.split()[-1] for line in table.splitlines()[3:5]] == ["20", "4"]
    assert "Parameters: 24," in table


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Dropout(), Noisy()).astype(np.float64)
    net[0].eval()
    calls, state = net[1].calls.raw, random.state_dict()
    table = net.summary(np.ones((2, 3)))
    assert "(2, 3), (2, 3)" in table
    assert net[1].modes == [(False, False, "float64")]
    assert [module.training for module in net.modules()] == [True, False, True]
    assert net[1].calls.raw is calls
    assert calls == 0
    assert random.state_dict() == state
    assert not any(module.has_hooks for module in net.modules())


def test_the_model_is_left_as_it_was_after_an_error_too():
    net = nn.Sequential(Noisy())
    with pytest.raises(RuntimeError, match="unlucky"):
        net.summary((13,))
    assert all(module.training for module in net.modules())
    assert net[0].calls.item() == 0
    assert not any(module.has_hooks for module in net.modules())
    assert modes.is_recording()


def test_a_shape_becomes_an_input_of_the_parameters_dtype():
    net = nn.Sequential(nn.Linear(3, 3, dtype=np.float64), Noisy())
    net.summary((2, 3))
    assert net[1].modes == [(False, False, "float64")]


def test_several_inputs():
    class Add(nn.Module):
        def forward(self, x, y):
            return x + y

    assert "(2, 3)" in Add().summary((2, 1), np.ones((1, 3), np.float32))


@pytest.mark.parametrize("given", [3, [1, 2], (1.5, 2), "x"])
def test_other_inputs_are_refused(given):
    with pytest.raises(TypeError, match="an array or the tuple of its shape"):
        model().summary(given)
