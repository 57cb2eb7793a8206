"""Normalization layers: beside PyTorch, their states, arguments, and what they refuse."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, field
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.nn.norm_layers import LAYERS, close, stirred
from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.modes import Hook, hooks

HERE = Path(__file__).parent


cases = run_path(str(HERE / "normalization_cases.py"))


OURS = SimpleNamespace(
    tensor=Tensor, layer=lambda name, arguments, options, dtype: getattr(nn, name)(*arguments, **options, dtype=dtype)
)


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]


# Beside PyTorch


@pytest.mark.parametrize("name", cases["CASES"])
@pytest.mark.parametrize("fused", [True, False])
def test_goes_where_pytorch_goes(name, fused):
    def build(name, arguments, options, dtype):
        return OURS.layer(name, arguments, {**options, "fused": fused}, dtype)

    with np.load(HERE / "golden" / "normalization.npz") as golden:
        found = cases["run"](SimpleNamespace(tensor=Tensor, layer=build), name, golden["numbers"])
        np.testing.assert_allclose(cases["flat"](found), golden[name], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", cases["CASES"])
def test_goes_there_in_float32(name):
    with np.load(HERE / "golden" / "normalization.npz") as golden:
        found = cases["run"](OURS, name, golden["numbers"].astype(np.float32))
        assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
        np.testing.assert_allclose(cases["flat"](found), golden[name], rtol=1e-4, atol=1e-5)


def test_the_state_has_pytorchs_keys_shapes_and_dtypes():
    state = {key: (array.shape, array.dtype.name) for key, array in nn.BatchNorm2D(3).state_dict().items()}
    assert state == {
        "weight": ((3,), "float32"),
        "bias": ((3,), "float32"),
        "running_mean": ((3,), "float32"),
        "running_var": ((3,), "float32"),
        "num_batches_tracked": ((), "int64"),
    }
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(nn.BatchNorm1D(3, track_running_stats=False).state_dict()) == ["weight", "bias"]
    assert list(nn.BatchNorm1D(3, affine=False).state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    assert list(nn.InstanceNorm1D(3).state_dict()) == []
    assert list(nn.RMSNorm(3).state_dict()) == list(nn.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert nn.LayerNorm((2, 3)).state_dict()["weight"].shape == (2, 3)


# What all layers share


def test_unfused_has_the_same_state_and_results(layer, rng):
    build, shape = layer
    fused = stirred(build(activation="silu", dtype="float64"), rng)
    unfused = build(activation="silu", dtype="float64", fused=False)
    unfused.load_state_dict(fused.state_dict())
    x, dy = rng.normal(size=(2, *shape))
    for mode in (True, False):
        inputs = [Tensor(x, requires_grad=True) for _ in range(2)]
        for norm, given in zip((fused, unfused), inputs, strict=True):
            norm.train(mode)(given).backward(dy)
        close(inputs[1].grad, inputs[0].grad, 1e-10)
        for ours, theirs in zip(fused.parameters(), unfused.parameters(), strict=True):
            close(theirs.grad, ours.grad, 1e-10)
        assert fused.state_dict().keys() == unfused.state_dict().keys()
        for key, array in fused.state_dict().items():
            close(unfused.state_dict()[key], array)


class Names(Hook):
    def __init__(self):
        self.found = []

    def after_forward(self, op, inputs, output):
        self.found.append(type(op).__name__)


def test_fused_is_one_op_and_unfused_none_of_them(layer, rng):
    build, shape = layer
    x = rng.normal(size=shape).astype(np.float32)
    for fused in (True, False):
        seen = Names()
        with hooks(seen):
            build(activation="relu", fused=fused)(x)
        assert (len(seen.found) == 1) == fused
        assert any(name.endswith("Norm") for name in seen.found) == fused


def test_the_activation_comes_last(layer, rng):
    build, shape = layer
    plain = stirred(build(), rng)
    x = rng.normal(size=shape).astype(np.float32)
    for activation, function in (("relu", ops.relu), (("leaky_relu", 0.3), lambda y: ops.leaky_relu(y, 0.3))):
        fused = build(activation=activation)
        fused.load_state_dict(plain.state_dict())
        close(fused(x), function(plain(x)), 1e-6)


def test_the_repr_shows_what_is_set(layer):
    build, _ = layer
    assert repr(build(activation="relu")).endswith(", activation='relu')")
    assert repr(build(activation=("elu", 0.5), fused=False)).endswith(", activation=('elu', 0.5), fused=False)")
    assert "activation" not in repr(build())
    assert repr(build()).startswith(type(build()).__name__ + "(")


def test_reprs():
    norm = nn.BatchNorm2D(3, momentum=None)
    assert repr(norm) == ("BatchNorm2D(3, eps=1e-05, momentum=None, affine=True, bias=True, track_running_stats=True)")
    norm.frozen = True
    assert ", track_running_stats=True, frozen=True)" in repr(norm)
    assert repr(nn.GroupNorm(2, 4, bias=False)) == "GroupNorm(2, 4, eps=1e-05, affine=True, bias=False)"
    assert repr(nn.LayerNorm(3)) == "LayerNorm((3,), eps=1e-05, elementwise_affine=True, bias=True)"
    assert repr(nn.LayerNorm2D(3, affine=False)) == "LayerNorm2D(3, eps=1e-06, affine=False, bias=False)"
    assert repr(nn.RMSNorm((2, 3))) == "RMSNorm((2, 3), eps=None, elementwise_affine=True)"


def test_gamma_and_beta_are_weight_and_bias(layer):
    build, _ = layer
    norm = build()
    assert norm.gamma is norm.weight
    assert norm.beta is norm.bias
    assert (norm.gamma.raw == 1).all()
    assert norm.beta is None or not norm.beta.raw.any()


def test_float64_by_dtype_or_by_astype(layer, rng):
    build, shape = layer
    x = rng.normal(size=shape)
    for norm in (build(dtype=np.float64), build().astype("float64")):
        y = norm(x)
        assert y.dtype == np.float64
        assert norm.eval()(x).dtype == np.float64
        assert {array.dtype.name for array in norm.state_dict().values()} <= {"float64", "int64"}
    with pytest.raises(TypeError, match=r"input float64, weight float32.*module.astype\('float64'\)"):
        build()(x)
    with pytest.raises(TypeError, match="int64"):
        build()(np.ones(shape, int))


def test_any_strides_give_the_same(layer, rng):
    build, shape = layer
    norm, x = build(dtype="float64"), rng.normal(size=shape)
    close(norm(np.ascontiguousarray(x.T).T), norm(x))


def test_reset_parameters(layer, rng):
    build, shape = layer
    norm = stirred(build(), rng)
    norm(rng.normal(size=shape).astype(np.float32))
    norm.reset_parameters()
    fresh = build().state_dict()
    for key, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, fresh[key])


def test_errors_name_the_layer_by_its_path():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Sequential({"fc": nn.Linear(3, 4), "norm": nn.BatchNorm1D(4)})])
            self.head = nn.LayerNorm(5)

        def forward(self, x):
            return self.head(self.layers[0](x))

    net = Net()
    with pytest.raises(
        ValueError, match=r"^BatchNorm1D in layers\.0\.norm: one value per channel.*\(1, 4\).*drop_last"
    ):
        net(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match=r"^LayerNorm in head: normalized_shape is what"):
        net(np.ones((2, 3), np.float32))
    net.layers[0].norm = nn.BatchNorm1D(5)
    with pytest.raises(ValueError, match=r"BatchNorm1D in layers\.0\.norm: the input has shape \(N, C\) or"):
        net(np.ones((2, 3), np.float32))
    net.layers[0].norm = nn.BatchNorm1D(4, dtype="float64")
    with pytest.raises(TypeError, match=r"^BatchNorm1D in layers\.0\.norm: one floating dtype .* input float32"):
        net(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("norm", "shape", "words"),
    [
        (nn.BatchNorm1D(3), (2, 4), r"BatchNorm1D: .* \(N, C\) or \(N, C, L\) with C = 3, got \(2, 4\)"),
        (nn.BatchNorm1D(3, affine=False, track_running_stats=False), (2, 4), "with C = 3"),
        (nn.BatchNorm1D(3), (2, 3, 4, 5), "got"),
        (nn.BatchNorm1D(3), (3,), "got"),
        (nn.BatchNorm2D(3), (2, 3), r"\(N, C, H, W\) with C = 3"),
        (nn.BatchNorm2D(3), (2, 4, 4, 3), "C = 3"),
        (nn.BatchNorm3D(3), (2, 3, 4, 5), r"\(N, C, D, H, W\)"),
        (nn.InstanceNorm1D(3), (4, 2), r"\(N, C, L\) or \(C, L\) with C = 3"),
        (nn.InstanceNorm2D(3), (2, 3), "C, H, W"),
        (nn.InstanceNorm2D(3), (2, 3, 4), r"got \(2, 3, 4\)"),
        (nn.LayerNorm2D(3), (2, 4, 2, 2), "C = 3"),
        (nn.GroupNorm(1, 3, affine=False), (2, 4), "C = 3"),
        (nn.GroupNorm(1, 3), (3,), r"\(N, C\) or \(N, C, L\)"),
        (nn.LayerNorm(3), (2, 4), "normalized_shape"),
        (nn.RMSNorm(3), (2, 4), "normalized_shape"),
        (nn.BatchNorm2D(3), (0, 4, 2, 2), "C = 3"),
        (nn.BatchNorm2D(3), (1, 3, 1, 1), "one value per channel"),
        (nn.InstanceNorm1D(3), (2, 3, 1), "one value per channel of an image"),
        (nn.GroupNorm(3, 3), (2, 3), "one value per group"),
    ],
)
def test_input_that_does_not_fit(norm, shape, words):
    state = norm.state_dict()
    with pytest.raises(ValueError, match=words):
        norm(np.ones(shape, np.float32))
    for key, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: nn.BatchNorm1D(0), ValueError, "BatchNorm1D: num_features is an integer of at least 1, got 0"),
        (lambda: nn.BatchNorm2D(2.5), TypeError, "BatchNorm2D: num_features is an integer of at least 1, got 2.5"),
        (lambda: nn.BatchNorm2D(True), TypeError, "integer of at least 1, got True"),
        (lambda: nn.BatchNorm2D(3, eps=-1e-5), ValueError, "BatchNorm2D: eps is a finite number of at least 0"),
        (lambda: nn.LayerNorm(3, eps=float("nan")), ValueError, "eps"),
        (lambda: nn.RMSNorm(3, eps=-1.0), ValueError, "eps"),
        (
            lambda: nn.BatchNorm1D(3, eps=None),
            TypeError,
            "^BatchNorm1D: eps is a finite number of at least 0, got None",
        ),
        (lambda: nn.LayerNorm(3, eps="a"), TypeError, "^LayerNorm: eps is a finite number of at least 0, got 'a'"),
        (lambda: nn.BatchNorm1D(3, momentum="a"), TypeError, "^BatchNorm1D: momentum .* or None, got 'a'"),
        (lambda: nn.BatchNorm1D(3, momentum=1.5), ValueError, "BatchNorm1D: momentum .* got 1.5"),
        (lambda: nn.InstanceNorm1D(3, momentum=-0.1), ValueError, "InstanceNorm1D: momentum"),
        (lambda: nn.BatchNorm1D(3, momentum=float("nan")), ValueError, "momentum"),
        (lambda: nn.BatchNorm1D(3, activation="rellu"), ValueError, "got 'rellu'; did you mean relu"),
        (lambda: nn.BatchNorm1D(3, activation=("relu", 1.0)), ValueError, "'relu' takes no parameter"),
        (lambda: nn.BatchNorm1D(3, dtype="float16"), TypeError, "float32 or float64"),
        (lambda: nn.BatchNorm1D(3, affine=False, dtype=int), TypeError, "float32 or float64"),
        (lambda: nn.BatchNorm1D(3, epsilon=1e-3), TypeError, "^BatchNorm1D has no option 'epsilon' .* mean eps"),
        (
            lambda: nn.BatchNorm1D(3, afine=False),
            TypeError,
            "^BatchNorm1D has no option 'afine' .* did you mean affine",
        ),
        (lambda: nn.LayerNorm(3, fusd=False), TypeError, "^LayerNorm has no option 'fusd' .* did you mean fused"),
        (lambda: nn.RMSNorm(3, bias=True), TypeError, "bias"),
        (lambda: nn.LayerNorm(()), ValueError, "at least one axis"),
        (lambda: nn.LayerNorm((3, 0)), ValueError, "at least 1, got 0"),
        (lambda: nn.LayerNorm(2.0), TypeError, "integer of at least 1, got 2.0"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_channels is a multiple of num_groups, got 3 and 2"),
        (lambda: nn.GroupNorm(0, 3), ValueError, "num_groups is an integer of at least 1"),
        (lambda: nn.LayerNorm2D(-1), ValueError, "num_channels is an integer of at least 1"),
    ],
)
def test_bad_arguments_are_refused(build, error, words):
    with pytest.raises(error, match=words):
        build()


def test_statistics_are_no_parameters(layer):
    build, _ = layer
    assert {name for name, _ in build().named_parameters()} <= {"weight", "bias"}
    norm = nn.BatchNorm1D(2)
    with pytest.raises(TypeError, match="buffer"):
        norm.running_mean = nn.Parameter(np.zeros(2))


def test_a_wrong_spelling_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=re.escape("BatchNorm2D")):
        nn.BatchNorm2d(3)  # type: ignore[attr-defined]


def test_rms_norm_2d_divides_by_the_root_mean_square_of_a_pixel(rng):
    layer = nn.RMSNorm2D(3, eps=0.1, activation="relu", dtype=np.float64)
    layer.weight.data[:] = [0.5, -1.0, 2.0]
    x = rng.normal(size=(2, 3, 4, 5))
    normal = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 0.1)
    expected = np.maximum(normal * layer.weight.numpy()[:, None, None], 0)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-12)
    plain = nn.RMSNorm2D(3, affine=False)
    assert (plain.weight, plain.bias, plain.affine, layer.affine, plain.num_channels) == (None, None, False, True, 3)
    assert list(layer.state_dict()) == ["weight"]
    assert repr(plain) == "RMSNorm2D(3, eps=1e-06, affine=False)"
    assert repr(nn.RMSNorm2D(np.int64(2))) == "RMSNorm2D(2, eps=1e-06, affine=True)"
    for wrong in (0, 2.0, True):
        with pytest.raises((TypeError, ValueError), match="RMSNorm2D: num_channels is an integer"):
            nn.RMSNorm2D(wrong)
    with pytest.raises(ValueError, match=r"RMSNorm2D: the input has shape \(N, C, H, W\) with C = 3"):
        layer(np.ones((2, 4, 5, 5)))


@pytest.mark.parametrize("options", [{"affine": "no"}, {"bias": "no"}, {"fused": "no"}, {"track_running_stats": "no"}])
def test_a_flag_is_true_or_false(options):
    with pytest.raises(TypeError, match=f"BatchNorm2D: {next(iter(options))} is True or False, got 'no'"):
        nn.BatchNorm2D(4, **options)


def test_a_bias_is_no_activation():
    for make in (lambda: nn.Linear(2, 2, "relu"), lambda: nn.Conv2D(1, 1, 1, bias="relu")):
        with pytest.raises(TypeError, match="bias is True or False, got 'relu'"):
            make()


def test_a_subclass_may_have_attributes_of_its_own():
    class Named(nn.BatchNorm2D):
        seen: list[int] = field(default_factory=list)
        _: KW_ONLY
        tag: str

    norm = Named(4, tag="a")
    assert (norm.num_features, norm.tag, norm.seen) == (4, "a", [])
    assert not hasattr(nn.BatchNorm2D, "bias")
    assert repr(norm).startswith("Named(4, eps=1e-05")


def test_a_batch_of_nothing_is_none_in_a_plain_average(rng):
    layer = nn.BatchNorm1D(3, momentum=None)
    x = rng.normal(5, 1, (64, 3)).astype(np.float32)
    layer(np.zeros((0, 3), np.float32))
    layer(x)
    np.testing.assert_allclose(layer.running_mean.raw, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(layer.running_var.raw, x.var(axis=0, ddof=1), rtol=1e-5)
