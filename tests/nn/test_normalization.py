from __future__ import annotations

import copy
import re
from dataclasses import KW_ONLY, field
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.modes import Hook, hooks

HERE = Path(__file__).parent
cases = run_path(str(HERE / "normalization_cases.py"))
OURS = SimpleNamespace(
    tensor=Tensor, layer=lambda name, arguments, options, dtype: getattr(nn, name)(*arguments, **options, dtype=dtype)
)

LAYERS = {
    "BatchNorm1D": (lambda **more: nn.BatchNorm1D(4, **more), (5, 4)),
    "BatchNorm2D": (lambda **more: nn.BatchNorm2D(4, **more), (3, 4, 2, 3)),
    "BatchNorm3D": (lambda **more: nn.BatchNorm3D(4, **more), (2, 4, 2, 1, 3)),
    "InstanceNorm1D": (lambda **more: nn.InstanceNorm1D(4, affine=True, **more), (3, 4, 5)),
    "InstanceNorm2D": (lambda **more: nn.InstanceNorm2D(4, affine=True, **more), (3, 4, 2, 3)),
    "LayerNorm": (lambda **more: nn.LayerNorm((2, 3), **more), (4, 2, 3)),
    "LayerNorm2D": (lambda **more: nn.LayerNorm2D(4, **more), (3, 4, 2, 3)),
    "GroupNorm": (lambda **more: nn.GroupNorm(2, 4, **more), (3, 4, 5)),
    "RMSNorm": (lambda **more: nn.RMSNorm(6, **more), (3, 6)),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]


def stirred(layer, rng):
    """The layer with parameters that differ from 1 and 0."""
    for parameter in layer.parameters():
        parameter.raw = rng.normal(size=parameter.shape).astype(parameter.dtype) + 1
    return layer


def close(found, expected, rtol=1e-12):
    found, expected = (getattr(given, "raw", given) for given in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


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
    with pytest.raises(ValueError, match=r"batch_norm in layers\.0\.norm: one value per channel.*\(1, 4\).*drop_last"):
        net(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match=r"layer_norm in head: normalized_shape is what"):
        net(np.ones((2, 3), np.float32))
    net.layers[0].norm = nn.BatchNorm1D(5)
    with pytest.raises(ValueError, match=r"BatchNorm1D in layers\.0\.norm: the input has shape \(N, C\) or"):
        net(np.ones((2, 3), np.float32))
    net.layers[0].norm = nn.BatchNorm1D(4, dtype="float64")
    with pytest.raises(TypeError, match=r"batch_norm in layers\.0\.norm: one floating dtype .* input float32"):
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


# Running statistics


def test_cumulative_momentum_is_the_plain_average(rng):
    for norm, reduce in (
        (nn.BatchNorm1D(3, momentum=None, dtype="float64"), lambda x: (x.mean((0, 2)), x.var((0, 2), ddof=1))),
        (
            nn.InstanceNorm1D(3, momentum=None, track_running_stats=True, dtype="float64"),
            lambda x: (x.mean((0, 2)), x.var(2, ddof=1).mean(0)),
        ),
    ):
        batches = rng.normal(size=(4, 5, 3, 2))
        for x in batches:
            norm(x)
        mean, var = (np.mean(values, axis=0) for values in zip(*map(reduce, batches), strict=True))
        close(norm.running_mean, mean)
        close(norm.running_var, var)
        assert norm.num_batches_tracked.item() == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("use", [True, False])
def test_the_two_switches_are_independent(use, update, training, rng):
    norm = stirred(nn.BatchNorm1D(3, momentum=0.5, dtype="float64"), rng).train(training)
    norm.running_mean.raw, norm.running_var.raw = np.full(3, 2.0), np.full(3, 4.0)
    norm.use_batch_statistics, norm.update_running_statistics = use, update
    x = rng.normal(size=(5, 3))
    mean, var = (x.mean(axis=0), x.var(axis=0)) if use else (2.0, 4.0)
    given = Tensor(x, requires_grad=True)
    y = norm(given)
    close(y, (x - mean) / np.sqrt(var + 1e-5) * norm.weight.raw + norm.bias.raw)
    assert type(y.creator).__name__ == ("BatchNorm" if use else "InferenceNorm")
    close(norm.running_mean, (2 + x.mean(axis=0)) / 2 if update else np.full(3, 2.0))
    close(norm.running_var, (4 + x.var(axis=0, ddof=1)) / 2 if update else np.full(3, 4.0))
    assert norm.num_batches_tracked.item() == update


@pytest.mark.parametrize("build", [nn.BatchNorm1D, nn.InstanceNorm1D])
def test_unless_set_the_switches_follow_train_and_eval(build, rng):
    norm, x = build(3, track_running_stats=True), rng.normal(size=(5, 3, 2)).astype(np.float32)
    norm(x)
    assert norm.num_batches_tracked.item() == 1
    assert type(norm.num_batches_tracked.raw) is np.ndarray  # which a 0-dimensional array plus 1 is not
    moved = norm.running_mean.numpy().copy()
    assert moved.any()
    y = norm.eval()(x)
    np.testing.assert_array_equal(norm.running_mean.numpy(), moved)
    scale = np.sqrt(norm.running_var.numpy() + 1e-5)[:, None]
    close(y, (x - moved[:, None]) / scale, 1e-5)


def test_frozen_survives_train(rng):
    norm, x = nn.BatchNorm1D(3), rng.normal(size=(5, 3)).astype(np.float32)
    expected = norm.eval()(x).numpy().copy()
    norm.frozen = True
    for switches in (None, True):
        norm.use_batch_statistics = norm.update_running_statistics = switches
        np.testing.assert_array_equal(norm.train()(x).numpy(), expected)
    assert norm.num_batches_tracked.item() == 0
    assert copy.deepcopy(norm).frozen
    norm(np.ones((1, 3), np.float32))  # one value per channel is enough where none is looked at
    norm.frozen = False
    norm(x)
    assert norm.num_batches_tracked.item() == 1


def test_without_running_statistics_the_batch_always_serves(rng):
    norm, x = nn.BatchNorm1D(3, track_running_stats=False), rng.normal(size=(5, 3)).astype(np.float32)
    y = norm(x).numpy()
    for norm.use_batch_statistics in (None, False):
        np.testing.assert_array_equal(norm.eval()(x).numpy(), y)
    norm.frozen = True
    np.testing.assert_array_equal(norm(x).numpy(), y)
    assert norm.running_mean is norm.running_var is norm.num_batches_tracked is None
    norm.reset_running_stats()
    assert norm.running_mean is None


def test_reset_running_stats(rng):
    norm = nn.BatchNorm1D(3)
    norm(rng.normal(size=(5, 3)).astype(np.float32))
    norm.reset_running_stats()
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.dtype == np.float32


def test_a_graph_of_inference_outlives_the_statistics_it_used(rng):
    norm = stirred(nn.BatchNorm1D(3, dtype="float64"), rng).eval()
    x, dy = Tensor(rng.normal(size=(5, 3)), requires_grad=True), rng.normal(size=(5, 3))
    y = norm(x)
    norm.train()(rng.normal(size=(5, 3)) * 10)
    y.backward(dy)
    close(x.grad, dy * norm.weight.raw / np.sqrt(1 + 1e-5))


def test_one_image_of_an_unbatched_instance_norm_is_a_batch_of_one(rng):
    for build, shape in ((nn.InstanceNorm1D, (3, 5)), (nn.InstanceNorm2D, (3, 2, 4))):
        one, batch = (build(3, affine=True, track_running_stats=True, dtype="float64") for _ in range(2))
        x = rng.normal(size=shape)
        for mode in (True, False):
            y = one.train(mode)(x)
            assert y.shape == shape
            close(y, batch.train(mode)(x[None]).numpy()[0])
        close(one.running_var, batch.running_var)


def test_statistics_are_no_parameters(layer):
    build, _ = layer
    assert {name for name, _ in build().named_parameters()} <= {"weight", "bias"}
    norm = nn.BatchNorm1D(2)
    with pytest.raises(TypeError, match="buffer"):
        norm.running_mean = nn.Parameter(np.zeros(2))


def test_a_wrong_spelling_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=re.escape("BatchNorm2D")):
        nn.BatchNorm2d(3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [nn.BatchNorm1D, lambda c: nn.InstanceNorm1D(c, track_running_stats=True)])
