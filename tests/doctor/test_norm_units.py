from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.doctor.norm_units import infinity_allowed, norms, norms_held, rows, unit_of, values_sharing
from tinygrad_norm.models.norm_catalog import shown
from tinygrad_norm.models.norm_catalog import values_sharing as sharing_by_experiment

pytestmark = pytest.mark.usefixtures("plain_numpy")

CASES = [
    (nn.BatchNorm1D(6, affine=False), (4, 6)),
    (nn.BatchNorm2D(6, affine=False), (2, 6, 3, 5)),
    (nn.InstanceNorm1D(6), (6, 5)),
    (nn.InstanceNorm2D(6), (2, 6, 3, 5)),
    (nn.GroupNorm(3, 6, affine=False), (2, 6, 3, 5)),
    (nn.LayerNorm((3, 5), elementwise_affine=False), (2, 6, 3, 5)),
    (nn.LayerNorm2D(6, affine=False), (2, 6, 3, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=lambda case: type(case).__name__)
def test_each_row_leaves_the_norm_with_mean_0_and_variance_1(layer, shape, rng):
    layer.eps = 0.0
    x = rng.normal(size=shape) * rng.uniform(0.5, 2, shape) + rng.normal(size=shape)
    y = rows(layer, layer(Tensor(x)).numpy())
    assert y.size == x.size
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("layer", [nn.RMSNorm(5, 0.0, False), nn.RMSNorm2D(3, 0.0, False)], ids=str)
def test_each_row_leaves_rms_norm_with_mean_square_1(layer, rng):
    y = rows(layer, layer(Tensor(rng.normal(size=(4, 3, 2, 5)))).numpy())
    assert y.size == 120
    np.testing.assert_allclose(np.square(y).mean(axis=1), 1, rtol=1e-12)


def test_norms_are_found_by_path():
    inner = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    model = nn.Sequential({"first": nn.BatchNorm1D(2), "block": inner})
    assert norms(model) == [("first", model.first), ("block.1", inner[1])]
    alone = nn.RMSNorm(3)
    assert norms(alone) == [("RMSNorm", alone)]
    literature = nn.Sequential(nn.Conv2D(2, 3, 1), nn.EvoNormB0(3), nn.IBN(3), nn.FiLM(3, 2), nn.LocalResponseNorm(2))
    assert [path for path, _ in norms(literature)] == ["1", "2.IN", "2.BN", "3"]


def made(name):
    layer, (x, *_), _ = shown(name)
    return layer, x.shape


def test_every_norm_but_these_has_a_unit():
    without = {name for name in norm_layers() if unit_of(made(name)[0]) is None}
    assert without == {
        "DynamicErf",
        "DynamicTanh",
        "FiLM",
        "GlobalResponseNorm",
        "IBN",
        "LocalResponseNorm",
        "ScaleNorm",
    }
    assert unit_of(nn.IterNorm1D(4)).name == "channel"
    for linear in (nn.EvoNormB0(4, nonlinear=False), nn.EvoNormS0(4, 2, nonlinear=False)):
        assert unit_of(linear) is None


@pytest.mark.parametrize("name", [name for name in norm_layers() if unit_of(made(name)[0]) is not None])
def test_rows_are_the_values_that_share_their_statistics(name):
    """The catalogue finds these by changing one value of an input."""
    layer, shape = made(name)
    places = np.arange(np.prod(shape)).reshape(shape)
    moved = places if isinstance(layer, nn.normalization.TrailingNorm) else np.moveaxis(places, 1, -1)
    sharing = {*moved.reshape(len(moved), -1, moved.shape[-1])[sharing_by_experiment(name)]}
    (row,) = [{*row} for row in rows(layer, places) if moved[(0,) * (moved.ndim - 1) + (-1,)] in row]
    if isinstance(layer, nn.GhostBatchNorm1D | nn.GhostBatchNorm2D):
        assert sharing < row
        assert len(sharing) == values_sharing(layer, places)[0]
    else:
        assert values_sharing(layer, places) == (len(row), len(row))
        if name in ("SwitchableNorm2D", "IterNorm1D", "IterNorm2D"):  # and the image's, and the group's
            assert row < sharing
        elif name == "PowerNorm" or name.startswith("Masked"):  # it goes by earlier batches; or some do not count
            assert sharing <= row
        else:
            assert row == sharing


def test_channels_that_come_last_and_parts_of_them(rng):
    x = rng.normal(size=(3, 2, 6))
    for layer in (nn.PowerNorm(6, channels_last=True), nn.PartialRMSNorm(6, 0.5, channels_last=True)):
        y = rows(layer, layer.astype("float64")(x).numpy())
        assert y.shape == ((6, 6) if isinstance(layer, nn.PowerNorm) else (6, 3))
        np.testing.assert_allclose(np.square(y).mean(axis=1), 1, rtol=1e-3)


@pytest.mark.parametrize(("images", "most", "least"), [(70, 64, 12), (64, 64, 64), (20, 40, 40), (65, 64, 2)])
def test_values_of_the_largest_and_the_smallest_ghost(images, most, least):
    assert values_sharing(nn.GhostBatchNorm1D(3, ghost_size=32), np.zeros((images, 3, 2))) == (most, least)


def test_norms_are_held_and_their_switches_afterwards_what_they_were():
    model = nn.Sequential(nn.BatchNorm1D(2), nn.LayerNorm(2), nn.PowerNorm(2), nn.IterNorm1D(2))

    def switches():
        return [(model[i].update_running_statistics, model[i].refuses_infinity) for i in (0, 2, 3)]

    assert switches() == [(None, True)] * 3
    with suppress(RuntimeError), norms_held(model) as held:
        assert held == {"0": model[0], "2": model[2], "3": model[3]}
        assert switches() == [(False, False)] * 3
        raise RuntimeError
    assert switches() == [(None, True)] * 3
    with infinity_allowed(model):
        assert switches() == [(None, False)] * 3
    assert switches() == [(None, True)] * 3
