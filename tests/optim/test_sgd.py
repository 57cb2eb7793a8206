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


def test_nesterov_needs_momentum_and_no_dampening():
    weight = Tensor([1.0], requires_grad=True)
    for momentum, dampening in ((0.0, 0.0), (0.9, 0.1)):
        with pytest.raises(ValueError, match="nesterov=True needs momentum above 0 and dampening=0"):
            optim.SGD([weight], momentum=momentum, dampening=dampening, nesterov=True)
    with pytest.raises(ValueError, match="nesterov"):
        optim.SGD([{"params": [weight], "momentum": 0}], momentum=0.9, nesterov=True)
    optim.SGD([weight], momentum=0.9, nesterov=True)


def test_without_momentum_nothing_is_kept_but_the_count():
    weight = Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.5)
    weight.grad = Tensor([1.0])
    optimizer.step()
    assert optimizer.state[weight] == {"step": 1}


def test_momentum_that_begins_later_begins_with_the_whole_gradient():
    weight = Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.5, dampening=0.75)
    weight.grad = Tensor([1.0])
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    assert weight.item() == 0.0
    optimizer.step()
    assert weight.item() == -0.375  # 0.5 * 1 + (1 - 0.75) * 1, half of it
