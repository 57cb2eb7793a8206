from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, basic_indices, integer_array_indices

from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.testing import gradcheck

SHAPE = (3, 1, 4)

# Ops that move elements: the op, NumPy's, and the shape of the input.
MOVES: dict[str, list[Any]] = {
    "reshape": [
        (lambda xp, x: xp.reshape(x, (4, 3)), SHAPE),
        (lambda xp, x: xp.reshape(x, (2, -1)), SHAPE),
        (lambda xp, x: xp.reshape(x, -1), SHAPE),
        (lambda xp, x: xp.reshape(x, ()), (1, 1)),
    ],
    "flatten": [(lambda xp, x: xp.flatten(x) if xp is ops else x.reshape(-1), SHAPE)],
    "permute_dims": [
        (lambda xp, x: xp.permute_dims(x, (2, 0, 1)), SHAPE),
        (lambda xp, x: xp.permute_dims(x, (-1, 0, 1)), SHAPE),
        (lambda xp, x: xp.permute_dims(x, ()), ()),
    ],
    "matrix_transpose": [(lambda xp, x: xp.matrix_transpose(x), SHAPE)],
    "moveaxis": [
        (lambda xp, x: xp.moveaxis(x, 0, -1), SHAPE),
        (lambda xp, x: xp.moveaxis(x, 2, 0), SHAPE),
    ],
    "squeeze": [
        (lambda xp, x: xp.squeeze(x), (1, 3, 1)),
        (lambda xp, x: xp.squeeze(x, axis=-1), (1, 3, 1)),
        (lambda xp, x: xp.squeeze(x, axis=(0, 2)), (1, 3, 1)),
    ],
    "expand_dims": [(lambda xp, x, axis=axis: xp.expand_dims(x, axis=axis), SHAPE) for axis in (0, 2, 3, -1, -4)],
    "broadcast_to": [
        (lambda xp, x: xp.broadcast_to(x, (2, 3, 5, 4)), SHAPE),
        (lambda xp, x: xp.broadcast_to(x, (2, 3)), ()),
    ],
    "flip": [
        (lambda xp, x: xp.flip(x), SHAPE),
        (lambda xp, x: xp.flip(x, axis=-1), SHAPE),
        (lambda xp, x: xp.flip(x, axis=(0, 2)), SHAPE),
        (lambda xp, x: xp.flip(x), ()),
    ],
    "roll": [
        (lambda xp, x: xp.roll(x, 5), SHAPE),
        (lambda xp, x: xp.roll(x, -1, axis=2), SHAPE),
        (lambda xp, x: xp.roll(x, (1, -2), axis=(0, -1)), SHAPE),
        (lambda xp, x: xp.roll(x, [1, 2], axis=[0, 0]), SHAPE),
        (lambda xp, x: xp.roll(x, 1, axis=(0, 2)), SHAPE),
    ],
    "take": [
        (lambda xp, x: xp.take(x, [0, 2, 2, -1], axis=0), SHAPE),
        (lambda xp, x: xp.take(x, np.array([[3, 0], [0, 0]]), axis=-1), SHAPE),
        (lambda xp, x: xp.take(x, [4, 4], axis=None), (5,)),
        (lambda xp, x: xp.take(x, 1, axis=2), SHAPE),
    ],
    "take_along_axis": [
        (lambda xp, x: xp.take_along_axis(x, np.array([[[3, 0]], [[1, 1]], [[-1, 2]]]), axis=2), SHAPE),
        (lambda xp, x: xp.take_along_axis(x, np.array([[[2]], [[2]], [[0]], [[1]]]), axis=0), SHAPE),
    ],
    "split": [
        (lambda xp, x, i=i: xp.split(x, 2, axis=2)[i], SHAPE) for i in range(2)
    ] + [
        (lambda xp, x, i=i: xp.split(x, [1, 1, 3], axis=-1)[i], SHAPE) for i in range(4)
    ],
}  # fmt: skip
JOINS = {"concat", "stack"}
OTHERS = {"pad", "gather", "getitem"}


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def check_moves(ours, theirs, shape, rng):
    """Value and gradient, where `theirs` says for each output which input it is: a product with a one-hot matrix."""
    x = leaf(rng.normal(size=shape))
    y = ours(x)
    source = np.asarray(theirs(np.arange(x.size).reshape(shape)))
    assert y.shape == source.shape
    one_hot = np.equal.outer(source.reshape(-1), np.arange(x.size)).astype(float)
    np.testing.assert_array_equal(y.numpy().reshape(-1), one_hot @ x.numpy().reshape(-1))
    cotangent = rng.normal(size=y.shape)
    (dx,) = grad(y, [x], cotangent)
    np.testing.assert_allclose(dx.numpy().reshape(-1), one_hot.T @ cotangent.reshape(-1), rtol=1e-13, atol=1e-14)
    return x


