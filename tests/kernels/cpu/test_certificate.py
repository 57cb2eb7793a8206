"""A certificate runs each kernel that a norm has, and each way to convolve: a slip in any one makes it fail."""

from __future__ import annotations

import pytest

from tinygrad_norm.certificate import certify
from tinygrad_norm.kernels.cpu import columns, convolution, depthwise, rows, whole_images, winograd


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


def test_every_way_to_convolve_is_gone(monkeypatch):
    ways = [(winograd, "correlate"), (winograd, "filter_gradient"), (whole_images, "correlate")]
    ways += [(whole_images, "filter_gradient"), (depthwise, "correlate"), (depthwise, "weight_gradient")]
    ways += [(convolution, f"_by_{way}") for way in ("channels", "pixels", "few", "tiles", "blocks")]
    ways += [(convolution, "_correlate"), (convolution, "_filter_gradient")]
    seen = set()

    def watched(right, way):
        def run(*given, **how):
            seen.add(way)
            return right(*given, **how)

        return run

    for module, name in ways:
        monkeypatch.setattr(module, name, watched(getattr(module, name), (module, name)))
    monkeypatch.setattr(convolution, "_plan", convolution._plan.__wrapped__)  # which looks the ways up
    monkeypatch.setattr("tinygrad_norm.certificate.catalog.LAYERS", {"Conv2D": []})
    assert certify("Conv2D")
    assert seen == set(ways)