@pytest.mark.parametrize(("name", "value"), [("running_var", np.inf), ("running_mean", -np.inf)])
def test_infinite_running_statistics_are_an_error_that_names_the_layer(make, name, value):
    model = nn.Sequential({"fc": nn.Identity(), "norm": make(3)})
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    getattr(model.norm, name).data[1] = value
    model(x)  # training goes by the batch
    model.eval()
    with pytest.raises(
        ValueError, match=rf"{type(model.norm).__name__} in norm: {name} is infinite in 1 of 3 channels"
    ):
        model(x)
    model.norm.training = model.norm.frozen = True
    with pytest.raises(ValueError, match=rf"in norm: {name} is infinite in 1 of 3 channels, .* too large for float32"):
        model(x)
    getattr(model.norm, name).data[1] = np.nan  # which is seen in the output
    assert np.isnan(model(x).numpy()[:, 1]).all()


def test_a_running_variance_that_overflows_is_noticed_at_the_next_inference():
    layer, x = nn.BatchNorm1D(2), np.zeros((4, 2), np.float32)
    x[:, 1] = [3e20, -3e20, 3e20, -3e20]
    layer(x)
    with pytest.raises(ValueError, match="BatchNorm1D: running_var is infinite in 1 of 2 channels"):
        layer.eval()(x)


EMPTY = [
    (nn.BatchNorm1D(4), (0, 4)),
    (nn.BatchNorm1D(4, momentum=None), (2, 4, 0)),
    (nn.BatchNorm2D(4, activation="relu"), (0, 4, 2, 3)),
    (nn.BatchNorm3D(4, fused=False), (0, 4, 2, 3, 1)),
    (nn.InstanceNorm1D(4, affine=True, track_running_stats=True), (0, 4, 3)),
    (nn.InstanceNorm2D(4), (0, 4, 3, 2)),
    (nn.LayerNorm(4), (0, 4)),
    (nn.LayerNorm((4, 2)), (3, 0, 4, 2)),
    (nn.LayerNorm2D(4), (0, 4, 3, 2)),
    (nn.GroupNorm(2, 4), (0, 4)),
    (nn.GroupNorm(2, 4, fused=False), (0, 4, 3, 2)),
    (nn.RMSNorm(4), (0, 4)),
    (nn.RMSNorm2D(4), (0, 4, 3, 2)),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("norm", "shape"), EMPTY)
def test_an_empty_batch_is_a_batch_that_counts_and_moves_nothing(norm, shape, training):
    norm.train(training)
    before = norm.state_dict()
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    y = norm(x)
    assert (y.shape, y.dtype) == (shape, np.float32)
    y.sum().backward()
    assert x.grad.shape == shape
    for parameter in norm.parameters():
        assert not parameter.grad.numpy().any()
        assert parameter.grad.shape == parameter.shape
    after = norm.state_dict()
    if "num_batches_tracked" in before:
        assert after.pop("num_batches_tracked") == before.pop("num_batches_tracked") + training
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


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
