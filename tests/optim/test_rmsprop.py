from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import optim
from tinygrad_norm.tensor import Tensor


@pytest.mark.usefixtures("implementation")
def test_goes_where_pytorch_goes(golden_optimizer, trajectory):
    found, expected = trajectory(golden_optimizer, np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("implementation")
def test_goes_there_in_float32(golden_optimizer, trajectory):
    found, expected = trajectory(golden_optimizer, np.float32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("option", ["alpha", "eps", "momentum", "weight_decay", "lr"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_options_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option} is a .*number .*, got {value}"):
        optim.RMSprop([Tensor([1.0], requires_grad=True)], **{option: value})


def test_keeps_the_buffers_that_its_options_ask_for():
    weight = Tensor([1.0], requires_grad=True)
    weight.grad = Tensor([1.0])
    for options, kept in (
        ({}, {"step", "square_avg"}),
        ({"centered": True}, {"step", "square_avg", "grad_avg"}),
        ({"momentum": 0.5}, {"step", "square_avg", "momentum_buffer"}),
    ):
        optimizer = optim.RMSprop([weight], **options)
        optimizer.step()
        assert optimizer.state[weight].keys() == kept
