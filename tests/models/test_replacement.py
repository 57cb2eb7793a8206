from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn, optim
from tinygrad_norm.models import create_model, replace_norm
from tinygrad_norm.nn.normalization import Normalization


@pytest.fixture
def resnet(rng):
    """A narrow net whose norms all differ from new ones."""
    model = create_model("resnet18", 4, width=0.125)
    for layer in norms(model).values():
        layer.weight.raw = (1 + 0.1 * rng.normal(size=layer.weight.shape)).astype(np.float32)
        layer.bias.raw = (0.1 * rng.normal(size=layer.bias.shape)).astype(np.float32)
        layer.running_var.raw = rng.uniform(0.5, 2, layer.running_var.shape).astype(np.float32)
    return model


def norms(model):
    return {path: module for path, module in model.named_modules() if isinstance(module, Normalization)}


IMAGES = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)


def test_one_block(resnet):
    before = norms(resnet)
    paths = replace_norm(resnet, "layer3.0", "layer")
    assert paths == ["layer3.0.bn1", "layer3.0.bn2", "layer3.0.downsample.1"]
    after = norms(resnet)
    assert [*after] == [*before]
    for path, layer in after.items():
        assert isinstance(layer, nn.LayerNorm2D if path in paths else nn.BatchNorm2D)
        assert (layer is before[path]) == (path not in paths)
    assert (after["layer3.0.bn1"].activation, after["layer3.0.bn2"].activation) == ("relu", None)
    assert resnet(IMAGES).shape == (3, 4)


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance", "rms", "none", nn.LayerNorm2D])
def test_everywhere_it_is_the_net_made_so(resnet, norm):
    """The same weights in a net that was made with that norm give the same logits."""
    resnet.layer1[0].bn1.eval()
    assert replace_norm(resnet, "", norm) == [*norms(create_model("resnet18", width=0.125))]
    made = create_model("resnet18", 4, norm=norm, width=0.125)
    state = made.state_dict()
    assert [key for key in resnet.state_dict() if key not in state] == []
    made.load_state_dict({key: np.zeros_like(array) for key, array in state.items()} | resnet.state_dict())
    np.testing.assert_allclose(resnet.eval()(IMAGES).raw, made.eval()(IMAGES).raw, rtol=1e-5, atol=1e-6)


def test_what_can_be_kept_is_kept(resnet):
    optimizer = optim.SGD(resnet.parameters(), lr=0.1)
    old = resnet.bn1
    old.frozen, old.momentum, old.fused = True, 0.3, False
    old.weight.requires_grad_(False)
    resnet.layer1.eval()
    replace_norm(resnet, "", "batch")
    new = resnet.bn1
    assert new is not old
    assert new.weight is old.weight  # the optimizer goes on with it
    assert new.bias is old.bias
    assert (new.frozen, new.momentum, new.fused, new.activation) == (True, 0.3, False, "relu")
    np.testing.assert_array_equal(new.running_var.raw, old.running_var.raw)
    assert [resnet.bn1.training, resnet.layer1[1].bn2.training] == [True, False]
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert {id(parameter) for parameter in resnet.parameters()} == known


def test_a_momentum_of_ones_own(resnet):
    replace_norm(resnet, "bn1", "batch", momentum=0.7)
    assert resnet.bn1.momentum == 0.7


def test_what_a_function_chose_is_kept(resnet):
    old = resnet.bn1
    replace_norm(resnet, "bn1", lambda channels: nn.BatchNorm2D(channels, momentum=0.7))
    assert resnet.bn1.momentum == 0.7
    assert resnet.bn1.running_var is old.running_var


def test_a_model_without_parameters():
    model = nn.Sequential(nn.BatchNorm2D(3, affine=False), nn.InstanceNorm2D(3)).astype(np.float64)
    replace_norm(model, "", "layer")
    assert [layer.weight.dtype for layer in model] == [np.float64, np.float32]


def test_a_norm_cannot_replace_itself():
    with pytest.raises(ValueError, match="the model is itself a norm, BatchNorm2D"):
        replace_norm(nn.BatchNorm2D(4), "", "layer")