def test_every_op_stands_in_a_table(exported):
    assert {*MOVES, *JOINS, *OTHERS} == exported("shape")


def test_agrees_with_pytorch(golden):
    np.testing.assert_allclose(*golden, rtol=1e-12)


moves = pytest.mark.parametrize(
    ("move", "shape"),
    [pytest.param(*case, id=f"{name}{i}") for name, cases in MOVES.items() for i, case in enumerate(cases)],
)


@moves
def test_moves_elements_there_and_gradients_back(rng, move, shape):
    x = check_moves(lambda x: move(ops, x), lambda x: move(np, x), shape, rng)
    if move(ops, x).size:
        gradcheck(lambda x: ops.square(move(ops, x)), [x], order=2)


@moves
def test_keeps_dtype_and_input(rng, move, shape):
    for dtype in (np.float32, np.int64, np.bool_):
        x = rng.integers(0, 2, size=shape).astype(dtype)
        before = x.copy()
        assert move(ops, x).dtype == dtype
        np.testing.assert_array_equal(x, before)


@moves
def test_of_strided_views(rng, move, shape):
    view = rng.normal(size=[2 * n for n in shape])[(..., *[slice(None, None, -2) for _ in shape])]
    np.testing.assert_array_equal(move(ops, Tensor.wrap(view)).numpy(), np.asarray(move(np, view)))


def test_what_can_be_a_view_is_one(rng):
    x = Tensor(rng.normal(size=(2, 3, 4)))
    for y in (
        ops.reshape(x, (6, 4)),
        ops.permute_dims(x, (1, 0, 2)),
        ops.expand_dims(ops.permute_dims(x, (2, 0, 1)), 1),
        ops.broadcast_to(x, (5, 2, 3, 4)),
        ops.flip(x),
        x[:, 1:, None, ::-2],
        *ops.split(x, 2, axis=2),
    ):
        assert np.shares_memory(y.raw, x.raw)


# Indexing

KEYS = {
    "a number": 1,
    "a number from the end": -1,
    "numbers": (1, 0, -2),
    "a slice": slice(1, None),
    "steps": (slice(None, None, 2), slice(None), slice(3, None, -2)),
    "a negative step": slice(None, None, -1),
    "an empty slice": slice(2, 2),
    "new axes": (None, slice(None), None, 0),
    "an ellipsis": (..., 2),
    "an ellipsis between": (1, ..., None, slice(2)),
    "an ellipsis of nothing": (0, 0, ..., 0),
    "nothing": (),
    "a list": [0, 2, 2, 0, 2],
    "rows from the end": np.array([-1, -1, 0]),
    "a grid of numbers": np.array([[0, 2], [2, 1]]),
    "pairs": ([0, 2, 2], 0, [1, 3, 3]),
    "broadcast pairs": ([[0], [2]], [0], [[1, 3, 3]]),
    "arrays apart": ([0, 2, 2], slice(None), [1, 3, 3]),
    "a slice first": (slice(0, 3, 2), [0, 0], [3, 3]),
    "a mask": np.array([True, False, True]),
    "a list of booleans": [True, False, True],
    "a mask of all": np.arange(12).reshape(SHAPE) % 5 > 1,
    "a mask of nothing": np.zeros(SHAPE, bool),
    "a mask and a slice": (np.array([True, False, True]), slice(None), slice(1, 3)),
    "a mask and numbers": (np.array([True, False, True]), [0, 0], [1, 3]),
    "new axes and numbers": (None, [2, 2], ..., [1, 0]),
    "True": True,
    "False": False,
    "an empty list": [],
    "a NumPy number": np.int64(2),
    "small numbers": np.array([2, 2], np.uint8),
    "a nested tuple": ((0, 2, 2),),
}


@pytest.mark.parametrize("kind", KEYS)
def test_indexing(rng, kind):
    key = KEYS[kind]
    x = check_moves(lambda x: x[key], lambda x: x[key], SHAPE, rng)
    if x[key].size:
        gradcheck(lambda x: ops.square(ops.getitem(x, key)), [x], order=2)


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        (Tensor([0, 2, 2]), [0, 2, 2]),
        (Tensor(1), 1),
        (Tensor([True, False, True]), [True, False, True]),
        (Tensor(True), True),
        ((slice(None), 0, Tensor([3, 0])), (slice(None), 0, [3, 0])),
        (slice(Tensor(0), Tensor(2)), slice(0, 2)),
        (np.array(2), 2),
    ],
)
def test_tensors_as_keys(rng, key, plain):
    check_moves(lambda x: x[key], lambda x: x[plain], SHAPE, rng)


