"""A certificate runs each kernel that a norm has, and each way to convolve: a mutant of any one makes it fail."""

from __future__ import annotations

import pytest

from tinygrad_norm.certificate import certify
from tinygrad_norm.kernels.cpu import convolution, depthwise, whole_images, winograd
from tinygrad_norm.kernels.cpu.generated import normalize


@pytest.mark.parametrize(
    ("name", "kernel", "blocks"),
    [
        ("BatchNorm2D", "inner_gradient", {1}),
        ("BatchNorm2D", "outer_gradient", {1}),
        ("BatchNorm2D", "outer_gradient", {2, 4, 8, 16, 32}),
        ("GroupNorm", "inner_gradient", {1}),
        ("LayerNorm", "inner_gradient", {1}),
    ],
)
def test_a_mutant_of_a_kernel_is_killed(name, kernel, blocks, monkeypatch):
    right = getattr(normalize, kernel)

    def wrong(*given):
        fine = right(*given)
        units, dx = given[-4], given[-2]
        if units[kernel == "outer_gradient"] in blocks:
            dx *= 1.01
        return fine

    monkeypatch.setattr("tinygrad_norm.certificate.catalog.ACTIVATION_LAYERS", [])
    monkeypatch.setattr(normalize, kernel, wrong)
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
