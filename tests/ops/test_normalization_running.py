"""Running statistics: how they move, who reads them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ops.norms import NORMS, ONES, Statistics, X, example, leaf, statistics
from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.modes import hooks


@pytest.mark.parametrize("kind", ["array", "tensor", "float32 tensor"])
@pytest.mark.parametrize("name", ["batch", "instance"])
def test_running_statistics_after_several_steps(name, kind, rng):
    mean, var = np.linspace(-1, 1, 3), np.linspace(0.5, 2, 3)
    dtype = np.float32 if kind == "float32 tensor" else np.float64
    running = [np.array(value, dtype) if kind == "array" else Tensor(value, dtype=dtype) for value in (mean, var)]
    for momentum in (0.1, 0.7, 0.0, 0.25):
        x = rng.normal(size=(4, 3, 5)) * [[[1], [2], [3]]] + momentum
        if name == "batch":
            ops.batch_norm(x, *running, training=True, momentum=momentum)
            new_mean, new_var = x.mean(axis=(0, 2)), x.var(axis=(0, 2), ddof=1)
        else:
            ops.instance_norm(x, *running, momentum=momentum)
            new_mean, new_var = x.mean(axis=2).mean(axis=0), x.var(axis=2, ddof=1).mean(axis=0)
        mean, var = (1 - momentum) * mean + momentum * new_mean, (1 - momentum) * var + momentum * new_var
    for found, expected in zip(running, (mean, var), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_running_statistics_that_move_on_do_not_reach_the_gradient_of_an_earlier_inference(kind, rng):
    given = statistics(3)
    running = [np.array(value) if kind == "array" else Tensor(value) for value in given.values()]
    x, weight, bias = example("inference", rng, (5, 3))
    dy = rng.normal(size=x.shape)
    y = ops.batch_norm(x, *running, weight, bias)
    ops.batch_norm(rng.normal(size=(5, 3)), *running, training=True, momentum=1.0)
    y.backward(dy)
    expected = grad(ops.batch_norm(x, *given.values(), weight, bias), [x, weight, bias], dy)
    for tensor, truth in zip((x, weight, bias), expected, strict=True):
        np.testing.assert_array_equal(tensor.grad.raw, truth.raw)


@pytest.mark.parametrize("name", ["batch", "layer", "group", "instance"])
def test_a_hook_reads_the_statistics_that_the_kernel_computed(name, rng):
    x, seen = rng.normal(size=(3, 4, 5)), Statistics()
    with hooks(seen):
        y = NORMS[name](leaf(x))
    ((mean, var),) = seen.found
    shape = {"group": (3, 2, 2, 5)}.get(name, x.shape)
    axes = {"batch": (0, 2), "layer": 2, "group": (2, 3), "instance": 2}[name]
    np.testing.assert_allclose(mean, x.reshape(shape).mean(axis=axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(var, x.reshape(shape).var(axis=axes, keepdims=True), rtol=1e-12)
    assert all(any(array is kept for kept in y.creator.saved_arrays) for array in (mean, var))


def test_inference_leaves_the_running_statistics_alone():
    mean, var = np.ones(2), np.full(2, 4.0)
    ops.batch_norm(np.zeros((3, 2)), mean, var, momentum=1.0)
    assert (mean.tolist(), var.tolist()) == ([1.0, 1.0], [4.0, 4.0])


def test_a_failed_call_moves_no_running_statistics():
    for x, var in (
        (X[:1], np.full(4, 3.0)),
        (X, np.full(4, 3)),
        (X, np.full(5, 3.0)),
        (X.astype(int), np.full(4, 3.0)),
    ):
        mean = np.full(4, 2.0)
        with pytest.raises((ValueError, TypeError)):
            ops.batch_norm(x, mean, var, training=True)
        assert (mean == 2).all()
        assert (var == 3).all()


def test_running_statistics_move_both_or_not_at_all(rng):
    mean, var = np.zeros(3), np.ones(3)
    var.flags.writeable = False
    with pytest.raises(ValueError, match="cannot be written"):
        ops.batch_norm(rng.standard_normal((5, 3)), mean, var, training=True)
    assert mean.tolist() == [0, 0, 0]


@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_a_tenth_of_the_new_value_counts_if_nothing_is_said(norm, rng):
    x = rng.normal(size=(3, 4, 5))
    silent, told = ([np.zeros(4), np.ones(4)] for _ in range(2))
    own = {"training": True} if norm is ops.batch_norm else {}
    norm(x, *silent, **own)
    norm(x, *told, **own, momentum=0.1)
    np.testing.assert_array_equal(silent, told)
    assert (silent[0] != 0).all()


@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_running_statistics_are_arrays_or_tensors(norm):
    for running in ([1.0] * 4, 1.0):
        with pytest.raises(TypeError, match=f"{norm.__name__}: running_mean is an array or a tensor of floats, got"):
            norm(np.ones((2, 4, 3)), running, np.ones(4))


@pytest.mark.parametrize("momentum", [-0.1, 1.5, np.nan])
@pytest.mark.parametrize("norm", [ops.batch_norm, ops.instance_norm])
def test_momentum_is_a_share(norm, momentum):
    mean, var = np.zeros(4), np.ones(4)
    with pytest.raises(
        ValueError, match=rf"{norm.__name__}: momentum is the weight of the new value, .*, got {momentum}"
    ):
        norm(np.ones((2, 4, 3)), mean, var, momentum=momentum)


def test_one_running_statistic_moves_without_the_other(rng):
    x = rng.normal(3, 2, size=(6, 4))
    mean, var = np.zeros(4), np.ones(4)
    ops.batch_norm(x, mean, None, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.25 * x.mean(axis=0), rtol=1e-12)
    ops.batch_norm(x, None, var, training=True, momentum=0.25)
    np.testing.assert_allclose(var, 0.75 + 0.25 * x.var(axis=0, ddof=1), rtol=1e-12)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(("norm", "shape"), [(ops.batch_norm, (0, 3)), (ops.instance_norm, (0, 3, 4))])
def test_an_empty_batch_moves_no_running_statistics(norm, shape):
    mean, var = np.full(3, 2.0), np.full(3, 5.0)
    norm(np.ones(shape), mean, var, **({"training": True} if norm is ops.batch_norm else {}))
    assert mean.tolist() == [2] * 3
    assert var.tolist() == [5] * 3


def test_running_statistics_of_another_dtype_keep_their_digits(rng):
    x, mean, var = rng.normal(size=(5, 2)).astype(np.float32), np.array([1 / 3, 2 / 3]), np.array([1 / 7, 3 / 7])
    expected = ((x - mean) / np.sqrt(var + 1e-5)).astype(np.float32)
    np.testing.assert_allclose(ops.batch_norm(x, mean, var).raw, expected, rtol=2e-7)


def test_a_momentum_that_is_no_number_is_refused():
    with pytest.raises(
        TypeError, match="batch_norm: momentum is the weight of the new value, a number from 0 to 1, got"
    ):
        ops.batch_norm(X, ONES, ONES, training=True, momentum="0.1")


def test_infinite_statistics_move_in_silence():
    running = [np.array([np.inf, 0.0]), np.ones(2)]
    ops.batch_norm(np.array([[1.0, 2], [3, 4]]), *running, training=True, momentum=1.0)
    assert np.isnan(running[0][0])


def test_a_variance_beyond_float32_moves_to_infinity_in_silence():
    running = [np.zeros(1, np.float32), np.ones(1, np.float32)]
    ops.batch_norm(np.array([[-1e30], [1e30]], np.float32), *running, training=True)
    assert running[1].tolist() == [np.inf]
