"""The Tensor itself: what it is made of, how it shows itself, Python's protocols, its gradient and its hooks."""

from __future__ import annotations

import copy
import math
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Op, Tensor, from_dlpack, grad, no_grad, ops
from tinygrad_norm.nn import Parameter


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


# Construction


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        (1.5, "float32", ()),
        (3, "int64", ()),
        (True, "bool", ()),
        ([1.0, 2.0], "float32", (2,)),
        ([[1, 2, 3]], "int64", (1, 3)),
        ([True, False], "bool", (2,)),
        ([1, 2.5], "float32", (2,)),
        ((1.0, (2.0)), "float32", (2,)),
        ([], "float32", (0,)),
        (np.zeros(2), "float64", (2,)),
        (np.zeros((2, 0), "float32"), "float32", (2, 0)),
        (np.zeros(2, "int32"), "int32", (2,)),
        (np.zeros(2, "uint8"), "uint8", (2,)),
        (np.float64(1), "float64", ()),
        (np.float32(1), "float32", ()),
        ([np.float32(1), 2.0], "float32", (2,)),
        ([np.int64(1), 2.5], "float32", (2,)),
        ([np.zeros(2), np.ones(2)], "float64", (2, 2)),
        ([[np.float64(1)], [2.0]], "float64", (2, 1)),
        ([Tensor([1.0]), Tensor([2.0])], "float32", (2, 1)),
        ([Tensor(np.zeros(3)), [1, 2, 3]], "float64", (2, 3)),
        (Tensor(np.zeros(3)), "float64", (3,)),
    ],
)
def test_the_dtype_of_what_is_given(value, dtype, shape):
    tensor = Tensor(value)
    assert (tensor.dtype, tensor.shape) == (np.dtype(dtype), shape)
    assert Tensor(value, dtype="float64").dtype == np.float64


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint64", "bool"]
)
def test_every_supported_dtype_can_be_asked_for(dtype):
    assert Tensor([0.0, 1.0], dtype=dtype).dtype == np.dtype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "longdouble", "complex64", "object", "str", "datetime64[s]"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="is not supported; float32, float64, integers and bool are"):
        Tensor(np.zeros(2).astype(dtype))
    with pytest.raises(TypeError, match="is not supported"):
        Tensor([0.0], dtype=dtype)


@pytest.mark.parametrize("value", ["text", ["a", "b"], None, [None, 1.0], 1j, object(), b"bytes", {"a": 1}, 2**70])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="is not supported; float32"):
        Tensor(value)


def test_a_dtype_that_is_none_is_refused():
    with pytest.raises(TypeError, match="'float99' is no dtype"):
        Tensor([1.0], dtype="float99")


@pytest.mark.parametrize("value", [[[1.0, 2.0], [3.0]], [Tensor([1.0, 2.0]), [1.0]], [np.zeros(2), np.zeros(3)]])
def test_a_ragged_list_is_refused(value):
    with pytest.raises(ValueError, match=r"Tensor: list cannot become an array: .*inhomogeneous shape"):
        Tensor(value)


@pytest.mark.parametrize("make", [lambda array: Tensor(array), lambda array: Tensor(Tensor.wrap(array))])
def test_it_copies_what_it_is_given(make):
    array = np.ones(3)
    tensor = make(array)
    array[:] = 0
    assert tensor.tolist() == [1, 1, 1]
    assert tensor.numpy().flags.writeable


def test_a_copy_keeps_the_order_of_the_axes_in_memory():
    channels_last = np.zeros((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    assert Tensor(channels_last).raw.strides == channels_last.strides


@pytest.mark.parametrize("value", [[1, 2], [True], np.zeros(2, "int32")])
def test_only_floats_have_gradients(value):
    with pytest.raises(TypeError, match=r"gradients are of float32 or float64 elements, got (int64|bool|int32)"):
        Tensor(value, requires_grad=True)
    with pytest.raises(TypeError, match="gradients are of"):
        Tensor(value).requires_grad_()


# Its array


def test_data_is_the_array_itself():
    x = Tensor([1.0, 2.0])
    x.data[0] = 5
    assert x.numpy() is x.data
    assert x.tolist() == [5, 2]
    x.data = np.array([7, 8], np.float32)
    assert x.tolist() == [7, 8]
    x.data *= 2
    assert x.tolist() == [14, 16]


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros(2, int), np.zeros((2, 1), np.float32)])
def test_data_is_replaced_only_by_its_like(array):
    x = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"data: a tensor of shape \(2,\) and float32 takes an array like it"):
        x.data = array
    assert x.tolist() == [1, 2]