@given(data=st.data(), shape=array_shapes(max_dims=4, max_side=4), seed=st.integers(0, 999))
def test_any_basic_index(data, shape, seed):
    key = data.draw(basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    check_moves(lambda x: x[key], lambda x: x[key], shape, np.random.default_rng(seed))


@given(data=st.data(), shape=array_shapes(max_dims=4, max_side=4), seed=st.integers(0, 999))
def test_any_integer_array_index(data, shape, seed):
    key = data.draw(integer_array_indices(shape))
    check_moves(lambda x: x[key], lambda x: x[key], shape, np.random.default_rng(seed))


@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=4), seed=st.integers(0, 999))
def test_any_mask(data, shape, seed):
    key = data.draw(arrays(np.bool_, shape[: data.draw(st.integers(1, len(shape)))]))
    check_moves(lambda x: x[key], lambda x: x[key], shape, np.random.default_rng(seed))


def test_a_key_belongs_to_the_op(rng):
    x, rows = leaf(rng.normal(size=(3, 2))), np.array([0, 0, 1])
    y = x[rows]
    rows[:] = 2
    assert grad(y.sum(), [x])[0].tolist() == [[2, 2], [1, 1], [0, 0]]


@pytest.mark.parametrize("key", [[0.5], np.array([1.0]), Tensor([0.0]), np.array(1.0), Tensor(1.7), 1.5, "a"])
def test_what_is_no_index(key):
    with pytest.raises(TypeError, match="an index is made of integers or booleans, got"):
        Tensor([1.0, 2.0])[key]


def test_an_index_out_of_range():
    with pytest.raises(IndexError, match="out of bounds"):
        Tensor([1.0, 2.0])[2]


# Joining, padding, gathering


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(rng, axis):
    shapes = [[3, 2, 4], [3, 2, 4], [3, 2, 4]]
    for shape, length in zip(shapes, (1, 0, 5), strict=True):
        shape[axis] = length
    parts = [leaf(rng.normal(size=shape)) for shape in shapes]
    y = ops.concat(parts, axis=axis)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([part.numpy() for part in parts], axis))
    gradcheck(lambda a, c: ops.square(ops.concat([a, parts[1], c, a], axis=axis)), [parts[0], parts[2]], order=2)


def test_concat_flattens_if_it_is_told_to(rng):
    x, y = leaf(rng.normal(size=(2, 3))), leaf(rng.normal(size=()))
    assert ops.concat([x, y], axis=None).tolist() == [*x.numpy().reshape(-1), y.item()]


def test_concat_promotes_and_takes_arrays_and_lists():
    x = Tensor([1.0], requires_grad=True)
    y = ops.concat([x, np.array([2, 3]), [4.0], np.array([5.0])])
    assert (y.dtype, y.tolist()) == (np.float64, [1, 2, 3, 4, 5])
    assert grad(y.sum(), [x])[0].dtype == np.float32
    assert ops.concat([x, np.array([2, 3])]).dtype == np.float32
    assert ops.concat([x.detach(), x])[:1].item() == 1


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_stack(rng, axis):
    parts = [leaf(rng.normal(size=(3, 2))) for _ in range(3)]
    y = ops.stack(parts, axis=axis)
    np.testing.assert_array_equal(y.numpy(), np.stack([part.numpy() for part in parts], axis))
    gradcheck(lambda *parts: ops.square(ops.stack(parts, axis=axis)), parts, order=2)


def test_the_axis_that_is_meant_if_none_is_named(rng):
    x = rng.normal(size=(2, 4))
    np.testing.assert_array_equal(ops.concat([x, x]).numpy(), np.concatenate([x, x]))
    np.testing.assert_array_equal(ops.stack([x, x]).numpy(), np.stack([x, x]))
    np.testing.assert_array_equal(ops.split(x, 2)[1].numpy(), x[1:])
    np.testing.assert_array_equal(ops.expand_dims(x).numpy(), x[None])
    np.testing.assert_array_equal(ops.take_along_axis(x, [[3], [1]]).numpy(), [[x[0, 3]], [x[1, 1]]])
    np.testing.assert_array_equal(ops.flatten(x).numpy(), x.reshape(-1))


