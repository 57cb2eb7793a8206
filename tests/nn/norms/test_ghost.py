"""Ghost batch norm, beside batch norm of each part."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.nn.norm_layers import close, stirred
from tinygrad_norm import Tensor, grad, nn
from tinygrad_norm.testing import compare_with_composition, gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")

CASES = {
    "rows": (nn.GhostBatchNorm1D, nn.BatchNorm1D, (11, 3)),
    "sequences": (nn.GhostBatchNorm1D, nn.BatchNorm1D, (9, 3, 2)),
    "images": (nn.GhostBatchNorm2D, nn.BatchNorm2D, (9, 3, 2, 3)),
    "whole ghosts": (nn.GhostBatchNorm2D, nn.BatchNorm2D, (8, 3, 2, 3)),
}


@pytest.fixture(params=CASES)
def case(request, rng):
    """Ghosts of four, batch norm with the same state, and an input."""
    kind, plain, shape = CASES[request.param]
    layer, reference = kind(3, ghost_size=4, momentum=0.3, dtype="float64"), plain(3, momentum=0.3, dtype="float64")
    reference.load_state_dict(stirred(layer, rng).state_dict())
    return layer, reference, rng.normal(1, 2, shape)


@pytest.mark.parametrize("fused", [True, False])
def test_it_is_batch_norm_of_one_ghost_after_the_other(case, fused, rng):
    layer, reference, x = case
    layer.fused = fused
    dy = rng.normal(size=x.shape)
    leaf, other = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y = layer(leaf)
    parts = [reference(other[i : i + 4]) for i in range(0, len(x), 4)]
    close(y, np.concatenate([part.raw for part in parts]))
    found = grad(y, [leaf, *layer.parameters()], dy)
    cotangents = [dy[i : i + 4] for i in range(0, len(x), 4)]
    for one, expected in zip(found, grad(parts, [other, *reference.parameters()], cotangents), strict=True):
        close(one, expected, 1e-11)
    close(layer.running_mean, reference.running_mean)
    close(layer.running_var, reference.running_var)
    assert layer.num_batches_tracked.item() == 1
    reference.load_state_dict(layer.state_dict())
    close(layer.eval()(x), reference.eval()(x).raw)


def test_gradients_agree_with_finite_differences_and_the_composition(case):
    layer, _, x = case
    layer.update_running_statistics = False
    gradcheck(layer, Tensor(x, requires_grad=True), order=2)
    compare_with_composition(layer, [Tensor(x, requires_grad=True)])


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("images", [2, 31, 32])
def test_with_one_ghost_it_is_batch_norm_to_the_bit(images, momentum, rng):
    layer, plain = nn.GhostBatchNorm2D(3, momentum=momentum), nn.BatchNorm2D(3, momentum=momentum)
    for x in rng.normal(1, 2, (2, images, 3, 4, 4)).astype(np.float32):
        leaves = [Tensor(x, requires_grad=True) for _ in range(2)]
        outputs = [each(leaf) for each, leaf in zip((layer, plain), leaves, strict=True)]
        np.testing.assert_array_equal(*(y.raw for y in outputs))
        gradients = [grad(y, leaf, x)[0].raw for y, leaf in zip(outputs, leaves, strict=True)]
        np.testing.assert_array_equal(*gradients)
    for key, array in plain.state_dict().items():
        np.testing.assert_allclose(layer.state_dict()[key], array, rtol=1e-6)


def test_without_momentum_each_image_of_a_batch_weighs_the_same(rng):
    layer = nn.GhostBatchNorm1D(2, ghost_size=4, momentum=None, dtype="float64")
    batches = rng.normal(size=(3, 7, 2, 5))
    for x in batches:
        layer(x)
    close(layer.running_mean, batches.mean(axis=(0, 1, 3)))
    values = [(4 * x[:4].var(axis=(0, 2), ddof=1) + 3 * x[4:].var(axis=(0, 2), ddof=1)) / 7 for x in batches]
    close(layer.running_var, np.mean(values, axis=0))


def test_a_momentum_of_0_and_frozen_statistics_stay(rng):
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    for layer in (nn.GhostBatchNorm1D(2, ghost_size=2, momentum=0.0), nn.GhostBatchNorm1D(2, ghost_size=2)):
        layer.frozen = layer.momentum != 0
        layer(x)
        assert layer.running_mean.tolist() == [0, 0]
    layer = nn.GhostBatchNorm1D(2, ghost_size=2, track_running_stats=False)
    np.testing.assert_array_equal(layer(x).raw, layer.eval()(x).raw)


def test_a_last_ghost_of_one_row_has_no_variance(rng):
    layer, x = nn.GhostBatchNorm1D(2, ghost_size=4), rng.normal(size=(9, 2)).astype(np.float32)
    with pytest.raises(ValueError, match=r"one value per channel .*, got shape \(1, 2\); use a larger batch"):
        layer(x)
    assert layer.running_mean.tolist() == [0, 0]
    layer(x[:, :, None].repeat(3, axis=2))


def test_arguments_empty_batches_and_copies(rng):
    with pytest.raises(ValueError, match="GhostBatchNorm2D: ghost_size is an integer of at least 1, got 0"):
        nn.GhostBatchNorm2D(2, ghost_size=0)
    layer = nn.GhostBatchNorm2D(2, ghost_size=3, activation="relu")
    assert "ghost_size=3" in repr(layer)
    assert list(layer.state_dict()) == list(nn.BatchNorm2D(2).state_dict())
    assert layer(np.ones((0, 2, 3, 3), np.float32)).shape == (0, 2, 3, 3)
    x = rng.normal(size=(7, 2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x).raw, layer(x).raw)
    assert layer(x).raw.min() == 0
