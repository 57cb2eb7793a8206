from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.nn.norm_layers import close, stirred
from tinygrad_norm import Tensor, grad, nn
from tinygrad_norm.testing import gradcheck


@pytest.mark.parametrize(("channels", "ratio", "half"), [(6, 0.5, 3), (5, 0.5, 2), (4, 0.3, 1)])
def test_the_first_channels_are_of_instance_norm_and_the_others_of_batch_norm(channels, ratio, half, rng):
    layer = stirred(nn.IBN(channels, ratio, momentum=0.3, dtype="float64"), rng)
    instance = nn.InstanceNorm2D(half, affine=True, dtype="float64")
    batch = nn.BatchNorm2D(channels - half, momentum=0.3, dtype="float64")
    for name, part in (("IN", instance), ("BN", batch)):
        part.load_state_dict({key[3:]: array for key, array in layer.state_dict().items() if key.startswith(name)})
    for training in (True, True, False):
        for each in (layer, batch):
            each.train(training)
        x = rng.normal(1, 2, (3, channels, 4, 2))
        close(layer(x), np.concatenate([instance(x[:, :half]).raw, batch(x[:, half:]).raw], axis=1))
    close(layer.BN.running_var, batch.running_var)


def test_gradients_agree_with_finite_differences(rng):
    layer = stirred(nn.IBN(4, dtype="float64"), rng)
    layer.BN.update_running_statistics = False
    gradcheck(layer, Tensor(rng.normal(size=(3, 4, 2, 2)), requires_grad=True), order=2)


def test_the_state_has_the_authors_names_and_both_parts_take_the_options(rng):
    layer = nn.IBN(4, activation="relu", fused=False)
    assert list(layer.state_dict()) == [
        *("IN.weight", "IN.bias", "BN.weight", "BN.bias"),
        *("BN.running_mean", "BN.running_var", "BN.num_batches_tracked"),
    ]
    assert repr(layer).splitlines()[1].strip() == (
        "4, ratio=0.5, eps=1e-05, momentum=0.1, activation='relu', fused=False"
    )
    x = rng.normal(size=(3, 4, 2, 2)).astype(np.float32)
    assert layer(x).raw.min() == 0
    assert [layer.IN.fused, layer.BN.fused] == [False, False]
    np.testing.assert_array_equal(copy.deepcopy(layer).eval()(x).raw, layer.eval()(x).raw)
    leaf = Tensor(np.ones((0, 4, 2, 2), np.float32), requires_grad=True)
    assert grad(layer(leaf), leaf, np.ones((0, 4, 2, 2), np.float32))[0].shape == (0, 4, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ((1,), ValueError, "IBN: num_features is an integer of at least 2, got 1"),
        ((4, 1), ValueError, "IBN: ratio is a number above 0 and below 1, got 1"),
        ((4, 0.2), ValueError, "IBN: ratio leaves instance norm a channel, got 0.2 of 4"),
        ((4, "half"), TypeError, "IBN: ratio is a number above 0 and below 1, got 'half'"),
    ],
)
def test_what_is_refused(arguments, error, told):
    with pytest.raises(error, match=told):
        nn.IBN(*arguments)


def test_inputs_that_do_not_fit_are_refused():
    for shape in ((2, 3, 2, 2), (2, 4, 2)):
        with pytest.raises(ValueError, match=r"IBN: the input has shape \(N, C, H, W\) with C = 4, got"):
            nn.IBN(4)(np.ones(shape, np.float32))
