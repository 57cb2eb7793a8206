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


@pytest.mark.parametrize("betas", [(1.0, 0.5), (-0.1, 0.5), (0.5, float("nan")), (0.5, 1.5)])
def test_betas_out_of_range(betas):
    with pytest.raises(ValueError, match=r"betas\[[01]\] is a number of at least 0 and below 1, got"):
        optim.Adam([Tensor([1.0], requires_grad=True)], betas=betas)


def test_decoupled_decay_does_not_pass_through_the_moments():
    for optimizer, moves in ((optim.Adam, True), (optim.AdamW, False)):
        weight = Tensor([4.0], requires_grad=True)
        weight.grad = Tensor([0.0])
        made = optimizer([weight], lr=0.5, weight_decay=0.25)
        made.step()
        assert (made.state[weight]["exp_avg"] != 0).all() == moves
        np.testing.assert_allclose(weight.raw, 3.5)  # Adam: its step of lr; AdamW: 4 - 0.5 * 0.25 * 4


def test_adamw_decays_unless_told_otherwise():
    weight = Tensor([1.0], requires_grad=True)
    assert optim.Adam([weight]).param_groups[0]["weight_decay"] == 0
    assert optim.AdamW([weight]).param_groups[0]["weight_decay"] == 0.01
