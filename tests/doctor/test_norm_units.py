from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.doctor.norm_units import UNITS, norms, norms_held, rows

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


def test_norms_are_found_by_path_and_every_kind_has_a_unit():
    inner = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    model = nn.Sequential({"first": nn.BatchNorm1D(2), "block": inner})
    assert norms(model) == [("first", model.first), ("block.1", inner[1])]
    alone = nn.RMSNorm(3)
    assert norms(alone) == [("RMSNorm", alone)]
    kinds = {kind for kind in norm_layers().values() if kind.__module__ == nn.normalization.__name__}
    assert nn.RMSNorm2D in kinds
    assert all(issubclass(kind, tuple(UNITS)) for kind in kinds)


def test_norms_of_the_literature_are_left_to_themselves():
    model = nn.Sequential(nn.Conv2D(2, 3, 1), nn.EvoNormB0(3), nn.GhostBatchNorm2D(3), nn.BatchNorm2D(3))
    assert [path for path, _ in norms(model)] == ["3"]


def test_norms_are_held_and_their_switches_afterwards_what_they_were():
    model = nn.Sequential(nn.BatchNorm1D(2), nn.LayerNorm(2))
    before = model[0].update_running_statistics, model[0].refuses_infinity
    assert before != (False, False)
    with suppress(RuntimeError), norms_held(model) as held:
        assert held == {"0": model[0]}
        assert (model[0].update_running_statistics, model[0].refuses_infinity) == (False, False)
        raise RuntimeError
    assert (model[0].update_running_statistics, model[0].refuses_infinity) == before
