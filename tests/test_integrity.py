"""An array that the tape saved and somebody then changed is an error; everything else is not."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, from_dlpack, grad, integrity, nn, no_grad, ops, optim


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
    "asarray": lambda x: write(np.asarray(x.detach())),
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


@pytest.mark.parametrize(
    "view_of", [lambda x: x.data, lambda x: x.data[1], lambda x: x.data.T, lambda x: np.asarray(x.detach())]
)
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
    kept = x.data, np.asarray(x.detach()), np.from_dlpack(x.detach())
    _ = x.data, x.numpy().sum(), repr(x), str(x), x.tolist(), x[0, 0].item()
    y.backward()
    for seen in kept:
        np.testing.assert_array_equal(x.grad.numpy(), 2 * seen)


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
    copies = np.array(x.detach()), x.copy().numpy(), x.data.copy(), Tensor(x.detach()).numpy()
    for copy in (*copies, x.astype(np.float64).numpy()):
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


# What it costs


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each array that a checksum is taken of."""
    counted: list[int] = []
    checksum = integrity._checksum

    def counting(array: Any) -> int:
        counted.append(array.nbytes)
        return checksum(array)

    monkeypatch.setattr(integrity, "_checksum", counting)
    return counted


def bytes_of(counted: list[int]) -> int:
    """The bytes counted since the last time."""
    total = sum(counted)
    counted.clear()
    return total


