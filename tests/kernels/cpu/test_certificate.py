"""A certificate runs each kernel that a norm has, and each way to convolve: a mutant of any one makes it fail."""

from __future__ import annotations

import pytest

from tinygrad_norm.certificate import certify
from tinygrad_norm.kernels.cpu import convolution, depthwise, inner_reduction, outer_reduction, whole_images, winograd
from tinygrad_norm.kernels.cpu.layout import Units


@pytest.mark.parametrize(
    ("name", "module", "blocks"),
    [
        ("BatchNorm2D", inner_reduction, {1}),
        ("BatchNorm2D", outer_reduction, {1}),
        ("BatchNorm2D", outer_reduction, {2, 4, 8, 16, 32}),
        ("GroupNorm", inner_reduction, {1}),
        ("LayerNorm", inner_reduction, {1}),
    ],
)
def test_a_mutant_of_a_kernel_is_killed(name, module, blocks, monkeypatch):
    right = module.gradient

    def wrong(*given):
        ordinary = right(*given)
        *_, units, _, dx, _ = given
        if Units(*units).blocks in blocks:
            dx *= 1.01
        return ordinary

    monkeypatch.setattr("tinygrad_norm.certificate.catalog.ACTIVATION_LAYERS", [])
    monkeypatch.setattr(module, "gradient", wrong)
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