def test_split_is_undone_by_concat(rng):
    x = rng.normal(size=(4, 6))
    for cuts in (1, 3, [2, 3], [0, 5]):
        parts = ops.split(x, cuts, axis=1)
        assert [part.shape for part in parts] == [part.shape for part in np.split(x, cuts, axis=1)]
        np.testing.assert_array_equal(ops.concat(parts, axis=1).numpy(), x)
    assert [part.shape for part in ops.split(np.ones((0, 2)), 3)] == [(0, 2)] * 3


@pytest.mark.parametrize("width", [1, 0, (1, 2), [(0, 1), (2, 0)], np.array([2])])
def test_pad(rng, width):
    x = leaf(rng.normal(size=(2, 1)))
    y = ops.pad(x, width, constant_values=7.5)
    np.testing.assert_array_equal(y.numpy(), np.pad(x.numpy(), width, constant_values=7.5))
    gradcheck(lambda x: ops.square(ops.pad(x, width)), [x], order=2)


def test_gather_is_pytorchs(rng):
    x, few = leaf(rng.normal(size=(3, 4, 5))), rng.integers(0, 4, size=(2, 6, 3))
    y = ops.gather(x, 1, few)
    for place in np.ndindex(few.shape):
        assert y.numpy()[place] == x.numpy()[place[0], few[place], place[2]]
    gradcheck(lambda x: ops.square(ops.gather(x, -2, Tensor(few))), [x], order=2)


def test_flatten_some_axes(rng):
    x = Tensor(rng.normal(size=(2, 3, 4, 5)))
    for (start, end), shape in {(1, -1): (2, 60), (0, 1): (6, 4, 5), (1, 2): (2, 12, 5), (2, 2): x.shape}.items():
        y = ops.flatten(x, start, end)
        np.testing.assert_array_equal(y.numpy(), x.numpy().reshape(shape))
    assert ops.flatten(3.0).shape == (1,)


