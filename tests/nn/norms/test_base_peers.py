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
    masks = (given["mask"],) if case.masked else ()
    for step in range(peers["STEPS"]):
        x = Tensor(given[f"x{step}"], requires_grad=True)
        layer.zero_grad()
        y = layer(x, *masks)
        y.backward(given[f"g{step}"])
        found = {"y": y, "dx": x.grad, "running_var": getattr(layer, "running_var", None)}
        found |= {f"d{key}": parameter.grad for key, parameter in layer.named_parameters()}
        stored = {key: each for key in found if (each := STORED.get(f"{name}/{key}{step}")) is not None}
        assert len(stored) >= 4
        for key, expected in stored.items():
            assert_close(found[key].raw, expected, f"{key}, step {step}")
    if (expected := STORED.get(f"{name}/inference")) is not None:
        assert_close(layer.eval()(given["x0"]).raw, expected, "inference")


def assert_close(found: Any, expected: Any, what: str) -> None:
    """Agree to float32's rounding of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max(), err_msg=what)
