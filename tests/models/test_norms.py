from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, nn, ops
from tinygrad_norm.models import Norms, create_model, list_models
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS, UNFIT, UNFIT_FOR_ROWS, WITH_MOMENTUM, WITHOUT_BIAS
from tinygrad_norm.nn.activation import activation_layer
from tinygrad_norm.testing import compare_with_composition, gradcheck

NAMES = [*OF_IMAGES, "none"]
PYTORCHS = ("batch", "layer", "group", "instance", "rms", "none")  # the others are tried in one net
OTHERS = {("mlp", "renorm"), ("mlp", "iternorm"), ("alexnet", "lrn"), ("convnext_tiny", "ibn"), ("vgg16", "iternorm")}
NARROW = {name: {} if name in ("mlp", "lenet5") else {"width": 0.125} for name in list_models()}
SIZES = {"resnet18": 9, "efficientnet_b0": 17, "convnext_tiny": 32}


class Scale(nn.Module):
    """A foreign norm: it knows nothing of activations."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(np.ones((channels, 1, 1)), dtype=np.float32)

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        (name, norm)
        for name in list_models()
        for norm in NAMES
        if norm in OF_ROWS or name != "mlp"
        if norm in PYTORCHS or name == "resnet18" or (name, norm) in OTHERS
    ],
)
def test_every_net_takes_a_step_with_every_norm(name, norm, rng):
    size = SIZES.get(name, 17)
    model = create_model(name, 4, norm=norm, image_size=size, **NARROW[name])
    x, target = rng.normal(size=(4, 3, size, size)).astype(np.float32), rng.integers(0, 4, 4)
    ops.cross_entropy(model(x), target).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and np.isfinite(gradient.raw).all() for gradient in gradients)
    norms = nn.normalization.Normalization | nn.LocalResponseNorm
    kinds = {type(layer) for layer in model.modules() if isinstance(layer, norms)}
    wanted = {type(Norms(norm, rows=name == "mlp")(8))} - {nn.Identity}
    wanted |= {nn.InstanceNorm2D, nn.BatchNorm2D} if norm == "ibn" else set()
    if name == "convnext_tiny" and norm in ("instance", "ibn"):
        wanted |= {nn.LayerNorm2D}  # after the average over all pixels
    assert kinds == wanted


@pytest.mark.parametrize("rows", [True, False])
def test_batch_renorm_begins_as_batch_norm_and_widens_within_a_short_run(rows, rng):
    shape = (8, 4) if rows else (8, 4, 3, 2)
    layer, plain = (Norms(name, rows=rows)(4) for name in ("renorm", "batch"))
    for batches in range(100):
        x = rng.normal(batches / 9, 2, shape).astype(np.float32)
        np.testing.assert_allclose(layer(x).raw, plain(x).raw, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean.raw, plain.running_mean.raw, rtol=1e-6)
    assert layer.limits() == {"r_max": 1, "d_max": 0}
    layer.num_batches_tracked.raw = np.array(800)
    assert layer.limits() == {"r_max": 3, "d_max": 5}
    assert Norms("renorm", 0.3, rows)(4).momentum == 0.3


@pytest.mark.parametrize(
    ("channels", "groups"), [(512, 32), (64, 32), (32, 16), (48, 24), (6, 3), (7, 1), (74, 2), (2, 1), (1, 1)]
)
def test_groups_are_up_to_32_of_two_channels_or_more(channels, groups):
    layer = Norms("group")(channels)
    assert (layer.num_groups, layer.num_channels) == (groups, channels)


def test_the_layers_have_weight_and_bias():
    for name in OF_IMAGES:
        keys = [key for key in Norms(name)(4).state_dict() if key.rpartition(".")[2] in ("weight", "bias")]
        others = {"lrn": [], "ibn": ["IN.weight", "IN.bias", "BN.weight", "BN.bias"]}
        assert keys == others.get(name, ["weight"] if name in WITHOUT_BIAS else ["weight", "bias"])


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh", ("leaky_relu", 0.1)])
@pytest.mark.parametrize("norm", [name for name in NAMES if name not in ("frn", "evonorm_b0", "evonorm_s0", "lrn")])
def test_the_activation_is_applied_once(norm, activation, rng):
    x = rng.normal(size=(3, 4, 2, 3)).astype(np.float32)
    expected = activation_layer(activation)(Norms(norm)(4)(x))
    np.testing.assert_allclose(Norms(norm)(4, activation)(x).raw, expected.raw, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["frn", "evonorm_b0", "evonorm_s0"])
def test_a_norm_with_an_activation_of_its_own_takes_the_place_of_any(norm, rng):
    x = rng.normal(size=(3, 4, 2, 3)).astype(np.float32)
    linear, silu, relu = (Norms(norm)(4, activation) for activation in (None, "silu", "relu"))
    np.testing.assert_array_equal(silu(x).raw, relu(x).raw)
    parts = [linear(Tensor(part)).raw for part in (x, -x)]
    np.testing.assert_allclose(parts[0], -parts[1], rtol=1e-6)  # nothing but a scale is left
    assert np.abs(relu(x).raw + relu(-x).raw).max() > 0.1


def test_lrn_stands_behind_the_activation(rng):
    x = rng.normal(size=(3, 7, 2, 3)).astype(np.float32)
    layer: Any = Norms("lrn")(7, "relu")
    assert [type(each) for each in layer] == [nn.ReLU, nn.LocalResponseNorm]
    np.testing.assert_array_equal(layer(x).raw, ops.local_response_norm(np.maximum(x, 0), 5).raw)


@pytest.mark.parametrize(("channels", "groups"), [(64, 4), (48, 3), (40, 4), (7, 1), (34, 17), (1, 1)])
def test_up_to_16_channels_are_whitened_together(channels, groups):
    for rows in (False, True):
        layer = Norms("iternorm", rows=rows)(channels)
        assert (layer.num_groups, layer.num_features) == (groups, channels)


def test_every_norm_of_images_alone_says_why_rows_do_not_take_it():
    assert UNFIT_FOR_ROWS.keys() == OF_IMAGES.keys() - OF_ROWS.keys()
    for norm, why in UNFIT_FOR_ROWS.items():
        with pytest.raises(ValueError, match=rf"^norm of rows is one of batch, .*, none, got '{norm}', which {why}$"):
            create_model("mlp", norm=norm)


@pytest.mark.parametrize("model", ["mlp", "resnet18"])
@pytest.mark.parametrize(
    ("norm", "words"),
    [
        ("grn", "does not normalize: .*put nn.GlobalResponseNorm behind an activation.* keep a norm such as 'layer'"),
        ("adain", "takes the features of a style beside x, which no net here hands on; use nn.AdaIN in"),
        ("film", "takes a label or a vector beside x, .* use nn.FiLM in"),
        ("conditional", "takes a label or a vector beside x, .* use nn.ConditionalBatchNorm2D in"),
        ("spade", "takes a map of classes beside x, .* use nn.SPADE in"),
        ("masked", "takes a mask beside x, .* use nn.MaskedBatchNorm2D in"),
    ],
)
def test_a_norm_that_is_no_net_s_by_its_name_says_what_to_do_instead(norm, words, model):
    assert norm in UNFIT
    with pytest.raises(ValueError, match=f"^norm: '{norm}' {words}"):
        create_model(model, norm=norm)
    assert not UNFIT.keys() & {*OF_IMAGES, *OF_ROWS}


def test_norms_with_momentum_are_those_that_keep_something():
    keeping = {norm for norm in OF_IMAGES if any("running" in name for name, _ in Norms(norm)(8).named_buffers())}
    assert keeping == WITH_MOMENTUM
    for norm in OF_IMAGES:
        momenta = {getattr(each, "momentum", None) for each in Norms(norm, 0.03)(8).modules()}
        assert (0.03 in momenta) == (norm in keeping)


def test_momentum_goes_to_the_norms_that_have_one():
    model = create_model("resnet18", norm_momentum=0.02, width=0.125)
    assert {layer.momentum for layer in model.modules() if isinstance(layer, nn.BatchNorm2D)} == {0.02}
    for norm in ("layer", "instance", "none"):
        create_model("resnet18", norm=norm, norm_momentum=0.02, width=0.125)


def test_a_convolution_has_a_bias_where_the_norm_has_none():
    for norm in NAMES:
        model = create_model("resnet18", norm=norm, width=0.125)
        biases = {layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2D)}
        assert biases == {norm in ("none", "rms", "scale", "prms", "lrn")}
    for norm in NAMES:
        model = create_model("convnext_tiny", norm=norm, width=0.125)
        assert all(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2D))


def test_a_function_may_make_the_norms(rng):
    """One of ours takes the activation into its kernel and keeps the keys; a foreign one has it behind it."""
    x = rng.normal(size=(2, 3, 16, 16)).astype(np.float32)
    named, ours, foreign = (
        create_model("resnet18", norm=norm, width=0.125) for norm in ("batch", lambda c: nn.BatchNorm2D(c), Scale)
    )
    assert [*ours.state_dict()] == [*named.state_dict()]
    ours.load_state_dict(named.state_dict())
    np.testing.assert_array_equal(ours(x).raw, named(x).raw)
    assert [type(layer) for layer in foreign.bn1] == [Scale, nn.ReLU]
    assert isinstance(foreign.layer1[0].bn2, Scale)
    assert (foreign.bn1(x[:, :1].repeat(8, axis=1)).raw >= 0).all()


def test_a_function_may_bring_an_activation_of_its_own(rng):
    norm: Any = Norms(lambda channels: nn.BatchNorm2D(channels, activation="silu"))(4, "relu")
    assert [type(layer) for layer in norm] == [nn.BatchNorm2D, nn.ReLU]
    assert norm[0].activation == "silu"


def test_what_makes_no_module_is_refused():
    with pytest.raises(TypeError, match="returns is a Module, got int"):
        Norms(int)(5)


def test_rms_norm_2d_is_rms_norm_of_the_channels(rng):
    x, weight = rng.normal(size=(3, 5, 2, 4)), rng.normal(size=5)
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 0.1) * weight.reshape(-1, 1, 1)
    found = ops.rms_norm_2d(x, weight, 0.1)
    np.testing.assert_allclose(found.raw, expected, rtol=1e-12)
    rows = ops.rms_norm(np.moveaxis(x, 1, -1), 5, weight, 0.1)
    np.testing.assert_allclose(found.raw, np.moveaxis(rows.raw, -1, 1), rtol=1e-12)


@pytest.mark.parametrize("activation", [None, "silu"])
def test_the_gradient_of_rms_norm_2d(activation, rng):
    inputs = [Tensor(rng.normal(size=shape), requires_grad=True) for shape in ((2, 5, 1, 3), (5,))]

    def function(x, weight):
        return ops.rms_norm_2d(x, weight, 0.1, activation)

    gradcheck(function, inputs)
    compare_with_composition(function, inputs)


def test_the_layer_rms_norm_2d(rng):
    layer = nn.RMSNorm2D(4, activation="relu")
    assert repr(layer) == "RMSNorm2D(4, eps=1e-06, affine=True, activation='relu')"
    assert [*layer.state_dict()] == ["weight"]
    x = rng.normal(size=(2, 4, 3, 1)).astype(np.float32)
    with composed():
        expected = layer(x).raw
    np.testing.assert_allclose(layer(x).raw, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"RMSNorm2D: the input has shape \(N, C, H, W\) with C = 4"):
        layer(x[:, :3])
    with pytest.raises(TypeError, match="bias"):
        nn.RMSNorm2D(4, bias=True)