def test_after_the_average_instance_norm_is_layer_norm():
    model, made = [create_model("convnext_tiny", norm=norm, width=0.05) for norm in ("layer", "instance")]
    replace_norm(model, "", "instance")
    assert [type(layer) for layer in model.modules()] == [type(layer) for layer in made.modules()]


def test_ibn_is_one_norm_and_not_the_two_that_it_is_made_of(resnet):
    paths = [*norms(resnet)]
    assert replace_norm(resnet, "", "ibn") == paths
    assert [type(resnet.bn1), type(resnet.layer1[0].bn2)] == [nn.IBN, nn.IBN]
    assert (resnet.bn1.activation, resnet.layer1[0].bn2.activation) == ("relu", None)
    assert resnet(IMAGES).raw.shape == (3, 4)
    assert replace_norm(resnet, "layer1", "batch") == [path for path in paths if path.startswith("layer1")]
    assert type(resnet.layer1[0].bn1) is nn.BatchNorm2D
    assert resnet.layer1[0].bn1.activation == "relu"
    assert type(resnet.bn1) is nn.IBN


def test_after_the_average_ibn_is_layer_norm_too():
    model = create_model("convnext_tiny", norm="layer", width=0.05)
    replace_norm(model, "", "ibn")
    assert isinstance(model.features[0][1], nn.IBN)
    assert isinstance(model.classifier[0], nn.LayerNorm2D)


def test_lrn_is_put_in_a_norm_s_place_and_cannot_be_replaced(resnet):
    replace_norm(resnet, "bn1", "lrn")
    assert [type(layer) for layer in resnet.bn1] == [nn.ReLU, nn.LocalResponseNorm]
    with pytest.raises(
        ValueError, match=r"replace_norm: bn1\.1 is LocalResponseNorm\(.*, which does not know of how many"
    ):
        replace_norm(resnet, "", "batch")


def test_the_dtype_is_kept(resnet):
    resnet.astype(np.float64)
    replace_norm(resnet, "", "rms")
    assert {parameter.dtype for parameter in resnet.parameters()} == {np.dtype(np.float64)}
    replace_norm(resnet, "", "batch")  # whose biases are new
    assert resnet(IMAGES.astype(np.float64)).dtype == np.float64


