"""NumPy's warnings are off while an op computes, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, grad, ops
from tinygrad_norm.quiet import enter_quiet, leave_quiet


def overflow() -> None:
    np.array([1e300]) * 1e300


def test_an_op_is_quiet_about_infinity_and_nan():
    """Warnings are errors in these tests."""
    x = Tensor([0.0, -1.0], dtype="float64")
    np.testing.assert_array_equal(ops.log(x).raw, [-np.inf, np.nan])
    np.testing.assert_array_equal((x / 0.0).raw, [np.nan, -np.inf])


def test_a_walk_is_quiet_about_infinity_and_nan():
    x = Tensor([0.0, 1.0], requires_grad=True)
    (x.sqrt() + 1.0 / x + x.log()).backward(np.ones(2, np.float32))
    np.testing.assert_array_equal(x.grad.raw, [np.nan, 0.5])
    zero = Tensor(0.0, requires_grad=True)
    assert grad(zero.sqrt(), zero)[0].item() == np.inf


def test_what_the_caller_wants_to_hear_of_is_heard_again_afterwards():
    with np.errstate(all="raise"):
        quiet = enter_quiet()
        overflow()
        leave_quiet(quiet)
        with pytest.raises(FloatingPointError):
            overflow()


@pytest.mark.parametrize("moment", ["forward", "backward"])
def test_an_op_that_fails_leaves_no_silence_behind(moment):
    class Failing(Op):
        def forward(self, x):
            if moment == "forward":
                raise OverflowError
            return x * 1

        def backward(self, grad):
            raise OverflowError

    with np.errstate(all="raise"):
        with pytest.raises(OverflowError):
            Failing()(Tensor([1.0], requires_grad=True)).backward()
        with pytest.raises(FloatingPointError):
            overflow()
