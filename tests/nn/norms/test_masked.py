"""Masked norms: beside the norms without a mask, of what counts alone, whatever else there is."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.nn.norm_layers import close, stirred
from tinygrad_norm import Tensor, capture, composed, grad, nn
from tinygrad_norm.nn.norms.masked import masked_norm, masked_op
from tinygrad_norm.testing import gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")

# The name, its arguments, the shape of x and that of a mask without some of its axes
CASES: dict[str, Any] = {
    "batch 1d": ("BatchNorm1D", (3,), {}, (4, 3, 5), (4, 5)),
    "batch rows": ("BatchNorm1D", (3,), {"momentum": None}, (6, 3), (6,)),
    "batch 2d": ("BatchNorm2D", (3,), {"momentum": 0.3}, (2, 3, 4, 2), (2, 4, 2)),
    "group": ("GroupNorm", (2, 4), {}, (3, 4, 5), (3, 5)),
    "group images": ("GroupNorm", (2, 4), {"eps": 0.01}, (2, 4, 3, 2), (2, 3, 2)),
    "instance 1d": ("InstanceNorm1D", (3,), {"affine": True, "track_running_stats": True}, (4, 3, 5), (4, 5)),
    "instance 2d": ("InstanceNorm2D", (3,), {"track_running_stats": True}, (2, 3, 4, 2), (2, 4, 2)),
    "layer": ("LayerNorm", (5,), {}, (3, 4, 5), (3, 4)),
    "layer of two axes": ("LayerNorm", ((4, 5),), {}, (3, 4, 5), (3,)),
}
NORMS = {key: case for key, case in CASES.items() if not key.startswith("layer")}


@pytest.fixture(params=[(name, way) for name in CASES for way in ("of each value", "of positions")], ids=" ".join)
def case(request, rng):
    """A masked norm, the same one without a mask, an input, what of it counts, and that as it is given."""
    name, arguments, options, shape, shorter = CASES[request.param[0]]
    plain = stirred(getattr(nn, name)(*arguments, **options, dtype="float64"), rng)
    masked = getattr(nn, f"Masked{name}")(*arguments, **options, dtype="float64")
    masked.load_state_dict(plain.state_dict())
    given = rng.random(shape if request.param[1] == "of each value" else shorter) < 0.6
    given.reshape(-1)[:2] = True
    if "Batch" in name:
        given[:2] = True
    mask = given
    if given.shape != shape:
        axes = tuple(range(given.ndim, len(shape))) if name == "LayerNorm" else 1
        mask = np.broadcast_to(np.expand_dims(given, axes), shape)
    return masked, plain, rng.normal(1, 2, shape), mask, given


def gradients(layer, x, *mask, dy):
    """y, and the gradients of x and the parameters."""
    leaf = Tensor(x, requires_grad=True)
    y = layer(leaf, *mask)
    return [y.raw, *(each.raw for each in grad(y, [leaf, *layer.parameters()], dy, allow_unused=True))]


def reference(layer, x, mask, axes, seen, view):
    """The definition in NumPy, where nothing but what counts is looked at."""
    counted = np.where(mask, x, 0.0).reshape(view)
    weights = mask.reshape(view)
    count = np.maximum(weights.sum(axis=axes, keepdims=True), 1)
    mean = counted.sum(axis=axes, keepdims=True) / count
    var = (weights * (counted - mean) ** 2).sum(axis=axes, keepdims=True) / count
    y = (counted - mean) / np.sqrt(var + layer.eps)
    if layer.weight is not None:
        y = y * layer.weight.raw.reshape(seen) + layer.bias.raw.reshape(seen)
    return np.where(mask, y.reshape(x.shape), 0.0)


def places(layer, x):
    """Axes, shape of weight and bias, and view."""
    name = type(layer).__name__
    if "Layer" in name:
        return tuple(range(x.ndim - len(layer.shape), x.ndim)), layer.shape, x.shape
    if "Group" in name:
        groups = (layer.num_groups, x.shape[1] // layer.num_groups)
        return tuple(range(2, x.ndim + 1)), (*groups, *(1,) * (x.ndim - 2)), (len(x), *groups, *x.shape[2:])
    positions = tuple(range(2, x.ndim))
    return (0, *positions) if "Batch" in name else positions, (-1, *(1 for _ in positions)), x.shape


def test_where_all_count_it_is_the_norm_without_a_mask(case, rng):
    masked, plain, x, _, given = case
    for training in (True, True, False):
        masked.train(training), plain.train(training)
        dy = rng.normal(size=x.shape)
        expected = gradients(plain, x, dy=dy)
        for found, one in zip(gradients(masked, x, np.ones(given.shape, bool), dy=dy), expected, strict=True):
            close(found, one, 1e-10)
    for key, array in plain.state_dict().items():
        close(masked.state_dict()[key], array)
    masked.load_state_dict(plain.state_dict())
    without_a_mask = plain(x)
    np.testing.assert_array_equal(masked(x).raw, without_a_mask.raw)


def test_y_is_that_of_the_values_that_count(case):
    masked, _, x, mask, given = case
    expected = reference(masked, x, mask, *places(masked, x))
    close(masked(x, given), expected)
    masked.fused = False
    close(masked(x, given), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_what_does_not_count_may_be_anything(case, training, fused, rng):
    masked, _, x, mask, given = case
    masked.train(training)
    masked.fused = fused
    dy, second = rng.normal(size=x.shape), rng.normal(size=x.shape)

    def derivatives(values):
        layer = copy.deepcopy(masked)
        leaf, cotangent = Tensor(values, requires_grad=True), Tensor(dy, requires_grad=True)
        y = layer(leaf, given)
        wanted = [leaf, *layer.parameters()]
        first = grad(y, wanted, cotangent, create_graph=True)
        twice = grad(first[0], [*wanted, cotangent], second, allow_unused=True)
        state = layer.state_dict().values()
        return [each for each in (y, *first, *twice) if each is not None], list(state)

    garbage = rng.choice([np.nan, np.inf, -np.inf, 1e300], x.shape)
    (found, state), (expected, plain_state) = derivatives(np.where(mask, x, garbage)), derivatives(np.where(mask, x, 0))
    for one, other in zip((*found, *state), (*expected, *plain_state), strict=True):
        np.testing.assert_array_equal(getattr(one, "raw", one), getattr(other, "raw", other))
    for each in found[:2]:  # y and the gradient of x
        assert not each.raw[~mask].any()
        assert np.isfinite(each.raw).all()


def test_gradients_agree_with_finite_differences(case):
    masked, _, x, _, given = case
    masked.update_running_statistics = False

    def function(x, *parameters):
        for name, each in zip(("weight", "bias"), parameters, strict=False):
            vars(masked)[name] = each
        return masked(x, given)

    gradcheck(
        function, [Tensor(each, requires_grad=True) for each in (x, *(p.raw for p in masked.parameters()))], order=2
    )


@pytest.mark.parametrize("name", CASES)
def test_a_mask_may_leave_out_the_axes_that_it_does_not_depend_on(name, rng):
    kind, arguments, options, shape, shorter = CASES[name]
    layer = getattr(nn, f"Masked{kind}")(*arguments, **options)
    x, mask = rng.normal(size=shape).astype(np.float32), rng.random(shorter) < 0.7
    mask.reshape(-1)[:2] = True
    axes = tuple(range(len(shorter), len(shape))) if kind == "LayerNorm" else 1
    whole = np.broadcast_to(np.expand_dims(mask, axes), shape)
    expected = layer(x, whole).raw
    for given in (mask, np.expand_dims(mask, axes), mask.tolist(), Tensor(mask), mask.astype(int), mask.astype("f4")):
        np.testing.assert_allclose(layer(x, given).raw, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["batch 1d", "instance 1d", "group", "layer"])
def test_ragged_sequences_side_by_side_are_the_padded_ones(name, rng):
    kind, arguments, options, shape, _ = CASES[name]
    lengths = [5, 2, 4, 3][: shape[0]]
    plain = stirred(getattr(nn, kind)(*arguments, **options, dtype="float64"), rng)
    masked = getattr(nn, f"Masked{kind}")(*arguments, **options, dtype="float64")
    masked.load_state_dict(plain.state_dict())
    if kind == "LayerNorm":  # tokens (N, T, features)
        sequences = [rng.normal(size=(length, shape[2])) for length in lengths]
        padded = np.full((len(lengths), max(lengths), shape[2]), np.nan)
        for row, each in zip(padded, sequences, strict=True):
            row[: len(each)] = each
    else:
        sequences = [rng.normal(size=(shape[1], length)) for length in lengths]
        padded = np.full((len(lengths), shape[1], max(lengths)), np.nan)
        for row, each in zip(padded, sequences, strict=True):
            row[:, : each.shape[1]] = each
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    y = masked(padded, mask).raw
    if kind == "BatchNorm1D":
        together = plain(np.concatenate(sequences, axis=1)[None]).raw[0]
        expected = np.split(together, np.cumsum(lengths)[:-1], axis=1)
        close(masked.running_mean, plain.running_mean)
        close(masked.running_var, plain.running_var)
    elif kind == "InstanceNorm1D":
        expected = [plain.train()(each).raw for each in sequences]
        close(masked.running_mean, 0.1 * np.mean([each.mean(axis=1) for each in sequences], axis=0))
        close(masked.running_var, 0.9 + 0.1 * np.mean([each.var(axis=1, ddof=1) for each in sequences], axis=0))
    else:
        expected = [plain(each[None]).raw[0] for each in sequences]
    for row, each in zip(y, expected, strict=True):
        close(row[: len(each), : each.shape[1]], each, 1e-11)


def test_a_channel_of_which_one_value_counts_has_no_variance(rng):
    layer, x, mask = nn.MaskedBatchNorm1D(3), rng.normal(size=(4, 3, 5)).astype(np.float32), np.ones((4, 3, 5), bool)
    for count in (1, 0):
        mask[:, 1] = False
        mask[0, 1, :count] = True
        before = layer.state_dict()
        with pytest.raises(ValueError, match=f"MaskedBatchNorm1D: .* at least 2 values count, .* {count} of channel 1"):
            layer.train()(x, mask)
        for key, array in layer.state_dict().items():
            np.testing.assert_array_equal(array, before[key])
        np.testing.assert_allclose(layer.eval()(x, mask).raw, np.where(mask, x / np.sqrt(1 + 1e-5), 0), rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-5, 0.0])
@pytest.mark.parametrize("name", ["group", "instance 1d", "layer"])
def test_where_nothing_counts_there_are_zeros_and_one_value_is_the_bias(name, eps, rng):
    kind, arguments, options, shape, shorter = CASES[name]
    layer = stirred(getattr(nn, f"Masked{kind}")(*arguments, **{**options, "eps": eps}, dtype="float64"), rng)
    x = Tensor(rng.normal(size=shape), requires_grad=True)
    for mask in (np.ones(shorter, bool), np.ones(shape, bool)):
        mask[0] = False
        y = layer(x, mask)
        dx, *others = grad(y, [x, *layer.parameters()], rng.normal(size=shape))
        for each in (y, dx):
            assert not each.raw[0].any()
            assert each.raw[1:].all()
        assert all(np.isfinite(each.raw).all() for each in others)
    if eps:
        mask[0, 0, 0] = True
        bias = layer.bias.raw[0]
        close(layer(x, mask).raw[0], np.where(mask[0], bias, 0.0))


def test_images_in_which_nothing_counts_move_no_running_statistics(rng):
    layer = nn.MaskedInstanceNorm1D(2, track_running_stats=True, dtype="float64")
    x, mask = rng.normal(size=(3, 2, 5)), np.ones((3, 2, 5), bool)
    mask[0], mask[:, 1] = False, False
    mask[1, 0, 1:] = False
    mask[0, 1, 0] = True
    layer(x, mask)
    close(layer.running_mean, [0.1 * (x[1, 0, 0] + x[2, 0].mean()) / 2, 0.1 * x[0, 1, 0]])
    close(layer.running_var, [0.9 + 0.1 * x[2, 0].var(ddof=1), 1.0])


def test_the_running_variance_is_unbiased_by_what_counts(rng):
    layer = nn.MaskedBatchNorm2D(2, dtype="float64")
    x, mask = rng.normal(size=(3, 2, 2, 2)), rng.random((3, 2, 2)) < 0.6
    mask[0] = True
    layer(x, mask)
    values = x.transpose(1, 0, 2, 3)[:, mask]
    close(layer.running_mean, 0.1 * values.mean(axis=1))
    close(layer.running_var, 0.9 + 0.1 * values.var(axis=1, ddof=1))
    y = layer.eval()(x, mask).raw
    expected = layer(x).raw
    np.testing.assert_array_equal(y, np.where(mask[:, None], expected, 0))


def test_an_activation_leaves_what_does_not_count_0(rng):
    x, mask = rng.normal(size=(4, 3, 5)), rng.random((4, 5)) < 0.6
    mask[0] = True
    for kind in (nn.MaskedBatchNorm1D, lambda *given, **more: nn.MaskedGroupNorm(1, *given, **more)):
        for fused in (True, False):
            layer, plain = kind(3, activation="sigmoid", dtype="float64", fused=fused), kind(3, dtype="float64")
            for mode in (True, False):
                y, before = layer.train(mode)(x, mask).raw, plain.train(mode)(x, mask).raw
                close(y, np.where(mask[:, None], 1 / (1 + np.exp(-before)), 0.0))


def test_one_image_has_a_mask_of_its_own(rng):
    x, mask = rng.normal(size=(3, 5, 2)), rng.random((5, 2)) < 0.6
    mask[0] = True
    for shape in (mask, np.broadcast_to(mask, x.shape), mask[None]):
        layers = [nn.MaskedInstanceNorm2D(3, track_running_stats=True, dtype="float64") for _ in range(2)]
        close(layers[0](x, shape), layers[1](x[None], mask[None]).raw[0])
        close(layers[0].running_var, layers[1].running_var)


def test_it_runs_in_kernels():
    for activation in (None, ("silu", 0.0)):
        assert (
            "def outer_forward" in masked_op(activation).source or "def inner_forward" in masked_op(activation).source
        )
    assert masked_op(None).definition is masked_norm


def test_the_state_is_that_of_the_norm_without_a_mask(rng):
    for name, (kind, arguments, options, shape, _) in CASES.items():
        layer = getattr(nn, f"Masked{kind}")(*arguments, **options)
        plain = getattr(nn, kind)(*arguments, **options)
        assert list(layer.state_dict()) == list(plain.state_dict()), name
        assert repr(layer) == f"Masked{plain!r}"
        x = rng.normal(size=shape).astype(np.float32)
        np.testing.assert_array_equal(copy.deepcopy(layer)(x, np.ones(shape)).raw, layer(x, np.ones(shape)).raw)


@pytest.mark.parametrize("run", [lambda layer: layer, capture], ids=["eager", "captured"])
@pytest.mark.parametrize(("options", "counted"), [({"momentum": None}, 4), ({"momentum": 0.3}, 6)])
def test_a_batch_that_is_wholly_masked_is_none_in_an_average(options, counted, run, rng):
    x, mask = rng.normal(size=(6, 2, 3, 5)), np.ones((6, 2, 5), bool)
    mask[[0, 3]] = False
    layer, alone = (nn.MaskedInstanceNorm1D(3, track_running_stats=True, dtype="float64", **options) for _ in range(2))
    call = run(layer)
    for values, each in zip(x, mask, strict=True):
        call(values, each)
    for values in x[[1, 2, 4, 5]]:
        alone(values)
    close(layer.running_mean, alone.running_mean)
    close(layer.running_var, alone.running_var)
    assert (layer.num_batches_tracked.item(), alone.num_batches_tracked.item()) == (counted, 4)


@pytest.mark.parametrize("name", CASES)
def test_an_empty_batch_is_a_batch(name):
    kind, arguments, options, shape, shorter = CASES[name]
    layer = getattr(nn, f"Masked{kind}")(*arguments, **options)
    before = layer.state_dict()
    x = Tensor(np.ones((0, *shape[1:]), np.float32), requires_grad=True)
    y = layer(x, np.ones((0, *shorter[1:]), bool))
    y.sum().backward()
    assert (y.shape, x.grad.shape) == (x.shape, x.shape)
    for key, array in layer.state_dict().items():
        if key.startswith("running"):
            np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize(
    ("mask", "error", "told"),
    [
        (np.ones((4, 3)), ValueError, r"MaskedBatchNorm1D: mask has shape \(4, 5\), or .* \(4, 3, 5\), got \(4, 3\)"),
        (np.ones((2, 4, 3, 5)), ValueError, r"got \(2, 4, 3, 5\)"),
        (np.full((4, 5), 0.5), ValueError, "mask is of True and False, or of 1 and 0, got 0.5"),
        (np.full((4, 5), np.nan), ValueError, "got nan"),
        (np.full((4, 5), "yes"), TypeError, "mask is of True and False, or of 1 and 0, got <U3"),
        (Tensor(np.ones((4, 5)), requires_grad=True), RuntimeError, "no gradient goes through mask"),
        ([[1, 1], [1]], ValueError, "^MaskedBatchNorm1D: mask has rows of one length, got lists of several lengths$"),
        (np.ma.array(np.ones((4, 5)), mask=True), TypeError, "masked array: its mask would be lost"),
    ],
)
def test_masks_that_are_none_are_refused(mask, error, told):
    x = np.ones((4, 3, 5), np.float32)
    with pytest.raises(error, match=told):
        nn.MaskedBatchNorm1D(3)(x, mask)


def test_inputs_are_refused_as_without_a_mask():
    with pytest.raises(ValueError, match=r"MaskedBatchNorm1D: the input has shape .* with C = 3, got \(4, 2\)"):
        nn.MaskedBatchNorm1D(3)(np.ones((4, 2), np.float32), np.ones((4, 2)))
    with pytest.raises(ValueError, match="normalized_shape is what the input's shape ends in"):
        nn.MaskedLayerNorm(3)(np.ones((4, 2), np.float32), np.ones((4, 2)))
    with pytest.raises(TypeError, match="one floating dtype"):
        nn.MaskedGroupNorm(1, 3)(np.ones((4, 3)), np.ones((4, 3)))
    with pytest.raises(TypeError, match="takes 2 positional arguments"):
        nn.BatchNorm1D(3)(np.ones((4, 3), np.float32), np.ones((4, 3)))


def test_composed_is_the_same(rng):
    layer, x, mask = nn.MaskedLayerNorm(5, dtype="float64"), rng.normal(size=(3, 5)), rng.random((3, 5)) < 0.5
    y = layer(x, mask)
    with composed():
        close(layer(x, mask), y.raw)