WEIGHT = 32 * 64 * 8
LOOKS: dict[str, Callable[[Tensor], object]] = {
    "numpy": lambda x: x.numpy().sum(),
    "asarray": lambda x: np.asarray(x.detach()).T[3:].reshape(-1).max(),
    "dlpack": lambda x: np.from_dlpack(x.detach()).min(),
    "memoryview": lambda x: memoryview(x.data)[1, 2],
    "several times": lambda x: [x.numpy()[i].sum() for i in range(10)],
    "written to": lambda x: write(x.data),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_an_array_that_was_given_back_costs_nothing_any_more(look, checked):
    model = nn.Linear(64, 32, dtype=np.float64)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = Tensor(np.ones((3, 64)), requires_grad=True)  # so that the weight is saved

    def step() -> int:
        model(x).sum().backward()
        optimizer.step()
        return bytes_of(checked)

    assert step() == 0
    look(model.weight)
    assert step() == 0  # nothing was saved between the change by the optimizer and the look
    saved = model(x)
    look(model.weight)
    assert bytes_of(checked) == WEIGHT
    del saved
    model(x).sum().backward()
    assert bytes_of(checked) == WEIGHT  # whether it was written to
    assert [step(), step()] == [0, 0]
    model(x).sum().backward()
    look(model.weight)
    bytes_of(checked)
    optimizer.step()  # after which nothing of before is compared
    assert step() == 0


def test_an_array_that_somebody_holds_is_compared_at_each_step(checked):
    model = nn.Linear(64, 32, dtype=np.float64)
    x = Tensor(np.ones((3, 64)), requires_grad=True)
    held = model.weight.numpy()[4:, ::2].T
    bytes_of(checked)
    for _ in range(3):
        y = model(x).sum()
        assert bytes_of(checked) == WEIGHT
        y.backward()
        assert bytes_of(checked) == WEIGHT
    y = model(x).sum()
    held[0, 0] += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    del held
    model(x).sum().backward()
    assert bytes_of(checked) > 0
    model(x).sum().backward()
    assert bytes_of(checked) == 0


def test_a_look_at_what_is_changed_in_place_costs_nothing(checked):
    x = Tensor(np.ones((32, 64)))
    x += 1.0
    for _ in range(3):
        x += 1.0
        x[0].numpy()[0] = 5
        _ = x.numpy().sum()
        _ = ops.exp(x)
    assert bytes_of(checked) == 0


def test_an_array_that_nobody_asked_for_is_never_compared(checked):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1D(8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        ops.cross_entropy(model(Tensor(np.ones((5, 4), np.float32))), np.zeros(5, int)).backward()
        optimizer.step()
        with no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    assert bytes_of(checked) == 0


def test_memory_from_elsewhere_is_always_compared(checked):
    x = from_dlpack(np.ones((32, 64))).requires_grad_()
    for _ in range(2):
        (x * x).sum().backward()
        assert bytes_of(checked) == 2 * 2 * WEIGHT  # x is saved twice


# Arrays that were handed out and are gone


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda a: a,
    "slice": lambda a: a[1:],
    "row of a transpose": lambda a: a.T[0],
    "slice of a slice": lambda a: a[:2][1:],
    "reshaped": lambda a: a.reshape(-1),
    "memoryview": memoryview,
    "array of a memoryview": lambda a: np.asarray(memoryview(a)),
    "buffer": np.frombuffer,
    "flat": lambda a: a.flat,
    "dlpack": np.from_dlpack,
    "matrix": lambda a: a.view(np.matrix).T,
    "array of a matrix": lambda a: a.view(np.matrix).T.view(np.ndarray)[1:],
    "masked": lambda a: np.ma.asarray(a).data[1:],
    "strided": lambda a: np.lib.stride_tricks.as_strided(a, (2,), (8,)),
    "other elements": lambda a: a.view(np.int64)[0],
    "ctypes": lambda a: a.ctypes,
    "iterator": np.nditer,
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_whatever_can_still_write_is_known(holder, checked):
    x = leaf(2, 3)
    held = holder(x.numpy())
    (x * 2.0).sum().backward()
    bytes_of(checked)
    _ = (x * x).sum()
    assert bytes_of(checked) > 0
    del held
    _ = (x * x).sum()
    bytes_of(checked)
    _ = (x * x).sum()
    assert bytes_of(checked) == 0


def test_what_was_saved_before_between_and_after_is_told_apart():
    """Each of four products is saved at another moment, and the arrays are gone when the gradients are asked for."""
    x = leaf(3)
    before = (x * x).sum()
    array = x.numpy()
    between = (x * x).sum()
    array[0] = 7
    changed = (x * x).sum()
    del array
    after = (x * x).sum()
    for stale in (before, between):
        with pytest.raises(RuntimeError, match="changed in place"):
            stale.backward()
    for right in (changed, after):
        np.testing.assert_array_equal(grad(right, x)[0].numpy(), [14, 4, 6])


def test_an_array_is_handed_out_and_taken_back_many_times():
    x = leaf(3)
    for turn in range(5):
        saved = (x * x).sum()
        if turn % 2:
            x.numpy()[1] = -turn
            with pytest.raises(RuntimeError, match="changed in place"):
                saved.backward()
        else:
            _ = x.numpy().sum(), x.data[0]
            np.testing.assert_array_equal(grad(saved, x)[0].numpy(), 2 * x.numpy())


def test_a_write_is_noticed_although_what_wrote_is_gone_and_more_was_saved():
    x = leaf(3)
    saved = (x * x).sum()
    x.numpy()[0] = 7
    for _ in range(2):
        grad((x * x).sum(), x)
    with pytest.raises(RuntimeError, match="changed in place"):
        saved.backward()


def test_a_write_through_another_part_of_the_memory_is_noticed():
    x = leaf(4, 3)
    first, rest = x[:1], x[1:]
    saved = (rest * rest).sum()
    kept = first.numpy()
    rest.numpy()[0, 0] = 9
    del kept
    with pytest.raises(RuntimeError, match=r"shape \(3, 3\)"):
        saved.backward()


# Arrays of any kind


ARRAYS = {
    "no axes": np.array(3.0),
    "empty": np.zeros((0, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(12.0)[::-2],
    "stretched": np.broadcast_to(np.arange(3.0), (2, 3)),
    "bool": np.array([True, False]),
    "channels last": np.ones((4, 3, 1, 5), np.float32).transpose(0, 3, 1, 2),
    "axes of length 1": np.ones((1, 3, 1, 1), np.float32).transpose(0, 2, 1, 3),
}


@pytest.mark.parametrize("show", [integrity.expose, integrity.hand_out])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_seals_hold_for_any_array(array, show):
    handed = show(array)
    seal = integrity.snapshot(array)
    assert integrity.unchanged(array, seal)
    integrity.mark_changed(array)
    assert not integrity.unchanged(array, seal)
    assert integrity.unchanged(array, integrity.snapshot(array))
    del handed
    assert integrity.unchanged(array, integrity.snapshot(array))


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_is_handed_out_is_the_array_in_all_but_name(array):
    handed = integrity.hand_out(array)
    assert type(handed) is np.ndarray
    assert (handed.shape, handed.dtype, handed.strides) == (array.shape, array.dtype, array.strides)
    assert handed.ctypes.data == array.ctypes.data
    assert handed.flags.writeable == array.flags.writeable
    assert integrity.hand_out(array) is handed
    assert integrity.lent_by(handed) is array
    assert integrity.lent_by(array) is integrity.lent_by(handed[...]) is None
    assert integrity.owner_of(handed[...]) is integrity.owner_of(array)


def test_threads_are_handed_one_array():
    arrays = [np.ones(3) for _ in range(200)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            handed = list(pool.map(lambda _: [integrity.hand_out(array) for array in arrays], range(4)))
    finally:
        sys.setswitchinterval(interval)
    for same in zip(*handed, strict=True):
        assert len({id(array) for array in same}) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_every_changed_bit_is_noticed(dtype):
    array = np.zeros(100, dtype)
    integrity.expose(array)
    seal = integrity.snapshot(array)
    array[57] = 1
    assert not integrity.unchanged(array, seal)
    array[57] = 0
    assert integrity.unchanged(array, seal)


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
        assert integrity.snapshot(array) == integrity.UNTOUCHED
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
