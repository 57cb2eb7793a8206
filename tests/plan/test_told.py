"""Arrays that tell when their elements are read, and when not."""

from __future__ import annotations

import copy
import ctypes
import pickle
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, capture, ops
from tinygrad_norm.plan import told as module
from tinygrad_norm.plan.told import Told, plain, told

READS: dict[str, Any] = {
    "an element": lambda a: a[0, 0],
    "a number of one": lambda a: float(a[0, :1].reshape(())),
    "a comparison": lambda a: (a > 0).any(),
    "a sum": lambda a: a.sum(),
    "a mean": lambda a: a.mean(),
    "the largest": lambda a: a.max(),
    "its place": lambda a: a.argmax(),
    "NumPy's function": lambda a: np.unique(a),
    "a list": lambda a: a.tolist(),
    "a loop": lambda a: list(a),
    "a part": lambda a: a.T[1:].copy().item(0),
    "bytes": lambda a: a.tobytes(),
    "a test": lambda a: 1.0 in a,
    "its elements in a row": lambda a: [*a.flat],
    "its memory": lambda a: bytes(a.data),
    "its memory in C": lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_double))[0],
    "an array of NumPy's class": lambda a: a.__array__(),
    "a view of NumPy's class": lambda a: a.view(np.ndarray)[0, 0],
    "a deep copy": lambda a: copy.deepcopy(a),
    "a pickle": lambda a: pickle.loads(pickle.dumps(a)),
    "another library's array": lambda a: np.from_dlpack(a),
    "a write": lambda a: a.__setitem__(0, 1.0),
}


@pytest.mark.parametrize("name", READS)
def test_reading_is_told(name, monkeypatch, rng):
    seen: list[str] = []
    monkeypatch.setattr(module, "read", seen.append)
    array = rng.normal(size=(3, 2))
    expected = READS[name](copy.copy(array))
    np.testing.assert_equal(READS[name](told([array])[0]), expected)
    assert seen


def test_its_form_and_its_views_are_not(monkeypatch, rng):
    seen: list[str] = []
    monkeypatch.setattr(module, "read", seen.append)
    (array,) = told((rng.normal(size=(3, 4)),))
    assert (array.shape, array.dtype, len(array), array.T[1:].reshape(-1).size) == ((3, 4), np.float64, 3, 9)
    assert type(array[1:]) is Told
    assert type(plain({"a": array})["a"]) is np.ndarray
    assert not seen


def test_a_function_that_decides_on_an_array_it_is_given_is_eager(rng):
    fast = capture(lambda x, lengths: x[:, : int(lengths.max())].sum())
    x = Tensor(rng.normal(size=(2, 6)))
    for lengths in ([2, 2], [5, 5], [2, 2], [3, 4], [6, 1]):
        assert fast(x, np.array(lengths)).item() == x[:, : max(lengths)].sum().item()
    assert "NumPy or Python reads elements" in fast.why


def test_ops_take_it(rng):
    fast = capture(lambda x, target: ops.cross_entropy(Tensor(x) * 2.0, target))
    for _ in range(5):
        x, target = rng.normal(size=(4, 3)), rng.integers(0, 3, 4)
        assert fast(x, target).item() == ops.cross_entropy(Tensor(x) * 2.0, target).item()
    assert fast.why == ""


def test_lists_and_dicts_that_are_given_are_changed_as_by_an_eager_call(rng):
    def function(xs, table):
        table["sum"] = xs[0] + xs[1]
        return xs.pop() * 2.0

    for kind in (Tensor, np.asarray):
        fast = capture(function)
        for _ in range(4):
            xs, table = [kind(rng.normal(size=2)) for _ in range(2)], {"x": kind(rng.normal(size=2))}
            last = xs[1]
            np.testing.assert_array_equal(np.asarray(fast(xs, table)), np.asarray(last) * 2.0)
            assert (len(xs), [*table]) == (1, ["x", "sum"])
            assert type(xs[0]) is type(last)
            assert type(table["sum"]) is type(last)
        assert not fast.plans
    fast = capture(lambda xs: xs[0] * 2.0)
    given = [Tensor([1.0]), np.ones(1)]
    before = [*given]
    fast(given), fast(given)
    assert all(now is was for now, was in zip(given, before, strict=True))
