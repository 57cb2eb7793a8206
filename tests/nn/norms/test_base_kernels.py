"""All layers of `nn.norms` by their kernels, where these are installed: in float32, as each dtype is compiled anew."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.nn.norms.layers import LAYERS, close, gradient_of, stirred
from tinygrad_norm import nn
from tinygrad_norm.derived_op import DerivedOp
from tinygrad_norm.modes import Hook, hooks
from tinygrad_norm.nn.norms.base import FromDefinition

OF_ROWS = ("MaskedBatchNorm1D", "MaskedBatchNorm2D")  # what counts is normalized as rows


@pytest.fixture(params=LAYERS)
def example(request):
    return LAYERS[request.param]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in LAYERS), *((name, "float64") for name in ("BatchRenorm2D", "SwitchableNorm2D"))],
)
def test_unfused_has_the_same_state_and_results(name, dtype, rng):
    example, tolerance = LAYERS[name], {"float64": 1e-10, "float32": 1e-5}[dtype]
    fused = stirred(example.build(dtype=dtype), rng)
    unfused = example.build(dtype=dtype, fused=False)
    unfused.load_state_dict(fused.state_dict())
    for mode in (True, False):
        inputs = example.inputs(rng, dtype)
        dy = rng.normal(size=example.shape).astype(dtype)
        found, expected = ([layer.train(mode)(*inputs), *gradient_of(layer, inputs, dy)] for layer in (fused, unfused))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == dtype
            close(one, other, tolerance)
        for key, array in fused.state_dict().items():
            close(array, unfused.state_dict()[key], tolerance)


class Derived(Hook):
    def __init__(self):
        self.found = []

    def after_forward(self, op, inputs, output):
        if isinstance(op, DerivedOp):
            self.found.append(op)


def test_a_call_is_one_derived_op_by_kernels_and_unfused_it_is_none(example, rng):
    inputs = example.inputs(rng, np.float32)
    for fused in (True, False):
        seen = Derived()
        with hooks(seen):
            layer = example.build(fused=fused)
            y = layer(*inputs)
        assert len(seen.found) == (fused and isinstance(layer, FromDefinition) and example.name not in OF_ROWS)
        assert y.shape == example.shape
        if seen.found:
            assert seen.found[0].norm.source


def test_any_strides_give_the_same(example, rng):
    x, *others = example.inputs(rng, np.float32)
    layer = stirred(example.build(), rng).eval()
    close(layer(np.ascontiguousarray(x.T).T, *others), layer(x, *others), 1e-5)


def test_float32_at_a_large_mean_is_as_good_as_without_a_mask(rng):
    x = (2000 + rng.normal(size=(8, 4, 64))).astype(np.float32)
    mask = np.arange(64) < rng.integers(20, 64, (8, 1))
    expected = nn.MaskedBatchNorm1D(4, dtype="float64")(x.astype(np.float64), mask).raw
    np.testing.assert_allclose(nn.MaskedBatchNorm1D(4)(x, mask).raw, expected, rtol=0, atol=2e-6)


def test_digits_are_kept_far_from_0(rng):
    layer = nn.SwitchableNorm2D(3)
    layer.mean_weight.replace(rng.normal(size=3).astype(np.float32))
    x = (2000 + rng.normal(size=(4, 3, 5, 5))).astype(np.float32)
    exact = copy.deepcopy(layer).astype("float64")
    close(layer(x).raw, exact(x.astype(np.float64)).raw, 2e-6)


def test_infinity_is_bounded_by_a_tanh():
    x = np.array([[np.inf, -np.inf, 0, 1e30]], np.float32)
    close(nn.DynamicTanh(4)(x), np.array([[1, -1, 0, 1]]))
