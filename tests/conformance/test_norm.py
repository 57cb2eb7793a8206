"""What somebody's norm is taken for, and how it is called."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.norm import InapplicableError, RefusedError, find_norm

own = run_path(str(Path(__file__).parent / "own.py"))


def find(name, kind=None, framework="Own"):
    return find_norm(own[framework](), name, NORM_KINDS[kind] if kind else None, 1e-5)


@pytest.mark.parametrize(
    ("name", "kind", "ones", "columns", "parameters"),
    [
        ("right", "layer", 0, False, {"weight": (300,), "bias": (300,)}),
        ("right_for_eps_of_1e_5", "layer", 0, False, {}),
        ("columns", "batch", 0, True, {"weight": (6, 1), "bias": (6, 1)}),
        ("images", "instance", 1, False, {"weight": (6,), "bias": (6,)}),
        ("Layer", "rms", 0, False, {"weight": (300,)}),
    ],
)
def test_the_kind_is_that_of_its_values_and_the_call_is_the_one_that_works(name, kind, ones, columns, parameters):
    norm = find(name)
    assert (norm.kind.name, norm.ones, norm.columns) == (kind, ones, columns)
    assert norm.bind(norm.shape("values")).parameters == parameters
    assert find(name, kind)[1:] == norm[1:]


def test_a_name_or_a_person_that_tells_the_kind_is_believed():
    assert find("one_pass", "layer").kind.name == "layer"
    assert find("scaled", "rms").kind.name == "rms"
    assert find("LayerNorm", framework="Layers").kind.name == "layer"
    assert find("tinygrad_norm.ops.group_norm", framework="Layers").kind.name == "group"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (
            "scaled",
            None,
            r"scaled is no norm that is known \(layer, rms, .*\); nearest is .*, off by 0\..* --kind",
        ),
        (
            "pair",
            None,
            r"pair cannot be called as any norm that is known \(TypeError: one tensor .* got tuple\)",
        ),
        ("pair", "batch", r"certify: pair cannot be called as batch norm in training \(TypeError"),
        ("Two", "rms", r"certify: Two has \(2,\) for its weight, and as RMS norm 300"),
        ("Own", "layer", r"certify: "),
    ],
)
def test_what_is_no_norm_is_told_in_one_line(name, kind, message):
    with pytest.raises(ValueError, match=message) as raised:
        find(name, kind)
    assert "\n" not in str(raised.value)


def test_gradients_are_those_of_a_chain(rng):
    norm = find("right_for_eps_of_1e_5")
    sample = norm.sample(rng.normal(size=(2, 3)), rng)
    c, d = rng.normal(size=(2, 2, 3))
    step = 1e-6
    first, (second,) = (norm.gradients(sample, directions) for directions in ([[c]], [[c], [d]]))
    moved = [norm.gradients(sample._replace(x=sample.x + sign * step * d), [[c]])[0] for sign in (1, -1)]
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), second, rtol=1e-6, atol=1e-8)
    values = [(norm.values(sample._replace(x=sample.x + sign * step * d)) * c).sum() for sign in (1, -1)]
    assert (values[0] - values[1]) / (2 * step) == pytest.approx((first[0] * d).sum(), rel=1e-6)


def test_what_is_raised_is_told():
    norm, rng = find("raising"), np.random.default_rng(0)
    with pytest.raises(RefusedError, match=r"^ArithmeticError: too few values of x$"):
        norm.values(norm.sample(rng.normal(size=(3, 5)), rng))
    plain = find("norm", "layer", "Plain")
    sample = plain.sample(rng.normal(size=(3, 5)), rng)
    with pytest.raises(InapplicableError, match=r"^NumPy has no gradients$"):
        plain.gradients(sample, [[sample.x]])