def test_a_foreign_norm_has_the_activation_behind_it(resnet):
    class Shift(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.bias = nn.Parameter(np.zeros(channels), dtype=np.float32)

        def forward(self, x):
            return x + self.bias.reshape((-1, 1, 1))

    old = resnet.layer2[0].bn1
    replace_norm(resnet, "layer2.0", Shift)
    assert [type(layer) for layer in resnet.layer2[0].bn1] == [Shift, nn.ReLU]
    assert resnet.layer2[0].bn1[0].bias is old.bias
    assert isinstance(resnet.layer2[0].bn2, Shift)


@pytest.mark.parametrize("first", ["batch", "layer", "group", "rms"])
@pytest.mark.parametrize("second", ["batch", "layer", "group", "rms"])
def test_norms_of_rows_stay_norms_of_rows(first, second):
    model = create_model("mlp", norm=first, image_size=4, hidden=(6, 4))
    replace_norm(model, "", second)
    kinds = [type(layer) for layer in create_model("mlp", norm=second, image_size=4, hidden=(6, 4)).modules()]
    assert [type(layer) for layer in model.modules()] == kinds
    assert model(IMAGES[:, :, :4, :4]).shape == (3, 10)


def test_a_norm_in_two_places_is_replaced_by_one():
    norm = nn.BatchNorm2D(3)
    model = nn.Sequential(norm, nn.Sequential(norm), nn.BatchNorm2D(3))
    assert replace_norm(model, "", "layer") == ["0", "1.0", "2"]
    assert model[0] is model[1][0]
    assert model[0] is not model[2]


@pytest.mark.parametrize(
    ("path", "norm", "error", "words"),
    [
        ("layer3_0", "layer", ValueError, r"did you mean layer3\.0"),
        ("layer5", "layer", ValueError, "did you mean layer"),
        ("layer1.0.conv1", "layer", ValueError, r"holds no norm; did you mean layer1\.0\.bn1"),
        ("fc", "layer", ValueError, "holds no norm"),
        ("layer1", "lyer", ValueError, "did you mean layer"),
        ("layer1", None, TypeError, "or a function"),
        ("layer1", "grn", ValueError, "does not normalize"),
        ("layer1", lambda channels: None, TypeError, "returns is a Module"),
    ],
)
def test_what_is_refused_changes_nothing(resnet, path, norm, error, words):
    before = norms(resnet)
    with pytest.raises(error, match=words):
        replace_norm(resnet, path, norm)
    assert norms(resnet) == before


def test_norms_that_are_not_of_channels_are_refused_before_any_change():
    for odd in (nn.LayerNorm((3, 4)), nn.BatchNorm3D(3), nn.InstanceNorm1D(3)):
        model = nn.Sequential(nn.BatchNorm2D(3), nn.Sequential(odd))
        with pytest.raises(ValueError, match=r"1\.0 is .*neither of images"):
            replace_norm(model, "", "layer")
        assert isinstance(model[0], nn.BatchNorm2D)


def test_a_norm_that_was_given_sequences_is_refused():
    """A layer norm in its place would normalize the last axis, which may be as long."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3))
    norm = model[1]
    model(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    with pytest.raises(ValueError, match=r"replace_norm: 1 is BatchNorm1D\(.*, which was given \(N, C, L\)"):
        replace_norm(model, "", "layer")
    assert model[1] is norm


def test_a_function_that_fails_half_way_changes_nothing(resnet):
    before = norms(resnet)

    def norm(channels):
        if channels > 32:
            raise RuntimeError("no more")
        return nn.LayerNorm2D(channels)

    with pytest.raises(RuntimeError, match="no more"):
        replace_norm(resnet, "", norm)
    assert norms(resnet) == before


def test_a_norm_with_an_activation_of_its_own_leaves_its_place_to_one(resnet):
    replace_norm(resnet, "", "evonorm_s0")
    assert [resnet.layer1[0].bn1.nonlinear, resnet.layer1[0].bn2.nonlinear] == [True, False]
    replace_norm(resnet, "", "frn")
    replace_norm(resnet, "", "batch")
    assert [resnet.layer1[0].bn1.activation, resnet.layer1[0].bn2.activation] == ["relu", None]


def test_weights_that_begin_otherwise_are_not_carried_over():
    net = nn.Sequential(nn.Conv2D(3, 4, 1), nn.GlobalResponseNorm(4), nn.ReLU())
    replace_norm(net, "", "batch")
    np.testing.assert_array_equal(net[1].weight.raw, np.ones(4))  # those of the old one are 0
    replace_norm(net, "", nn.BatchRenorm2D)
    assert net[1].momentum == nn.BatchRenorm2D(4).momentum == 0.01  # and not that of the old one


def test_the_same_statistics_are_kept_with_their_switches_and_others_are_not():
    norm = nn.PowerNorm(3)
    norm.running_square.data[:] = 4
    norm.frozen = True
    model = nn.Sequential(nn.Conv2D(3, 3, 1), norm)
    replace_norm(model, "", "power")
    assert model[1] is not norm
    assert model[1].running_square is norm.running_square
    assert model[1].frozen
    replace_norm(model, "", "batch")
    assert model[1].running_var.tolist() == [1, 1, 1]
    assert not model[1].frozen
    white = nn.Sequential(nn.Conv2D(3, 3, 1), nn.IterNorm2D(3))
    white[1].num_batches_tracked.data[...] = 7
    white[1].frozen = True
    replace_norm(white, "", "power")
    assert (white[1].num_batches_tracked.item(), white[1].frozen) == (0, False)
    images = nn.Sequential(nn.InstanceNorm2D(3, track_running_stats=True))
    images[0].running_var.data[:] = 4
    replace_norm(images, "", "batch")
    assert images[0].running_var.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "norm", [nn.L1Norm(3), nn.BatchRenorm1D(3), nn.PowerNorm(3)], ids=lambda norm: type(norm).__name__
)
def test_whatever_keeps_statistics_tells_that_it_was_given_sequences(norm):
    model = nn.Sequential(nn.Linear(4, 3), norm)
    norm(np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32))
    with pytest.raises(ValueError, match=r"replace_norm: 1 is .*, which was given \(N, C, L\)"):
        replace_norm(model, "", "layer")
