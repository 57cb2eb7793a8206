"""Norms beside those of other libraries, over three steps: values, gradients, running statistics, from stored numbers.

Some of them compute in float32 whatever they are given, so these agree to that.
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn

pytestmark = pytest.mark.usefixtures("plain_numpy")

HERE = Path(__file__).parent
peers = run_path(str(HERE / "peer_cases.py"))
STORED = np.load(HERE / "golden" / "peers.npz")
CASES = {name: case for name, case in peers["CASES"].items() if hasattr(nn, case.ours)}


@pytest.mark.parametrize("name", CASES)
def test_a_norm_does_what_that_of_another_library_does(name):
    case, given = CASES[name], peers["inputs"](name)
    layer: Any = getattr(nn, case.ours)(*case.arguments, **case.options, dtype="float64")
    for key, parameter in layer.named_parameters():
        parameter.replace(given[key])
    others: list[Any] = [given["mask"]] if case.masked else []
    for step in range(peers["STEPS"]):
        x = Tensor(given[f"x{step}"], requires_grad=True)
        if case.condition:
            others = [Tensor(given[f"c{step}"], requires_grad=True)]
        layer.zero_grad()
        y = layer(x, *others)
        y.backward(given[f"g{step}"])
        found = {"dx": x.grad, **{f"d{key}": parameter.grad for key, parameter in layer.named_parameters()}}
        found |= {"dc": others[0].grad} if case.condition else {}
        for key, gradient in {"y": y, **found}.items():
            assert_close(gradient.raw, STORED[f"{name}/{key}{step}"], f"{key}, step {step}")
        kept = (1 - getattr(layer, "momentum", 0.0)) ** (step + 1)  # of the variance of 1 that both began with
        for key, factor in (("running_mean", 1.0), ("running_var", case.bessel)):
            if (expected := STORED.get(f"{name}/{key}{step}")) is not None:
                start = kept * (key == "running_var")
                assert_close(getattr(layer, key).raw, start + factor * (expected - start), f"{key}, step {step}")
    if (expected := STORED.get(f"{name}/inference")) is not None:
        for key in ("running_mean", "running_var"):
            if case.bessel != 1:
                getattr(layer, key).replace(STORED[f"{name}/{key}{step}"])
        first = [given["c0"]] if case.condition else others
        assert_close(layer.eval()(given["x0"], *first).raw, expected, "inference")


def assert_close(found: Any, expected: Any, what: str) -> None:
    """Agree to float32's rounding of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max(), err_msg=what)
