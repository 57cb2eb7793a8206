"""The norms of the package derive, and what is derived is what was derived by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, grad, nn
from tinygrad_norm.derived import derive


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2)])
@pytest.mark.parametrize("layer", ["BatchNorm1D", "RMSNorm"])
def test_the_closed_form_is_what_is_derived(layer, axes, rng):
    shape = (3, 4, 5)
    affine = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    x, dy = rng.normal(0.5, 2, size=shape), rng.normal(size=shape)
    parameters = [rng.normal(size=affine) for _ in range(2 if layer == "BatchNorm1D" else 1)]
    leaves = [Tensor(array, requires_grad=True) for array in (x, *parameters)]
    y, *statistics = derive(getattr(nn, layer).definition)(*leaves, axes=axes, eps=0.1)
    found = [each.raw for each in grad(y, leaves, dy)]
    if layer == "BatchNorm1D":
        saved = [each.raw for each in statistics]
        expected = definitions.normalize_gradient(dy, x, *parameters, *saved, axes, 0.1, None)
    else:
        expected = definitions.rms_normalize_gradient(dy, x, *parameters, statistics[0].raw, axes, 0.1, None)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_the_derivation_of_layer_norm_has_the_three_paths_of_the_paper():
    text = str(derive(nn.LayerNorm.definition).derivation)
    assert "x acts on y by 3 paths:\n  itself: g · γ · 1/√(σ² + ε)\n" in text
    assert "  through σ²: 2 · A[σ²] · (x − μ)\n  through μ: A[μ]\n" in text