# What is wrong


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.reshape(x, (4, 2)), r"reshape: \(2, 3\) has 6 elements, which do not fit \(4, 2\)"),
        (lambda x: ops.reshape(x, (-1, -1)), r"reshape: .* do not fit \(-1, -1\)"),
        (lambda x: ops.reshape(x, (-1, 4)), r"reshape: .* do not fit \(-1, 4\)"),
        (lambda x: ops.reshape(x, (-2, -3)), r"reshape: .* do not fit \(-2, -3\)"),
        (lambda x: ops.permute_dims(x, (0, 0)), r"permute_dims: axes \(0, 0\) are no order of the 2 axes"),
        (lambda x: ops.permute_dims(x, (0,)), r"permute_dims: axes \(0,\) are no order"),
        (lambda x: ops.permute_dims(x, (0, 2)), "permute_dims: axis 2 is out of range for an input with 2 axes"),
        (lambda x: ops.matrix_transpose(x[0]), r"matrix_transpose: the input has at least two axes, got shape \(3,\)"),
        (lambda x: ops.moveaxis(x, 0, 2), "moveaxis: axis 2 is out of range"),
        (lambda x: ops.squeeze(x, 1), r"squeeze: axis 1 of shape \(2, 3\) has length 3, not 1"),
        (lambda x: ops.expand_dims(x, 3), "expand_dims: axis 3 is out of range"),
        (lambda x: ops.broadcast_to(x, (3, 3)), r"broadcast_to: shape \(2, 3\) does not stretch to \(3, 3\)"),
        (lambda x: ops.broadcast_to(x, (3,)), r"broadcast_to: shape \(2, 3\) does not stretch to \(3,\)"),
        (lambda x: ops.flatten(x, 1, 0), "flatten: end_axis 0 lies before start_axis 1"),
        (lambda x: ops.concat([]), "concat: there is nothing to join"),
        (lambda x: ops.concat([x, x[0]]), r"concat: along axis 0 .* \[\(2, 3\), \(3,\)\]"),
        (lambda x: ops.concat([x, x.T]), r"concat: along axis 0 .* \[\(2, 3\), \(3, 2\)\]"),
        (lambda x: ops.stack([x, x.T]), r"stack: the shapes are equal, .* \[\(2, 3\), \(3, 2\)\]"),
        (lambda x: ops.stack([]), "there is nothing to join"),
        (lambda x: ops.split(x, 2, axis=1), r"split: axis 1 of shape \(2, 3\) cannot be cut into 2 equal sections"),
        (lambda x: ops.split(x, 0), "split: axis 0 .* cannot be cut into 0 equal sections"),
        (lambda x: ops.pad(x, -1), "pad: pad_width holds integers of at least 0, got -1"),
        (lambda x: ops.pad(x, 0.5), "pad: pad_width holds integers"),
        (lambda x: ops.pad(x, [(1, 1)] * 3), "pad: pad_width is a number, a pair, or a pair for each of 2 axes, got"),
        (lambda x: ops.flip(x, 2), "flip: axis 2 is out of range"),
        (lambda x: ops.roll(x, 1, axis=2), "roll: axis 2 is out of range"),
        (lambda x: ops.roll(x, (1, 2), axis=0), r"roll: there is one shift, .* got shift \(1, 2\) and axis 0"),
        (lambda x: ops.roll(x, (1, 2)), r"roll: there is one shift, .* got shift \(1, 2\) and axis None"),
        (lambda x: ops.take(x, [0]), "take: axis is given for an input with 2 axes"),
        (lambda x: ops.take_along_axis(x, [0]), r"take_along_axis: indices have 2 axes, .* got shape \(1,\)"),
        (lambda x: ops.take_along_axis(x, np.zeros((4, 1), int), 1), r"take_along_axis: .*\(4, 1\).*\(2, 3\).* than 1"),
        (lambda x: ops.gather(x, 0, [0]), r"gather: indices have 2 axes, .* got shape \(1,\)"),
        (lambda x: ops.gather(x, 0, np.zeros((1, 4), int)), r"gather: .*\(1, 4\) exceed .*\(2, 3\) .* other than 0"),
    ],
)  # fmt: skip
def test_errors_name_the_op_and_the_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ops.reshape(x, (2.0, 3)),
        lambda x: ops.broadcast_to(x, (2.5, 3)),
        lambda x: ops.squeeze(x, 0.5),
        lambda x: ops.take_along_axis(x, np.zeros((2, 1))),
        lambda x: ops.gather(x, 0, np.zeros((2, 1), bool)),
    ],
)
def test_fractions_are_no_lengths_and_no_indices(call):
    with pytest.raises(TypeError, match="integer"):
        call(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize(
    ("shape", "picked", "axis"),
    [
        ((3, 4, 5), (3, 4, 2), None),
        ((3, 4, 5), (3, 7, 5), -2),
        ((3, 4, 5), (1, 7, 5), 1),
        ((3, 4, 5), (2, 1, 1), 0),
        ((1, 4, 5), (3, 2, 5), 1),
        ((3, 4), (3, 0), -1),
    ],
)
def test_take_along_axis_broadcasts_on_the_other_axes(rng, shape, picked, axis):
    axes = {} if axis is None else {"axis": axis}
    indices = rng.integers(0, shape[-1 if axis is None else axis], size=picked)
    check_moves(
        lambda x: ops.take_along_axis(x, indices, **axes),
        lambda x: np.take_along_axis(x, indices, -1 if axis is None else axis),
        shape,
        rng,
    )


@pytest.mark.parametrize(("picked", "axis"), [((2, 4, 5), 1), ((2, 4, 5), -1), ((3, 3, 5), 0), ((3, 0, 5), 2)])
def test_take_along_axis_refuses_indices_that_do_not_broadcast(picked, axis):
    with pytest.raises(ValueError, match=rf"do not broadcast with an input of shape .* other than {axis % 3}$"):
        ops.take_along_axis(np.ones((3, 4, 5)), np.zeros(picked, int), axis)


@pytest.mark.parametrize("width", [[[1, 2]], ((3, 0),), np.array([1, 2])])
def test_one_pair_of_widths_is_for_all_axes(rng, width):
    x = rng.normal(size=(2, 3))
    np.testing.assert_array_equal(ops.pad(x, width).numpy(), np.pad(x, width))
    with pytest.raises(ValueError, match=r"pad: pad_width is a number, a pair, or a pair for each of 2 axes, got"):
        ops.pad(x, [[1]])


def test_nothing_is_reshaped_to_nothing():
    x = Tensor(np.ones((0, 3)))
    for shape in ((0,), (3, 0), (2, 0, 5), (-1, 3)):
        assert x.reshape(shape).shape == np.ones((0, 3)).reshape(shape).shape
    for shape in ((0, -1), (), (1,)):
        with pytest.raises(ValueError, match=r"reshape: \(0, 3\) has 0 elements, which do not fit"):
            ops.reshape(x, shape)


@pytest.mark.parametrize("shape", [(-2, -2), (-4, -1), (-1, -4, -1), (-2, 2, -1)])
def test_only_one_length_is_found_out_and_it_is_written_as_minus_1(shape):
    with pytest.raises(ValueError, match=r"reshape: .* do not fit"):
        ops.reshape(np.ones(4), shape)


def test_one_matrix_is_transposed_as_many_are(rng):
    check_moves(ops.matrix_transpose, lambda x: np.swapaxes(x, -1, -2), (3, 2), rng)
