"""What tensors cannot hold passes at no door: as an array it is refused as it is in a tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, dtypes, grad, nn, ops

BAD: dict[str, Callable[[Any], Any]] = {
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a + 1j,
    "bytes": lambda a: a.astype("S8"),
    "text": lambda a: a.astype("U8"),
    "objects": lambda a: a.astype(object),
    "byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "times": lambda a: a.astype("m8[s]"),
    "masked": lambda a: np.ma.masked_array(a, a > 0.5),
}
X, Y, Z = (np.random.default_rng(seed).uniform(0.1, 0.9, size=(3, 3)) for seed in range(3))
V, IMAGES = Y[0], np.random.default_rng(4).uniform(size=(2, 3, 4, 4))
PROBABILITIES = Y / Y.sum(axis=1, keepdims=True)


def leaf() -> Tensor:
    return Tensor(X, requires_grad=True)


# Each is called with the arrays beside it, one of which is bad.
DOORS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "add": (ops.add, [X, Y]),
    "operator": (lambda x: Tensor(Y) * x, [X]),
    "operator, array first": (lambda x: x - Tensor(Y), [X]),
    "in place": (lambda x: operator.iadd(Tensor(Y), x), [X]),
    "item": (lambda x: Tensor(Y).__setitem__(0, x), [V]),
    "data": (lambda x: setattr(Tensor(Y), "data", x), [X]),
    "numpy function": (lambda x: np.add(Tensor(Y), x), [X]),
    "where": (ops.where, [X, Y, Z]),
    "clip": (ops.clip, [X, Y, Z]),
    "sum": (ops.sum, [X]),
    "argmax": (ops.argmax, [X]),
    "astype": (lambda x: ops.astype(x, "float32"), [X]),
    "reshape": (lambda x: ops.reshape(x, 9), [X]),
    "concat": (lambda x, y: ops.concat([x, y]), [X, Y]),
    "take_along_axis": (lambda x: ops.take_along_axis(x, np.zeros((3, 1), int)), [X]),
    "matmul": (ops.matmul, [X, Y]),
    "einsum": (lambda x, y: ops.einsum("ij,jk->ik", x, y), [X, Y]),
    "linear": (ops.linear, [X, Y, V]),
    "relu": (ops.relu, [X]),
    "softmax": (lambda x: ops.softmax(x, axis=1), [X]),
    "dropout": (ops.dropout, [X]),
    "dropout in inference": (lambda x: ops.dropout(x, training=False), [X]),
    "conv2d": (ops.conv2d, [IMAGES, IMAGES[:, :, :2, :2], V[:2]]),
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2), [IMAGES]),
    "interpolate": (lambda x: ops.interpolate(x, scale_factor=2), [IMAGES]),
    "batch_norm": (lambda *arrays: ops.batch_norm(*arrays, training=True), [X, V, V, V, V]),
    "batch_norm in inference": (ops.batch_norm, [X, V, V, V, V]),
    "instance_norm": (ops.instance_norm, [IMAGES, V, V, V, V]),
    "layer_norm": (lambda x, w, b: ops.layer_norm(x, 3, w, b), [X, V, V]),
    "group_norm": (lambda x, w, b: ops.group_norm(x, 1, w, b), [IMAGES, V, V]),
    "rms_norm": (lambda x, w: ops.rms_norm(x, 3, w), [X, V]),
    "cross_entropy": (lambda x, w: ops.cross_entropy(x, [0, 1, 2], w), [X, V]),
    "cross_entropy of probabilities": (lambda y: ops.cross_entropy(X, y), [PROBABILITIES]),
    "nll_loss": (lambda x, w: ops.nll_loss(x, [0, 1, 2], w), [X, V]),
    "mse_loss": (ops.mse_loss, [X, Y]),
    "bce": (lambda x, y, w, p: ops.binary_cross_entropy_with_logits(x, y, w, "mean", p), [X, Y, Z, Z]),
    "gradient of backward": (lambda seed: (leaf() * 2.0).backward(seed), [X]),
    "gradient of grad": (lambda seed: grad(y := leaf() * 2.0, y, seed), [X]),
    "layer": (lambda x: nn.Linear(3, 2, dtype=np.float64)(x), [X]),
    "norm": (lambda x: nn.BatchNorm1D(3, dtype=np.float64)(x), [X]),
    "norm in inference": (lambda x: nn.BatchNorm1D(3, dtype=np.float64).eval()(x), [X]),
    "loss": (lambda w: nn.CrossEntropyLoss(weight=w)(X, [0, 1, 2]), [V]),
    "init": (lambda x: nn.init.constant_(Tensor(Y), x), [np.array(0.7)]),
    "tensor": (Tensor, [X]),
    "parameter": (nn.Parameter, [X]),
}


CASES = [(door, bad) for door in DOORS for bad in BAD]
CASES.remove(("operator, array first", "masked"))  # which NumPy computes, and keeps the mask


@pytest.mark.parametrize(("door", "bad"), CASES)
def test_an_array_that_no_tensor_holds_is_refused(door, bad):
    function, arrays = DOORS[door]
    for place, array in enumerate(arrays):
        given = [BAD[bad](other.copy()) if i == place else other.copy() for i, other in enumerate(arrays)]
        assert type(given[place]) is not type(array) or given[place].dtype != array.dtype
        with pytest.raises(TypeError, match=r"not supported|no dtype|is no number|its mask would be lost"):
            function(*given)


@pytest.mark.parametrize("door", DOORS)
def test_each_door_lets_float64_in(door):
    function, arrays = DOORS[door]
    found = function(*[array.copy() for array in arrays])
    if isinstance(found, Tensor):
        assert found.dtype == {"argmax": "int64", "astype": "float32"}.get(door, "float64")


@pytest.mark.parametrize(
    "number", [np.float16(1), np.longdouble(1), np.complex64(1), 1j, b"1", np.bytes_(b"1"), "1", np.datetime64(1, "s")]
)
def test_a_number_that_no_tensor_holds_is_refused(number):
    x = Tensor([1.0, 2.0])
    for combine in (ops.add, ops.maximum, operator.imul):
        with pytest.raises(TypeError, match="is not supported"):
            combine(x, number)
    with pytest.raises(TypeError, match="is not supported"):
        x[0] = number
    with pytest.raises(TypeError, match=r"is not supported|is no number"):
        nn.init.constant_(x, number)
    assert x.tolist() == [1.0, 2.0]


def test_the_refusal_names_the_op_and_its_module():
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(TypeError, match=r"^Relu in 0: dtype: float16 is not supported; .* Convert the array first$"):
        model(np.ones(3, np.float16))
    with pytest.raises(TypeError, match=r"^Add: masked array: its mask would be lost"):
        ops.add(np.ma.masked_array([1.0], [True]), 1)


@pytest.mark.parametrize("value", [1j, b"1.5", ["1", "2"], None, [None, 1.0], np.array([1 + 2j]), np.array([b"3"])])
def test_what_is_no_number_becomes_none_by_a_dtype(value):
    with pytest.raises(TypeError, match=r"is no number, and becomes no (float32|int64)"):
        Tensor(value, dtype="float32")
    with pytest.raises(TypeError, match="is no number"):
        Tensor(value, dtype="int64")


@pytest.mark.parametrize("dtype", ["float16", "longdouble", ">f8"])
def test_numbers_are_converted_where_a_dtype_is_given(dtype):
    assert Tensor(np.array([1.5, 2.0]).astype(dtype), dtype="float32").tolist() == [1.5, 2.0]


def test_a_matrix_is_multiplied_as_an_array(tmp_path):
    matrix, x = X.copy().view(np.matrix), leaf()
    assert (ops.multiply(x, matrix).raw == X * X).all()
    assert (Tensor(Y) * matrix).shape == (3, 3)
    np.testing.assert_allclose((Tensor(Y) * matrix).raw, Y * X)
    y = (x * matrix).sum()
    matrix[...] = 0
    y.backward()
    np.testing.assert_array_equal(x.grad.raw, X)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(3, 3))
    mapped[...] = Y
    assert type(ops.add(mapped, 0.0).raw) is np.ndarray
    np.testing.assert_array_equal(ops.add(mapped, 0.0).raw, Y)


def test_the_dtypes_that_are_supported():
    assert {str(dtype) for dtype in dtypes.SUPPORTED} == {
        *("float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    }
    array = np.ones(3, np.float32)
    assert dtypes.plain(array) is array
