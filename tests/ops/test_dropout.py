from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import Tensor, grad, ops, random
from tinygrad_norm.testing import gradcheck


def leaf(array):
    return Tensor(np.asarray(array, np.float64), requires_grad=True)


def seeded(op, *arguments, **options):
    """The op with the same draw each time."""

    def call(x):
        random.manual_seed(5)
        return op(x, *arguments, **options)

    return call


def test_every_op_has_tests(exported):
    assert exported("dropout") == {"dropout", "dropout2d", "stochastic_depth"}


def test_dropout_keeps_the_mean_and_the_graph(rng):
    x = leaf(rng.uniform(1, 2, size=(100, 300)))
    y = ops.dropout(x, p=0.3)
    kept = y.numpy() != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    np.testing.assert_allclose(y.numpy()[kept], x.numpy()[kept] / 0.7, rtol=1e-12)
    (dx,) = grad(y.sum(), [x])
    np.testing.assert_allclose(dx.numpy(), kept / 0.7, rtol=1e-12)


def test_dropout_draws_from_the_seed():
    x = np.ones(100, np.float32)
    random.manual_seed(3)
    first, second = ops.dropout(x).numpy(), ops.dropout(x).numpy()
    random.manual_seed(3)
    np.testing.assert_array_equal(ops.dropout(x).numpy(), first)
    assert (first != second).any()


def test_dropout_that_drops_nothing_or_everything():
    x = leaf([1.0, 2.0])
    assert ops.dropout(x, p=0.0) is x
    assert ops.dropout(x, p=0.5, training=False) is x
    assert ops.dropout([1.0, 2.0], p=0.5, training=False).tolist() == [1, 2]
    assert ops.dropout(x, p=1.0).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_dtype_of_dropout(dtype):
    y = ops.dropout(np.ones(50, dtype), p=0.3)
    assert y.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_allclose(np.unique(y.numpy()), [0, 1 / 0.7], rtol=1e-6)


SHAPES = {  # what is decided at once, in an input of shape (200, 50, 3, 4) (or without the 200)
    "dropout2d": (lambda x, p: ops.dropout2d(x, p), (200, 50, 1, 1)),
    "dropout2d of one image": (lambda x, p: ops.dropout2d(x[0], p), (50, 1, 1)),
    "rows": (lambda x, p: ops.stochastic_depth(x, p), (200, 1, 1, 1)),
    "rows of features": (lambda x, p: ops.stochastic_depth(x[:, :, 0, 0], p, "row"), (200, 1)),
    "the batch": (lambda x, p: ops.stochastic_depth(x, p, "batch"), (1, 1, 1, 1)),
}
shared = pytest.mark.parametrize(("drop", "shape"), SHAPES.values(), ids=SHAPES)


@shared
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_decided_together_is_dropped_or_scaled_together(drop, shape, dtype):
    y = drop(Tensor(np.ones((200, 50, 3, 4), dtype)), 0.2).numpy()
    assert y.dtype == dtype
    decided = y[tuple(slice(n) for n in shape)]
    np.testing.assert_array_equal(y, np.broadcast_to(decided, y.shape))
    np.testing.assert_allclose(decided[decided != 0], 1 / 0.8, rtol=1e-6)
    if decided.size > 1:
        assert np.mean(decided == 0) == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / decided.size))


@shared
def test_the_batch_is_dropped_as_often_as_p_says(drop, shape):
    x = Tensor(np.ones((200, 50, 1, 1), np.float32))
    first = (0,) * len(shape)
    dropped = [drop(x, 0.3).numpy()[first] == 0 for _ in range(400)]
    assert np.mean(dropped) == pytest.approx(0.3, abs=0.08)


@shared
def test_its_gradient(drop, shape):
    del shape
    rng = np.random.default_rng(0)
    gradcheck(seeded(drop, 0.4), [leaf(rng.normal(size=(5, 3, 2, 1)))])


@shared
def test_draws_from_the_seed_and_only_in_training(drop, shape):
    del shape
    x = leaf(np.ones((200, 50, 1, 1)))
    np.testing.assert_array_equal(seeded(drop, 0.5)(x).numpy(), seeded(drop, 0.5)(x).numpy())
    assert (drop(x, 1.0).numpy() == 0).all()
    state = random.state_dict()
    assert (drop(x, 0.0).numpy() == 1).all()
    assert ops.dropout2d(x, 0.5, training=False) is x
    assert ops.stochastic_depth(x, 0.5, training=False) is x
    assert random.state_dict() == state


