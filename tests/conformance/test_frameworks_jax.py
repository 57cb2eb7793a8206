"""JAX's norms by the measure of `certify --from`."""

from __future__ import annotations

import os

import pytest

from tinygrad_norm.conformance import measure, measurement, trials
from tinygrad_norm.conformance.frameworks import JAX
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.conformance.norm import find_norm

OWN = """
import jax
import jax.numpy as jnp

def rms(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + eps) * weight

def unlike(x):
    return [x]
"""
DERIVATIVES = [f"{order} derivative, float64" for order in ("first", "second", "third")]


@pytest.fixture
def quick(monkeypatch):
    every = trials.trials()
    names = ("value, randn", "value, 2000 + randn", *DERIVATIVES)
    monkeypatch.setattr(measurement, "trials", lambda: {name: every[name] for name in names})


@pytest.mark.parametrize("kind", ["layer", "batch", "instance"])
def test_its_variance_of_one_pass_is_found_and_its_derivatives_are_right(kind, quick):
    found = measure("jax.nn.standardize", "jax", kind)
    assert [outcome.check for outcome in found.deviations] == ["value, 2000 + randn"]
    assert not [outcome.check for outcome in found.outcomes if outcome.verdict == trials.REFUSED]


def test_somebody_s_function_is_judged(quick, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    found = measure(f"{tmp_path}/own.py:rms", "jax")
    assert (found.kind, found.deviations) == ("rms", [])
    with pytest.raises(ValueError, match=r"unlike cannot be called as .* one array is returned, got list"):
        measure(f"{tmp_path}/own.py:unlike", "jax")


def test_threads_are_set_for_xla_and_put_back(monkeypatch):
    jax = JAX()
    norm = find_norm(jax, "jax.nn.standardize", NORM_KINDS["layer"], 1e-5)
    for before in (None, "3"):
        monkeypatch.delenv("PJRT_NPROC", raising=False)
        if before:
            monkeypatch.setenv("PJRT_NPROC", before)
        with jax.threads(1):
            assert os.environ["PJRT_NPROC"] == "1"
            assert trials.run_trial(trials.trials()["value, randn"], "", norm).verdict == trials.OK
        assert os.environ.get("PJRT_NPROC") == before
        assert trials.run_trial(trials.trials()["value, randn"], "", norm).verdict == trials.OK
