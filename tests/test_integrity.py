"""An array that the tape saved and somebody then changed is an error; everything else is not."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, from_dlpack, grad, integrity, nn, ops, optim


def leaf(*shape: int) -> Tensor:
    return Tensor(np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape), requires_grad=True)


def write(array: Any) -> None:
    array[...] = array + 1


def change_data(x: Tensor) -> None:
    x.data += 1


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "data": change_data,
    "one element": lambda x: write(x.data[1:, :1]),
    "numpy": lambda x: write(x.numpy()),
    "asarray": lambda x: write(np.asarray(x)),
    "reshaped tensor": lambda x: write(x.reshape(-1).numpy()),
    "transposed array": lambda x: write(x.data.T),
    "detached": lambda x: write(x.detach().numpy()),
    "sorted in place": lambda x: x.data[::-1].sort(axis=0),
    "dlpack": lambda x: write(np.from_dlpack(x.detach())),
    "rounded off": lambda x: np.nextafter(x.data, 9, out=x.data),
}


@pytest.mark.parametrize("handed_out_before", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_saved_array_that_was_changed_is_refused(change, handed_out_before):
    x = leaf(2, 3)
    if handed_out_before:
        _ = x.data
    y = (x * x).sum()
    change(x)
    with pytest.raises(RuntimeError, match=r"^Multiply: an array of shape \(2, 3\) that it saved .* changed in place"):
        y.backward()
    assert x.grad is None


@pytest.mark.parametrize("view_of", [lambda x: x.data, lambda x: x.data[1], lambda x: x.data.T, np.asarray])
def test_a_view_from_before_is_watched(view_of):
    x = leaf(2, 3)
    view = view_of(x)
    y = (x * x).sum()
    view[0] = 7
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_saved_view_is_watched_through_the_whole():
    x = leaf(4, 3)
    part = x[1:3].T
    y = (part * part).sum()
    x.data[2, 0] = -1
    with pytest.raises(RuntimeError, match=r"shape \(3, 2\)"):
        y.backward()


def test_a_saved_output_is_watched():
    x = leaf(3)
    y = x.exp()
    y.data[0] = 0
    with pytest.raises(RuntimeError, match=r"^Exp: "):
        y.sum().backward()


def test_what_a_fused_op_saved_is_watched():
    x, weight = leaf(4, 3), leaf(3)
    y = ops.layer_norm(x, 3, weight=weight)
    weight.data[:] = 0
    with pytest.raises(RuntimeError, match=r"^LayerNorm: "):
        y.sum().backward()


def test_an_optimizer_that_steps_too_early_is_noticed():
    weight = leaf(3)
    optimizer = optim.SGD([weight], lr=0.1)
    first, second = (weight * weight).sum(), (weight * weight).sum()
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"^Multiply: "):
        second.backward()


def test_code_that_writes_to_raw_says_so():
    x = leaf(3)
    y = (x * x).sum()
    x.raw[0] = 5
    x.changed()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


def test_a_derivative_of_a_derivative_is_guarded_too():
    x = leaf(3)
    (dx,) = grad((x**3).sum(), x, create_graph=True)
    x.data[0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        grad(dx.sum(), x)


def test_the_error_names_the_module():
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(3, 2), nn.Tanh()))
    y = model(leaf(4, 3).astype(np.float32)).sum()
    model[1][0].weight.data[:] = 0
    with pytest.raises(RuntimeError, match=r"^Linear in 1\.0: "):
        y.backward()


def test_an_array_from_the_caller_is_saved_as_it_was():
    x, factor = leaf(3), np.array([1.0, 2.0, 3.0])
    y = (x * factor).sum()
    factor[:] = 0
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 2, 3])


def test_an_array_from_the_caller_keeps_its_order_in_memory():
    given = np.ones((2, 4, 5, 3)).transpose(0, 3, 1, 2)
    x = leaf(2, 3, 4, 5)
    (saved,) = [array for array in (x * given).creator.saved_arrays if array is not None]
    assert saved.strides == given.strides
    assert not np.shares_memory(saved, given)


@pytest.mark.parametrize("op", [lambda x, i: x[i], lambda x, i: ops.take(x, i, axis=0)], ids=["getitem", "take"])
def test_an_index_from_the_caller_is_saved_as_it_was(op):
    x, index = leaf(3), np.array([0, 2])
    y = op(x, index).sum()
    index[:] = 1
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 1])


def test_labels_and_conditions_are_saved_as_they_were():
    x, labels, condition = leaf(2, 3), np.array([0, 2]), np.array([True, False, True])
    y = ops.cross_entropy(x, labels, reduction="sum") + ops.where(condition, x, 0.0).sum()
    (expected,) = grad(y, x, retain_graph=True)
    labels[:] = 1
    condition[:] = False
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), expected.numpy())


def test_running_statistics_that_move_on_do_no_harm():
    norm = nn.BatchNorm1D(3, dtype=np.float64).eval()
    x = leaf(4, 3)
    y = norm(x).sum()
    norm.train()(leaf(4, 3))
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 / np.sqrt(1 + 1e-5))


# No false alarms


def test_reading_is_free():
    x = leaf(2, 3)
    y = (x * x).sum()
    _ = x.data, x.numpy().sum(), np.asarray(x), repr(x), str(x), x.tolist(), x[0, 0].item(), np.from_dlpack(x.detach())
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * x.numpy())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_between_backward_and_the_next_forward_is_fine(change):
    x = leaf(2, 3)
    for _ in range(3):
        (dx,) = grad((x * x).sum(), x)
        np.testing.assert_array_equal(dx.numpy(), 2 * x.numpy())
        change(x)


def test_what_was_not_saved_may_change():
    x, y = leaf(3), leaf(3)
    total = (x + y).sum() + (x * 2.0).sum()
    x.data[:] = 0
    total.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 3, 3])


def test_a_change_that_was_undone_is_fine():
    x = leaf(3)
    y = (x * x).sum()
    x.data[0] += 1
    x.data[0] -= 1
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4, 6])


def test_a_new_array_leaves_the_saved_one_alone():
    x = leaf(3)
    y = (x * x).sum()
    x.data = np.zeros(3)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4, 6])


def test_writing_to_a_copy_is_fine():
    x = leaf(3)
    y = (x * x).sum()
    for copy in (np.array(x), x.copy().numpy(), x.data.copy(), Tensor(x).numpy(), x.astype(np.float64).numpy()):
        copy[:] = 0
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 4, 6])


def test_optimizer_steps_between_backwards_are_fine():
    weight = leaf(3)
    optimizer = optim.SGD([weight], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (weight * weight).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(weight.numpy(), np.array([1, 2, 3]) * 0.8**3)


# Arrays of any kind


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.0),
        np.zeros((0, 3)),
        np.arange(6.0).reshape(2, 3).T,
        np.arange(12.0)[::-2],
        np.broadcast_to(np.arange(3.0), (2, 3)),
        np.array([True, False]),
    ],
    ids=["no axes", "empty", "transposed", "strided", "stretched", "bool"],
)
def test_seals_hold_for_any_array(array):
    integrity.expose(array)
    seal = integrity.seal(array)
    assert integrity.intact(array, seal)
    integrity.mark_changed(array)
    assert not integrity.intact(array, seal)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_every_changed_bit_is_noticed(dtype):
    array = np.zeros(100, dtype)
    integrity.expose(array)
    seal = integrity.seal(array)
    array[57] = 1
    assert not integrity.intact(array, seal)
    array[57] = 0
    assert integrity.intact(array, seal)


def test_memory_from_elsewhere_is_watched():
    source = np.array([1.0, 2.0])
    x = from_dlpack(source).requires_grad_()
    y = (x * x).sum()
    source[0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()


# The registry


def test_the_registry_forgets_arrays_that_are_gone():
    gc.collect()
    before = len(integrity._watched)
    tensors = [leaf(2) for _ in range(50)]
    views = [x.data[:1] for x in tensors]
    tensors[0].changed()
    assert len(integrity._watched) == before + 50
    del tensors
    assert len(integrity._watched) == before + 50  # a view still looks at each
    del views
    assert len(integrity._watched) == before


def test_an_array_at_the_address_of_a_former_one_starts_anew():
    for _ in range(100):
        array = np.ones(3)
        assert integrity.seal(array) == integrity.Seal(0, None)
        integrity.expose(array)
        integrity.mark_changed(array)
        del array


VIEWS = {
    "reshape": lambda a: ops.reshape(a, (3, 2)),
    "flatten": ops.flatten,
    "squeeze": lambda a: ops.squeeze(ops.reshape(a, (1, 2, 3)), 0),
    "expand_dims": lambda a: ops.expand_dims(a, 0),
    "permute_dims": lambda a: ops.permute_dims(a, (1, 0)),
    "broadcast_to": lambda a: ops.broadcast_to(a, (4, 2, 3)),
    "slice": lambda a: ops.getitem(a, slice(1)),
    "split": lambda a: ops.split(a, 2)[0],
    "flip": ops.flip,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_caller_may_write_to_an_array_of_which_an_op_made_a_view(view):
    array = np.ones((2, 3))
    w = Tensor(np.ones(1), requires_grad=True)
    seen = view(array)
    y = (w * seen).sum()
    array[...] = 7
    y.backward()
    assert w.grad.tolist() == [seen.size]


def test_the_caller_may_write_to_a_vector_that_met_a_matrix():
    for product in (lambda w, v: ops.matmul(w, v), lambda w, v: ops.matmul(v, w)):
        w, v = Tensor(np.eye(3), requires_grad=True), np.ones(3)
        y = product(w, v).sum()
        v[:] = 5
        y.backward()
        assert w.grad.numpy().max() == 1
