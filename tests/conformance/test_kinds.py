from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm.conformance.kinds import GROUPS, NORM_KINDS, kind_by_name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("LayerNorm", "layer"),
        ("LayerNormalization", "layer"),
        ("LayerNorm2D", "layer-2d"),
        ("layer_norm_2d", "layer-2d"),
        ("MyRMSNorm", "rms"),
        ("rms_norm_2d", "rms-2d"),
        ("batch_norm", "batch"),
        ("GroupNorm", "group"),
        ("InstanceNorm3d", "instance"),
        ("standardize", None),
    ],
)
def test_names_tell_the_kind(name, kind):
    assert kind_by_name(name) == (kind and NORM_KINDS[kind])


# The shape of x, [sets, values], and the axes of [2, 4, 3, 5] whose values share statistics
AXES = {"layer": (3,), "rms": (3,), "batch": (0, 2, 3), "instance": (2, 3), "layer-2d": (1,), "rms-2d": (1,)}


@pytest.mark.parametrize("name", NORM_KINDS)
def test_the_values_of_a_set_are_those_that_share_statistics(name, rng):
    x, kind = rng.normal(size=(2, 4, 3, 5)), NORM_KINDS[name]
    sets = kind.sets(x.shape)
    expected = x.reshape(2, GROUPS, -1).mean(axis=2) if name == "group" else x.mean(axis=AXES[name])
    np.testing.assert_allclose(x.ravel()[sets].mean(axis=1), expected.ravel())
    assert sorted(sets.ravel().tolist()) == list(range(x.size))


@pytest.mark.parametrize("name", NORM_KINDS)
def test_a_weight_is_found_where_it_broadcasts_to(name, rng):
    x, kind = rng.normal(size=(2, 4, 3, 5)), NORM_KINDS[name]
    weight = rng.normal(size=kind.affine(x.shape))
    assert weight.shape == ((5,) if name in ("layer", "rms") else (4, 1, 1))
    np.testing.assert_array_equal(x.ravel() * weight.ravel()[kind.parameter_at(x.shape)], (x * weight).ravel())


@pytest.mark.parametrize("name", NORM_KINDS)
def test_shapes_fit_their_checks(name):
    kind = NORM_KINDS[name]
    assert kind.mixes_samples == (name == "batch")
    lengths = {check: kind.sets(shape).shape for check, shape in kind.shapes.items() if check != "many"}
    assert all((values == 1) == (check == "one value") for check, (_, values) in lengths.items())
    many = kind.shapes["many"]
    assert math.prod(many) == 2**24 * kind.groups