def test_data_takes_on_the_dtype_of_its_tensor():
    x = Tensor([1.0, 2.0])
    x.data = np.array([3.0, 4.0])
    assert (x.dtype, x.tolist()) == (np.float32, [3, 4])


def test_its_measures():
    x = Tensor(np.zeros((2, 3, 4)))
    assert (x.shape, x.ndim, x.size, x.nbytes, len(x)) == ((2, 3, 4), 3, 24, 192, 2)
    assert (x.T.shape, x.mT.shape) == ((4, 3, 2), (2, 4, 3))


def test_detach_shares_and_copy_does_not():
    x = leaf(1.0, 2.0)
    x.data[0] = 3
    assert x.detach().tolist() == [3, 2]
    assert np.shares_memory(x.detach().data, x.data)
    assert not np.shares_memory(x.copy().data, x.data)
    assert not x.detach().requires_grad
    assert not x.copy().requires_grad


# As text


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor(1.5), "Tensor(1.5)"),
        (Tensor([1.0, 2.5]), "Tensor([1. , 2.5])"),
        (Tensor([[1, 2], [3, 4]]), "Tensor([[1, 2],\n        [3, 4]])"),
        (Tensor([True]), "Tensor([ True])"),
        (Tensor(np.zeros(2)), "Tensor([0., 0.], dtype=float64)"),
        (Tensor([1], dtype="uint8"), "Tensor([1], dtype=uint8)"),
        (Tensor([1.23456789]), "Tensor([1.2346])"),
        (Tensor([np.nan, -np.inf]), "Tensor([ nan, -inf])"),
        (Tensor(np.zeros((0, 3), "float32")), "Tensor([], shape=(0, 3))"),
        (Tensor([1.0], requires_grad=True), "Tensor([1.], requires_grad=True)"),
        (Tensor([1.0], requires_grad=True).exp(), "Tensor([2.7183], creator=Exp)"),
    ],
)
def test_repr(tensor, text):
    assert repr(tensor) == text


def test_repr_of_a_large_tensor_is_short_and_says_its_shape():
    text = repr(Tensor(np.arange(90_000.0).reshape(300, 300)))
    assert "..." in text
    assert text.endswith(", dtype=float64, shape=(300, 300))")
    assert len(text) < 800


def test_format_takes_a_number_specification():
    assert f"{Tensor(1.25):.1f} {Tensor([2.0]):.0f}" == "1.2 2"
    assert f"{Tensor([1.0, 2.0])}" == "Tensor([1., 2.])"
    with pytest.raises(ValueError, match="one element, got 2"):
        format(Tensor([1.0, 2.0]), ".1f")


# As a number, as a sequence


def test_numbers_of_one_element():
    x = Tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    assert type(x.item()) is float
    assert not Tensor(0.0)


@pytest.mark.parametrize("number", [float, int, Tensor.item])
@pytest.mark.parametrize("value", [[1.0, 2.0], np.zeros((0,))])
def test_several_elements_are_no_number(number, value):
    with pytest.raises(ValueError, match=r"item: a tensor has one element, got (2|0) of shape \((2|0),\)"):
        number(Tensor(value))


NUMBERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "math.exp": math.exp,
    "complex": complex,
    "percent": lambda x: "%.2f" % x,  # noqa: UP031
    "math.floor": math.floor,
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("tensor", [leaf(1.5), leaf(0.75) * 2.0], ids=["leaf", "result"])
def test_a_gradient_that_a_number_loses_is_told_of(name, tensor):
    number = NUMBERS[name]
    with pytest.warns(UserWarning, match=r"^float: .* say so with tensor.item\(\) or tensor.detach\(\)") as told:
        assert number(tensor) == number(1.5)
    assert told[0].filename == __file__
    assert number(tensor.detach()) == number(tensor.item()) == number(1.5)
    with no_grad():
        assert number(tensor) == number(1.5)


