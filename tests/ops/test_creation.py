from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, ops


def test_every_op_has_a_test(exported):
    assert exported("creation") == {"arange", "ones", "ones_like", "zeros_like"}


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 1, 3), 4])
def test_ones_have_a_shape_and_a_dtype(shape):
    for dtype in (np.float32, np.float64, bool, np.uint8):
        made = ops.ones(shape, dtype=dtype)
        assert (made.shape, made.dtype, made.requires_grad) == (np.ones(shape).shape, dtype, False)
        assert made.numpy().all()
    assert ops.ones(3).dtype == np.float32


@pytest.mark.parametrize(("op", "value"), [(ops.zeros_like, 0), (ops.ones_like, 1)])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_constants_are_like_a_tensor_and_take_no_gradient(op, value, shape):
    x = Tensor(np.full(shape, np.nan), requires_grad=True)
    y = op(x)
    assert (y.shape, y.dtype, y.requires_grad) == (shape, np.float64, False)
    assert (y.numpy() == value).all()
    assert op(x, dtype=np.int32).dtype == np.int32
    assert op(np.zeros(shape, np.uint8)).dtype == np.uint8


@pytest.mark.parametrize("op", [ops.zeros_like, ops.ones_like])
def test_a_dtype_that_no_tensor_has_is_refused(op):
    with pytest.raises(TypeError, match="float16 is not supported"):
        op(Tensor([1.0]), dtype=np.float16)


def test_integers_in_order():
    assert ops.arange(4).tolist() == [0, 1, 2, 3]
    assert ops.arange(2, 9, 3).tolist() == [2, 5, 8]
    assert (ops.arange(0).shape, ops.arange(3).dtype) == ((0,), np.int64)


def test_a_list_is_taken_as_by_other_ops():
    assert ops.zeros_like([[3.0, 4.0]]).tolist() == [[0.0, 0.0]]
    ones = ops.ones_like([3.0, 4.0], dtype="float64")
    assert (ones.tolist(), ones.dtype) == ([1.0, 1.0], np.float64)