def test_everything_dropped_gives_a_gradient_of_zero():
    x = leaf(np.ones((3, 2, 2, 2)))
    for y in (ops.dropout2d(x, 1.0), ops.stochastic_depth(x, 1.0, "row"), ops.stochastic_depth(x, 1.0, "batch")):
        assert not grad(y.sum(), [x])[0].numpy().any()


def test_channels_stay_last_in_memory():
    x = Tensor.wrap(np.ones((2, 4, 5, 3), np.float32).transpose(0, 3, 1, 2))
    for y in (ops.dropout(x, 0.5), ops.dropout2d(x, 0.5), ops.stochastic_depth(x, 0.5)):
        assert y.raw.strides == x.raw.strides


def test_the_draw_depends_on_the_shape_alone():
    last, first = [np.ones(shape, np.float32) for shape in ((2, 4, 5, 3), (2, 3, 4, 5))]
    drop = seeded(ops.dropout, 0.5)
    np.testing.assert_array_equal(drop(Tensor.wrap(last.transpose(0, 3, 1, 2))).numpy(), drop(first).numpy())


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("op", [ops.dropout, ops.dropout2d, ops.stochastic_depth])
@pytest.mark.parametrize("training", [True, False])
def test_refuses_what_is_no_probability(op, p, training):
    with pytest.raises(ValueError, match=f"^{op.__name__}: p is a number from 0 to 1, got {p}"):
        op(np.ones((1, 1, 1, 1)), p=p, training=training)


@pytest.mark.parametrize("p", ["0.5", None, True])
def test_refuses_what_is_no_number(p):
    for drop in (ops.dropout, ops.dropout2d, ops.stochastic_depth):
        with pytest.raises(TypeError, match=f"^{drop.__name__}: p is a number from 0 to 1, got {p!r}"):
            drop(np.ones((1, 1, 1, 1)), p=p)


def test_refuses_other_shapes_and_modes():
    with pytest.raises(ValueError, match=r"dropout2d: the input has shape .*, got \(2, 3\)"):
        ops.dropout2d(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"stochastic_depth: .*got a number"):
        ops.stochastic_depth(1.0, 0.5)
    with pytest.raises(ValueError, match="mode is 'row' or 'batch', got 'rows'"):
        ops.stochastic_depth(np.ones(3), 0.5, "rows")


@pytest.mark.parametrize("op", [ops.dropout, ops.dropout2d])
def test_half_is_dropped_in_training_if_nothing_is_said(op):
    x = np.ones((300, 20, 1, 1))
    np.testing.assert_array_equal(seeded(op)(x).numpy(), seeded(op, p=0.5, training=True)(x).numpy())
    assert set(np.unique(op(x).numpy())) == {0, 2}


def test_rows_are_dropped_in_training_if_nothing_is_said():
    x = np.ones((300, 4))
    told = seeded(ops.stochastic_depth, 0.5, mode="row", training=True)(x).numpy()
    np.testing.assert_array_equal(seeded(ops.stochastic_depth, 0.5)(x).numpy(), told)
    assert set(np.unique(told)) == {0, 2}


def test_what_is_kept_are_the_draws_in_float32_that_are_not_below_p():
    random.manual_seed(11)
    kept = ops.dropout(np.ones(1000), p=0.3).numpy() != 0
    np.testing.assert_array_equal(kept, np.random.default_rng(11).random(1000, dtype=np.float32) >= 0.3)


def test_a_draw_below_p_is_as_likely_as_p(monkeypatch):
    class Quarters:
        def random(self, shape, dtype):
            return np.linspace(0, 0.75, 4, dtype=dtype)

    monkeypatch.setattr(random, "generator", Quarters)
    assert ops.dropout(np.ones(4), p=0.5).tolist() == [0, 0, 2, 2]
    assert ops.dropout(np.ones(4), p=0.25).tolist() == pytest.approx([0, 4 / 3, 4 / 3, 4 / 3])