def test_a_number_that_is_asked_for_by_name_is_given():
    for tensor in (leaf(1.5), leaf(0.75) * 2.0):
        assert (tensor.item(), tensor.tolist(), int(tensor), bool(tensor)) == (1.5, [1.5], 1, True)
        assert f"{tensor:.2f} {tensor}".startswith("1.50 Tensor([1.5]")
        assert f"{tensor.numpy()[0]:.1f}" == "1.5"


ARRAYS: dict[str, Callable[[Any], Any]] = {
    "asarray": np.asarray,
    "array": np.array,
    "array of float32": lambda x: np.asarray(x, np.float32),
    "list": lambda x: np.array([x, x]),
    "nested list": lambda x: np.array([[x], [x]]),
    "mean": lambda x: np.mean([x, x]),
    "r_": lambda x: np.r_[x, x],
    "c_": lambda x: np.c_[x, x],
    "linspace": lambda x: np.linspace([0.0], [x], 3),
    "assert_allclose": lambda x: np.testing.assert_allclose(x, x),
    "random": lambda x: np.random.default_rng(0).normal(x),
    "write": lambda x: np.zeros(2).__setitem__(slice(None), x),
    "fill": lambda x: np.zeros((1, 2)).__setitem__(0, [x[0], x[1]]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("tensor", [leaf(1.5, 2.0), leaf(0.75, 1.0) * 2.0], ids=["leaf", "result"])
def test_an_array_that_would_lose_a_gradient_is_refused(name, tensor):
    with pytest.raises(RuntimeError, match=r"NumPy: .* tensor.detach\(\)"):
        ARRAYS[name](tensor)
    expected = ARRAYS[name](np.array([1.5, 2.0]))
    with no_grad():
        np.testing.assert_array_equal(ARRAYS[name](tensor), expected)
    np.testing.assert_array_equal(ARRAYS[name](tensor.detach()), expected)


@pytest.mark.parametrize("given", [lambda x: x, lambda x: [x, x * 2.0], lambda x: ([1.0, x[0]],)])
def test_a_tensor_made_of_one_that_wants_a_gradient_is_told_of(given):
    x = leaf(1.5)
    with pytest.warns(UserWarning, match=r"^Tensor: .* tensor.detach\(\), or join several with ops.stack") as told:
        made = Tensor(given(x))
    assert told[0].filename == __file__
    assert not made.requires_grad
    with no_grad():
        assert Tensor(given(x)).tolist() == made.tolist()
    assert Tensor(given(x.detach())).tolist() == made.tolist()


def test_a_leaf_of_its_own_is_made_of_another_without_a_word():
    x = leaf(1.5)
    for made in (Tensor(x * 2.0, requires_grad=True), Parameter(x * 2.0), Parameter(x * 2.0, requires_grad=True)):
        assert made.is_leaf
        assert made.requires_grad
        assert made.tolist() == [3.0]


@pytest.mark.parametrize("value", [[True, False], []])
def test_the_truth_of_several_elements_is_ambiguous(value):
    with pytest.raises(ValueError, match=r"ambiguous; use .any\(\) or .all\(\)"):
        bool(Tensor(value))


def test_integers_are_indices():
    assert [10, 20, 30][Tensor(1)] == 20
    assert list(range(Tensor([3]))) == [0, 1, 2]
    with pytest.raises(TypeError, match="an index is a tensor of integers, got float32"):
        [10, 20][Tensor(1.0)]


def test_a_tensor_is_a_sequence_of_its_rows():
    x = leaf(1.0, 2.0, 3.0)
    rows = list(x)
    assert [row.item() for row in rows] == [1, 2, 3]
    rows[1].backward()
    assert x.grad.tolist() == [0, 1, 0]
    assert 2.0 in x
    assert 5.0 not in x
    assert x[1] in x


def test_without_axes_there_are_no_rows():
    with pytest.raises(TypeError, match="without axes has no length"):
        len(Tensor(1.0))
    with pytest.raises(TypeError, match="without axes"):
        iter(Tensor(1.0))


@pytest.mark.parametrize("key", [3, -4, (0, 0), "a", 0.5, [0, 7], Tensor(1.5), Tensor([0.5])])
def test_a_wrong_index_is_refused(key):
    with pytest.raises((IndexError, TypeError), match=r"ind|integers"):
        _ = Tensor([1.0, 2.0, 3.0])[key]


# Arithmetic with what is no tensor


@pytest.mark.parametrize("other", [2, 2.0, np.float64(2), np.float32(2), True])
def test_scalars_do_not_widen(other):
    x = Tensor([1.0, 4.0])
    for y in (x + other, other + x, x * other, other / x, x - other, other - x, x**other, other**x):
        assert type(y) is Tensor
        assert y.dtype == np.float32


def test_integers_with_float32_stay_float32():
    x, n = Tensor([1.0, 4.0]), Tensor([2, 3])
    for y in (x + n, n + x, n * x, x / n, n / x, x**n, ops.where(n > 2, x, n), ops.maximum(n, x), n / 2, n * 0.5):
        assert y.dtype == np.float32
    assert (n + n).dtype == np.int64
    assert (x + Tensor(np.ones(2))).dtype == np.float64


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("other", [1, True, np.int64(1), np.int8(1), np.uint64(1), np.bool_(True)])
def test_integers_keep_their_width_with_a_number(dtype, other):
    n = Tensor([1, 2], dtype=dtype)
    for y in (n + other, other + n, n * other, n - other, ops.maximum(n, other), ops.where(n > 1, n, other)):
        assert y.dtype == np.dtype(dtype)
    assert (n + other).tolist() == [2, 3]
    assert (n + np.float64(0.5)).dtype == (n + np.float32(0.5)).dtype == np.float32


def test_float64_of_any_origin_stays_float64():
    array = pickle.loads(pickle.dumps(np.arange(3.0)))  # its dtype equals float64's and is another object
    for y in (Tensor(array).sum(), ops.mean(array), ops.matmul(array, array), Tensor(array) * 2, ops.exp(array)):
        assert y.dtype == np.float64


def test_both_orders_of_each_operator():
    x, array = leaf(4.0, 9.0), np.array([2.0, 3.0])
    for ours, expected in [
        (x + array, [6, 12]),
        (array + x, [6, 12]),
        (x - array, [2, 6]),
        (array - x, [-2, -6]),
        (x * array, [8, 27]),
        (array * x, [8, 27]),
        (x / array, [2, 3]),
        (array / x, [0.5, 1 / 3]),
        (x**array, [16, 729]),
        (array**x, [16, 19683]),
        (x @ array, 35),
        (array @ x, 35),
        (1 + x, [5, 10]),
        (1 - x, [-3, -8]),
        (2 * x, [8, 18]),
        (36 / x, [9, 4]),
        (2**x, [16, 512]),
        (x - 1, [3, 8]),
        (x / 2, [2, 4.5]),
        (x**2, [16, 81]),
    ]:
        assert type(ours) is Tensor
        assert ours.requires_grad
        np.testing.assert_allclose(ours.numpy(), expected)
    for truths, wanted in [(array < x, [True, True]), (x <= array, [False, False]), (array == x, [False, False])]:
        assert truths.tolist() == wanted
    assert ((x > 5) & np.array([True, True])).tolist() == [False, True]
    assert (np.array([True, True]) & (x > 5)).tolist() == [False, True]
    assert (np.array([True, False]) | (x > 5)).tolist() == [True, True]
    assert (True & (x > 5) | False).tolist() == [False, True]
    assert (~(x > 5)).tolist() == [True, False]
    assert ((-x).tolist(), (+x).tolist(), abs(-x).tolist()) == ([-4, -9], [4, 9], [4, 9])


@pytest.mark.parametrize("combine", [lambda n: n & 3, lambda n: 3 | n, lambda n: ~n, lambda n: n & (n > 1)])
def test_bits_of_integers_are_not_combined(combine):
    with pytest.raises(TypeError, match=r"&, \| and ~ take bool tensors, got int64"):
        combine(Tensor([1, 2]))


# Copies and pickles


def test_deepcopy_copies_the_array_and_the_gradient():
    x = Parameter(np.array([1.0, 2.0]))
    (x * x).sum().backward()
    x.register_hook(lambda gradient: None)
    twin = copy.deepcopy([x, x])
    assert twin[0] is twin[1]
    assert type(twin[0]) is Parameter
    twin[0].data[:] = 0
    twin[0].grad.data[:] = 0
    assert x.tolist() == [1, 2]
    assert x.grad.tolist() == [2, 4]
    assert twin[0].requires_grad
    assert twin[0].grad_hooks is None


def test_deepcopy_refuses_results():
    with pytest.raises(ValueError, match="deepcopy: only a leaf can be copied"):
        copy.deepcopy(leaf(1.0) * 2.0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_are_not_pickled(protocol):
    with pytest.raises(TypeError, match="tensors are not pickled"):
        pickle.dumps(Tensor([1.0]), protocol)


# DLPack


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_dlpack_shares_memory_both_ways(dtype):
    source = np.zeros((2, 3), dtype)
    x = from_dlpack(source)
    assert (x.dtype, x.shape, x.requires_grad) == (source.dtype, (2, 3), False)
    source[0, 1] = 1
    assert x[0, 1].item() == 1
    back = np.from_dlpack(x.T)
    source[1, 2] = 1
    np.testing.assert_array_equal(back, source.T)


def test_dlpack_refuses_gradients_and_other_dtypes():
    with pytest.raises(BufferError, match=r"use tensor.detach\(\) first"):
        np.from_dlpack(leaf(1.0))
    with pytest.raises(TypeError, match="float16 is not supported"):
        from_dlpack(np.zeros(2, np.float16))
    assert Tensor([1.0]).__dlpack_device__() == (1, 0)


# Gradients and hooks of one tensor


def test_requires_grad_is_for_leaves():
    x = Tensor([1.0])
    assert x.requires_grad_() is x
    y = x * 2.0
    assert y.requires_grad
    assert not y.is_leaf
    with pytest.raises(ValueError, match="only a leaf can be told"):
        y.requires_grad_(False)
    assert not x.requires_grad_(False).requires_grad
    assert not (x * 2.0).requires_grad


def test_a_hook_on_a_leaf_sees_its_whole_gradient_once_and_may_replace_it():
    x = leaf(1.0, 2.0)
    seen = []
    x.register_hook(lambda gradient: seen.append(gradient.tolist()))
    x.register_hook(lambda gradient: gradient * 10.0)
    x.register_hook(lambda gradient: seen.append(gradient.tolist()))
    (x * x + x).sum().backward()
    assert seen == [[3, 5], [30, 50]]
    assert x.grad.tolist() == [30, 50]


def test_a_hook_on_a_result_changes_what_flows_on():
    x = leaf(1.0, 2.0)
    middle = x * 3.0
    middle.register_hook(lambda gradient: -gradient)
    y = middle * 2.0
    del middle  # the tape keeps the hook
    assert grad(y.sum(), x)[0].tolist() == [-6, -6]


def test_a_hook_can_be_removed():
    x = leaf(1.0)
    double = x.register_hook(lambda gradient: gradient * 2.0)
    triple = x.register_hook(lambda gradient: gradient * 3.0)
    double()
    double()
    assert grad(x * 1.0, x)[0].tolist() == [3]
    triple()
    assert grad(x * 1.0, x)[0].tolist() == [1]


@pytest.mark.parametrize("on_leaf", [True, False])
def test_a_hook_that_removes_itself_hides_no_other(on_leaf):
    x = leaf(1.0, 2.0)
    y = x * 1.0
    seen = []

    def once(gradient: Tensor) -> None:
        seen.append("once")
        remove()

    tensor = x if on_leaf else y
    tensor.register_hook(lambda gradient: seen.append("first"))
    remove = tensor.register_hook(once)
    tensor.register_hook(lambda gradient: seen.append("last"))
    for _ in range(2):
        y.sum().backward(retain_graph=True)
    assert seen == ["first", "once", "last", "first", "last"]


def test_a_hook_that_registers_another_is_not_joined_by_it_at_once():
    x, seen = leaf(1.0), []

    def more(gradient: Tensor) -> None:
        seen.append("more")
        x.register_hook(lambda gradient: seen.append("new"))

    x.register_hook(more)
    for _ in range(2):
        grad(x * 1.0, x)
    assert seen == ["more", "more", "new"]


def test_one_function_registered_twice_is_two_hooks():
    x = leaf(1.0)

    def double(gradient: Tensor) -> Tensor:
        return gradient * 2.0

    first, second = x.register_hook(double), x.register_hook(double)
    assert grad(x * 1.0, x)[0].tolist() == [4]
    first()
    first()
    assert grad(x * 1.0, x)[0].tolist() == [2]
    second()
    assert grad(x * 1.0, x)[0].tolist() == [1]


@pytest.mark.parametrize("hook", [None, 1.0])
def test_a_hook_is_callable(hook):
    with pytest.raises(TypeError, match=r"register_hook: a hook can be called, got (NoneType|float)"):
        leaf(1.0).register_hook(hook)


def test_threads_register_and_remove_hooks_at_the_same_time():
    x = leaf(1.0)
    gradients = _in_threads(lambda: [x.register_hook(lambda gradient: gradient + 1.0) for _ in range(200)])
    assert grad(x * 1.0, x)[0].tolist() == [801]
    for removals in gradients:
        _in_threads(*[lambda share=removals[part::4]: [remove() for remove in share] for part in range(4)])
    assert grad(x * 1.0, x)[0].tolist() == [1]


# Threads


def _in_threads(*works: Callable[[], Any]) -> list[Any]:
    """What four threads return, which take turns as often as Python lets them: each does one of `works`."""
    start = threading.Barrier(4)

    def run(work: Callable[[], Any]) -> Any:
        start.wait(10)
        return work()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(run, works * (4 // len(works)), timeout=60))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_a_leaf_that_threads_share_are_all_added(create_graph):
    many = np.ones(400_000)  # so that NumPy lets other threads run while it adds
    x, ones = Tensor(many, requires_grad=True), Tensor(many)

    def work() -> None:
        for _ in range(25):
            x.backward(ones, create_graph=create_graph)

    _in_threads(work)
    assert (x.grad.raw == 100).all()
    x.grad = None  # which holds its graph, which ends in x


def test_threads_go_back_through_one_graph_to_different_inputs():
    class SlowProduct(Op):
        def forward(self, x: Any, y: Any) -> Any:
            self.save(x, y)
            return x * y

        def backward(self, grad: Tensor) -> Any:
            x, y = self.saved
            time.sleep(0.001)
            return grad * y if self.needs_input_grad[0] else None, grad * x if self.needs_input_grad[1] else None

    x, y = leaf(2.0, 3.0), leaf(5.0, 7.0)
    z = SlowProduct()(x, y).sum()
    gradients = _in_threads(
        *[lambda given=given: [grad(z, given, retain_graph=True)[0].tolist() for _ in range(5)] for given in (x, y)]
    )
    assert gradients == [[[5, 7]] * 5, [[2, 3]] * 5] * 2


def test_hooks_take_part_in_higher_derivatives():
    x = leaf(2.0)
    remove = x.register_hook(lambda gradient: gradient * gradient)
    (dx,) = grad(x**3, x, create_graph=True)
    remove()
    assert dx.tolist() == [144]  # (3 x²)²
    assert grad(dx, x)[0].tolist() == [288]  # 36 x³


def test_a_hook_needs_a_gradient():
    with pytest.raises(ValueError, match="register_hook: this tensor does not require a gradient"):
        Tensor([1.0]).register_hook(lambda gradient: None)
    with no_grad():
        y = leaf(1.0) * 2.0
    with pytest.raises(ValueError, match="does not require a gradient"):
        y.register_hook(lambda gradient: None)


@pytest.mark.parametrize("answer", [1.0, np.ones(2), Tensor(np.ones(1)), Tensor([1.0, 1.0])])
@pytest.mark.parametrize("on_leaf", [True, False])
def test_a_hook_that_returns_no_such_gradient_is_refused(answer, on_leaf):
    x = leaf(1.0, 2.0)
    y = x * 2.0
    (x if on_leaf else y).register_hook(lambda gradient: answer)
    with pytest.raises((TypeError, ValueError), match="hook"):
        y.sum().backward()
    assert x.grad is None


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(1.0, 2.0)
    middle = x * x
    assert middle.retain_grad() is middle
    y = middle * 3.0
    y.sum().backward(retain_graph=True)
    assert middle.grad.tolist() == [3, 3]
    assert x.grad.tolist() == [6, 12]
    y.backward(np.array([1.0, 0.0]), retain_graph=True)
    assert middle.grad.tolist() == [3, 0]


def test_a_retained_gradient_is_an_array_of_its_own():
    x = leaf(1.0, 2.0)
    middle = (x + 0.0).retain_grad()
    middle.sum().backward()
    middle.grad.data[:] = 0
    assert x.grad.tolist() == [1, 1]


def test_a_retained_gradient_lies_in_rows_whatever_the_order_of_the_gradient():
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    middle = (x + 0.0).retain_grad()
    middle.T.backward(np.arange(6.0).reshape(3, 2))
    assert middle.grad.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert middle.grad.raw.flags.c_contiguous


def test_retain_grad_keeps_no_tensor_alive():
    x = leaf(1.0)
    middle = (x * x).retain_grad()
    y, gone = middle * 3.0, weakref.ref(middle)
    del middle
    assert gone() is None
    y.backward()
    assert x.grad.tolist() == [6]


def test_retained_gradients_can_be_differentiated():
    x = leaf(3.0)
    middle = (x * x).retain_grad()
    (middle * middle).backward(create_graph=True)
    kept: Any = middle.grad
    assert grad(kept, x)[0].tolist() == [12]  # 2 x²


def test_retain_grad_of_a_leaf_changes_nothing():
    x = leaf(3.0).retain_grad()
    (x * x).backward()
    assert x.grad.tolist() == [6]


# Methods are ops


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {}) for name in ("exp", "log", "sqrt", "rsqrt", "square", "abs", "sign", "sin", "cos", "tanh")),
        *((name, {}) for name in ("sigmoid", "relu", "flatten", "squeeze", "sum", "mean", "argmax")),
        ("astype", {"dtype": "float32"}),
        ("clip", {"min": 0.3, "max": 0.6}),
        *((name, {"axis": 1, "keepdims": True}) for name in ("sum", "mean", "max", "min", "prod", "argmax")),
        *((name, {"axis": (0, 2)}) for name in ("sum", "mean", "max", "min", "prod")),
        *((name, {"axis": 2, "correction": 1.0, "keepdims": True}) for name in ("var", "std")),
        *((name, {"axis": 2}) for name in ("var", "std")),
        ("squeeze", {"axis": 1}),
        ("expand_dims", {"axis": 2}),
        ("flatten", {"start_axis": 1}),
        ("flatten", {"start_axis": 0, "end_axis": 1}),
    ],
)
def test_a_method_gives_what_its_op_gives(name, arguments, rng):
    x = Tensor(rng.uniform(0.1, 0.9, (4, 1, 3)))
    found, expected = getattr(x, name)(**arguments), getattr(ops, name)(x, **arguments)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_methods_that_ask_for_truth_take_an_axis():
    x = Tensor([[True, False], [True, True]])
    assert (x.any().item(), x.all().item()) == (True, False)
    assert x.all(axis=1, keepdims=True).tolist() == [[False], [True]]
    assert (~x).any(axis=0, keepdims=True).tolist() == [[False, True]]


def test_methods_of_shape_take_numbers_or_one_sequence():
    x = Tensor(np.arange(6.0).reshape(1, 2, 3))
    for shape in ((3, 2), (6,), (2, -1)):
        assert x.reshape(*shape).tolist() == x.reshape(list(shape)).tolist() == x.raw.reshape(shape).tolist()
    assert x.permute_dims(2, 0, 1).tolist() == x.permute_dims((2, 0, 1)).tolist() == x.raw.transpose(2, 0, 1).tolist()
    assert x.broadcast_to(4, 2, 3).shape == x.broadcast_to([4, 2, 3]).shape == (4, 2, 3)
    assert (x.T.tolist(), x.mT.tolist()) == (x.raw.T.tolist(), x.raw.mT.tolist())


def test_leaves_that_get_one_gradient_hold_it_in_memory_of_their_own():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).backward(np.ones(2))
    assert x.grad.tolist() == y.grad.tolist() == [1, 1]
    assert not np.shares_memory(x.grad.raw, y.grad.raw)
    given = Tensor(np.ones(2))
    z = leaf(0.0, 0.0)
    (z + 0.0).backward(given)
    given.data[:] = 7
    assert z.grad.tolist() == [1, 1]
    (leaf(5.0, 6.0) * 1.0 + z.reshape(2)).sum().backward()
    assert z.grad.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("operate", "reflected"),
    [
        (lambda x, y: x < y, lambda x, y: y > x),
        (lambda x, y: x <= y, lambda x, y: y >= x),
        (lambda x, y: x == y, lambda x, y: y == x),
        (lambda x, y: x != y, lambda x, y: y != x),
        (lambda x, y: x > y, lambda x, y: y < x),
        (lambda x, y: x >= y, lambda x, y: y <= x),
    ],
)
def test_comparisons_are_numpys_with_tensors_arrays_and_numbers_on_either_side(operate, reflected):
    values, others = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    expected = operate(values, others)
    for other in (Tensor(others), others):
        assert operate(Tensor(values), other).tolist() == reflected(Tensor(values), other).tolist() == expected.tolist()
    assert operate(Tensor(values), 2).tolist() == reflected(Tensor(values), 2.0).tolist() == operate(values, 2).tolist()


