"""The op of a derived norm: what is known of a call is never that of another one."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import norms
from tinygrad_norm import Tensor, composed, grad, kernels, nn
from tinygrad_norm.derived import derive


def ran(norm: Any, arrays: Any, needs: Any, options: dict[str, Any]) -> list[Any]:
    """y, statistics, and the gradients of the inputs that need one."""
    leaves = [Tensor(array, requires_grad=need) for array, need in zip(arrays, needs, strict=True)]
    found = norm(*leaves, **options)
    y, *statistics = found if isinstance(found, tuple) else (found,)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    dy = np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype)
    return [y, *statistics, *(grad(y, wanted, dy) if wanted else ())]


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm", "shifted_norm"])
def test_each_shape_dtype_option_and_choice_of_gradients_is_another_call(name, rng):
    """Each call in a row of them, of one norm, gives what a norm gives that was never called before."""
    count = 2 + (name == "shifted_norm")
    norm, calls = derive(norms[name]), []
    for shape, dtype, axes, eps in product([(4, 3), (3, 4), (2, 4, 3)], ["float32", "float64"], [0, -1], [0.1, 2]):
        for affine, need in product([shape[-1:], (1,), shape], [(True,), (False,)]):
            arrays = [rng.normal(size=size).astype(dtype) for size in (shape, *[affine] * count)]
            calls.append((arrays, (True, *need * count), {"axes": axes, "eps": eps}))
    for i in rng.permutation(len(calls))[:40]:
        found, expected = ran(norm, *calls[i]), ran(derive(norms[name]), *calls[i])
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one.raw, other.raw)


def test_so_is_each_view(rng):
    norm, x = derive(norms["linf_norm"]), rng.normal(size=(4, 6))
    for view in ((4, 2, 3), (4, 3, 2), (4, -1, 1), None):
        expected = derive(norms["linf_norm"])(x.reshape(view or x.shape), axes=-1).raw
        np.testing.assert_array_equal(norm(x, axes=-1, view=view).raw, expected.reshape(4, 6))


def test_kernels_may_be_changed_between_calls(rng):
    norm, x = derive(norms["linf_norm"]), rng.normal(size=(4, 6))
    installed = not kernels.missing()
    try:
        for name in ("reference", "cpu" if installed else "reference", "reference"):
            kernels.use(name)
            np.testing.assert_allclose(norm(x, axes=1).raw, x / (np.abs(x).max(axis=1, keepdims=True) + 1e-5))
    finally:
        kernels.use("cpu" if installed else "reference")


def test_an_argument_that_is_wrong_once_is_wrong_again(rng):
    norm, x = derive(norms["linf_norm"]), rng.normal(size=(4, 6))
    for axes, error in ((2, ValueError), ("a", TypeError), (1.0, TypeError)) * 2:
        with pytest.raises(error):
            norm(x, axes=axes)
        norm(x, axes=1)
    np.testing.assert_array_equal(norm(x, axes=[0, 1]).raw, norm(x, axes=(0, 1)).raw)


@pytest.mark.parametrize(
    ("dtypes", "words"),
    [
        (("float32", "float64"), "x float32, weight float64"),
        (("float64", "float32"), "x float64, weight float32"),
    ],
)
def test_floats_of_two_dtypes_are_refused(dtypes, words):
    x, weight = np.ones((3, 4), dtypes[0]), np.ones(4, dtypes[1])
    with pytest.raises(TypeError, match=f"l1_norm: one floating dtype is needed throughout, but given are {words};"):
        derive(norms["l1_norm"])(x, weight, axes=1)


@pytest.mark.parametrize("dtype", ["bool", "int64", "uint8"])
@pytest.mark.parametrize("axes", [0, 1])
def test_a_mask_may_be_of_integers_or_bools(axes, dtype, rng):
    x, mask = rng.normal(size=(5, 6)), rng.integers(0, 2, (5, 6))
    mask[0], mask[:, 0] = 1, 1
    norm = derive(norms["masked_norm"])
    found = ran(lambda x: norm(x, mask.astype(dtype), axes=axes), [x], [True], {})
    expected = ran(lambda x: norm(x, mask.astype(float), axes=axes), [x], [True], {})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.raw, other.raw)


def test_a_view_has_as_many_values_as_x():
    words = r"linf_norm: view is a shape for as many values as x has, \(4, 6\), got \(5, 5\)"
    with pytest.raises(ValueError, match=words):
        derive(norms["linf_norm"])(np.ones((4, 6)), axes=1, view=(5, 5))


def test_a_statistic_of_statistics_is_reduced_along_all_of_its_axes(rng):
    """Kernels give all statistics of a norm one shape."""
    x, ones, options = rng.normal(size=(3, 4, 5, 2)), np.ones((4, 1, 1)), {"batch": 0, "positions": (2, 3)}
    _, mean, var = derive(nn.EvoNormB0.definition)(x, ones, ones, ones, **options)
    np.testing.assert_allclose(mean.raw, x.mean(axis=(0, 2, 3), keepdims=True))
    np.testing.assert_allclose(var.raw, x.var(axis=(0, 2, 3), keepdims=True))


def test_a_parameter_along_an_axis_of_nothing_has_the_gradient_0():
    x, weight = (Tensor(np.zeros(shape), requires_grad=True) for shape in ((0, 4), (1, 4)))
    y = derive(norms["l1_norm"])(x, weight, axes=1)
    dx, dweight = grad(y, [x, weight], np.zeros((0, 4)))
    np.testing.assert_array_equal(dweight.raw, np.zeros((1, 4)))
    assert dx.shape == (0, 4)


def test_a_mask_is_kept_in_its_own_shape_and_counts_for_each_value(rng):
    norm, x = derive(norms["masked_norm"]), Tensor(rng.normal(size=(3, 4, 5)), requires_grad=True)
    mask = rng.integers(0, 2, (3, 1, 5)).astype(float)
    mask[..., 0] = 1
    whole = np.broadcast_to(mask, x.shape).copy()
    dy = rng.normal(size=x.shape)
    results = []
    for given in (mask, whole):
        for as_composed in (False, True):
            with composed(as_composed):
                y, mean, var = norm(x, given, axes=(1, 2))
            if not as_composed and given is mask:
                assert (3, 1, 5) in [array.shape for array in y.creator.saved_arrays]
            results.append([y, mean, var, *grad(y, x, dy)])
    for one, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(one.raw, other.raw, rtol=1e-12, atol=1e-13)
