"""A certificate runs each of the kernels that a norm has: a slip in any one makes it fail."""

from __future__ import annotations

import pytest

from tinygrad_norm.certificate import certify
from tinygrad_norm.kernels.cpu import columns, rows


@pytest.mark.parametrize(
    ("name", "module", "kernel"),
    [
        ("BatchNorm2D", rows, "gradient"),
        ("BatchNorm2D", columns, "_gradient"),
        ("BatchNorm2D", columns, "_gradient_in_blocks"),
        ("GroupNorm", rows, "gradient"),
        ("LayerNorm", rows, "gradient"),
    ],
)
def test_a_slip_in_a_kernel_is_found(name, module, kernel, monkeypatch):
    right = getattr(module, kernel)

    def wrong(*given):
        right(*given)
        *_, dx, _, _ = given
        dx *= 1.01

    monkeypatch.setattr("tinygrad_norm.certificate.catalog.ACTIVATIONS", [])
    monkeypatch.setattr(module, kernel, wrong)
    assert not certify(name)