def test_a_product_of_matrices_is_numpys_on_either_side(rng):
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 2))
    for product in (Tensor(a) @ Tensor(b), Tensor(a) @ b, a @ Tensor(b), Tensor(b).__rmatmul__(a)):
        np.testing.assert_allclose(product.numpy(), a @ b, rtol=1e-14)


def test_repr_says_the_shape_of_more_than_200_elements():
    assert "shape" not in repr(Tensor(np.arange(200)))
    assert repr(Tensor(np.arange(201))).endswith(", shape=(201,))")


def test_truth_over_an_axis_loses_the_axis():
    assert Tensor([[True, False]]).any(axis=1).shape == Tensor([[True, False]]).all(axis=1).shape == (1,)


@pytest.mark.parametrize(
    "given",
    [Tensor(np.ones((1, 3))), Tensor(np.ones((2, 2, 3))), Tensor(np.ones((2, 3), np.float32)), np.ones((2, 3)), 1.0],
)
def test_a_gradient_is_only_added_to_one_like_it(given):
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    x.grad = given
    with pytest.raises(ValueError, match=r"backward: \.grad is None, or .* float64 of shape \(2, 3\), got"):
        (x * 2.0).sum().backward()
    x.grad = Tensor(np.ones((2, 3)))
    (x * 2.0).sum().backward()
    assert x.grad.tolist() == [[3.0] * 3] * 2


def test_values_beyond_the_dtype_are_refused_and_not_made_infinite():
    for make in (
        lambda: Tensor(np.array([1e300]), dtype="float32"),
        lambda: Tensor([1e300]),
        lambda: Tensor(1e300),
        lambda: Tensor(np.array([300]), dtype="uint8"),
    ):
        with pytest.raises(ValueError, match=r"Tensor: the array holds .*, which is beyond "):
            make()
    x = Tensor(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"data: the array holds 1e\+300, which is beyond float32"):
        x.data = np.full(1, 1e300)
    with pytest.raises(ValueError, match=r"in place: the result holds 1e\+300, which is beyond float32"):
        x[0] = np.full(1, 1e300)[0:1]
    with pytest.raises(ValueError, match=r"in place: the result holds 1e\+300, which is beyond float32"):
        x += np.array([1e300])
    assert x.tolist() == [0.0]
    assert Tensor([np.inf, -np.inf]).tolist() == [np.inf, -np.inf]


def test_sums_and_products_take_a_dtype():
    x = Tensor(np.array([100, 100], np.int8))
    assert x.sum(dtype=np.int8).item() == -56
    assert x.prod(dtype="float64").dtype == np.float64
