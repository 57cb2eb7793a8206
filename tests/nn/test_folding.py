from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.definitions import ACTIVATIONS as FUSIBLE
from tinygrad_norm.models import create_model, list_models
from tinygrad_norm.models.norm_catalog import shown
from tinygrad_norm.nn import parametrizations
from tinygrad_norm.nn.activation import activation_layer
from tinygrad_norm.nn.containers import takes_condition
from tinygrad_norm.nn.folding import fold_activations, fold_batch_norm, fold_parametrizations
from tinygrad_norm.nn.normalization import ChannelNorm
from tinygrad_norm.nn.parametrize import is_parametrized
from tinygrad_norm.ops.activation import fusible
from tinygrad_norm.testing import gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")


def stirred(model, rng):
    """Parameters and statistics unlike those that a layer begins with; ready for inference."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.dtype.kind == "f":
            values = np.asarray(rng.normal(size=tensor.shape) + 0.5)
            tensor.replace((np.abs(values) + 0.1 if name.endswith(("var", "square")) else values).astype(tensor.dtype))
    return model.eval()


def types(model):
    return [type(layer).__name__ for layer in model]


def folded_after(x, model):
    """Folded once it has seen what it is for."""
    model(x)
    return fold_batch_norm(model)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}, {"eps": 0.5}, {"fused": False}])
@pytest.mark.parametrize("bias", [True, False])
def test_the_output_is_the_same(options, bias, dtype, tolerance, rng):
    model = nn.Sequential(
        nn.Linear(5, 7, bias=bias),
        nn.BatchNorm1D(7, **options),
        nn.ReLU(),
        nn.Linear(7, 3),
        nn.BatchNorm1D(3, **options),
    )
    stirred(model.astype(dtype), rng)
    x = rng.normal(size=(9, 5)).astype(dtype)
    folded = folded_after(x, model)
    y, expected = folded(x), model(x).numpy()
    assert types(folded) == ["FoldedLinear", "Identity", "ReLU", "FoldedLinear", "Identity"]
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert {parameter.dtype for parameter in folded.parameters()} == {np.dtype(dtype)}


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"activation": "silu"}])
@pytest.mark.parametrize(
    "how", [{}, {"bias": False}, {"groups": 2, "stride": 2}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_convolutions_are_folded(how, options, rng):
    model = nn.Sequential(nn.Conv2D(4, 6, 3, **how), nn.BatchNorm2D(6, **options), nn.Conv2D(6, 4, 1)).astype("float64")
    x = rng.normal(size=(2, 4, 6, 5))
    folded = fold_batch_norm(stirred(model, rng))
    assert types(folded)[::2] == ["Conv2D", "Conv2D"]
    assert not isinstance(folded[1], nn.BatchNorm2D)
    assert folded[0].weight.raw.transpose(0, 2, 3, 1).flags.c_contiguous  # as the kernels take it
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


def test_a_depthwise_convolution_is_folded_with_its_channels_last(rng):
    model = stirred(nn.Sequential(nn.Conv2D(4, 4, (3, 2), groups=4), nn.BatchNorm2D(4)).astype("float64"), rng)
    x, folded = rng.normal(size=(2, 4, 6, 5)), fold_batch_norm(model)
    assert folded[0].weight.shape == (4, 1, 3, 2)
    assert folded[0].weight.raw.transpose(2, 3, 0, 1).flags.c_contiguous  # as the kernels take it
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("activation", [*FUSIBLE, ("leaky_relu", 0.3), ("elu", 0.7)])
def test_a_linear_takes_over_the_activation(activation, rng):
    model = stirred(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1D(7, activation=activation)).astype("float64"), rng)
    x = rng.normal(size=(9, 5))
    folded = folded_after(x, model)
    assert types(folded) == ["FoldedLinear", "Identity"]
    assert (folded[0].activation, model[0].activation) == (activation, None)
    assert not folded[1].training
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", ("leaky_relu", 0.3), "silu", None])
def test_a_convolution_takes_over_the_activation(activation, rng):
    norms = [nn.BatchNorm2D(4, activation=activation), nn.BatchNorm2D(4)]
    model = stirred(nn.Sequential(nn.Conv2D(3, 4, 3), *norms).astype("float64"), rng)
    folded, x = fold_batch_norm(model), rng.normal(size=(2, 3, 5, 6))
    assert types(folded) == ["Conv2D", "Identity", "BatchNorm2D"]
    assert (folded[0].activation, model[0].activation) == (activation, None)
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)
    if activation is not None:  # then the second norm no longer follows a linear layer
        assert types(fold_batch_norm(folded)) == types(folded)


def test_a_module_says_what_follows_what(rng):
    class Net(nn.Module):
        followed_by = (("conv", "norm"), ("fc", "other"), ("fc", "missing"))

        def __init__(self):
            super().__init__()
            self.norm, self.loose = nn.BatchNorm2D(4, activation="relu"), nn.BatchNorm2D(4)
            self.conv, self.fc, self.other = nn.Conv2D(3, 4, 2), nn.Linear(4, 2), nn.BatchNorm1D(2)

        def forward(self, x):
            return self.other(self.fc(self.loose(self.norm(self.conv(x))).mean((2, 3))))

    model, x = stirred(Net().astype("float64"), rng), rng.normal(size=(2, 3, 4, 5))
    folded = folded_after(x, model)
    assert [type(layer).__name__ for layer in (folded.norm, folded.loose, folded.other)] == [
        "Identity",
        "BatchNorm2D",
        "Identity",
    ]
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("name", list_models())
def test_no_batch_norm_of_the_zoo_is_left(name, dtype, tolerance, rng):
    narrow = {} if name in ("mlp", "lenet5") else {"width": 0.125}
    model = create_model(name, 4, norm="batch", **narrow).astype(dtype).eval()
    for layer in model.modules():
        if isinstance(layer, nn.normalization.BatchNorm):
            stirred(layer, rng)
    folded, x = fold_batch_norm(model), rng.normal(size=(2, 3, 32, 32)).astype(dtype)
    left = [path for path, layer in folded.named_modules() if isinstance(layer, nn.normalization.BatchNorm)]
    in_front = ["features.2.0", "features.4.0", "features.6.0", "classifier.0"]  # of the layer after a stage
    assert left == (in_front if name == "convnext_tiny" else [])
    y, expected = folded(x).numpy(), model(x).numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_model_itself_stays_as_it_is_unless_in_place(rng):
    model = stirred(nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1D(7)), rng)
    before, layers = {key: array.tolist() for key, array in model.state_dict().items()}, list(model)
    folded = folded_after(np.ones((2, 5), np.float32), model)
    assert list(model) == layers
    assert {key: array.tolist() for key, array in model.state_dict().items()} == before
    assert not any(np.shares_memory(mine.raw, its.raw) for mine in folded.parameters() for its in model.parameters())
    expected = folded(np.ones((2, 5), np.float32)).numpy()
    assert fold_batch_norm(model, in_place=True) is model
    assert types(model) == ["FoldedLinear", "Identity"]
    np.testing.assert_array_equal(model(np.ones((2, 5), np.float32)).numpy(), expected)


def test_pairs_are_found_at_any_depth(rng):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([self.block(4, 4), nn.Sequential(nn.Identity(), self.block(4, 3))])

        def block(self, inputs, outputs):
            return nn.Sequential({"fc": nn.Linear(inputs, outputs), "norm": nn.BatchNorm1D(outputs, activation="relu")})

        def forward(self, x):
            return self.blocks[1](self.blocks[0](x))

    model = stirred(Net().astype("float64"), rng)
    x = rng.normal(size=(5, 4))
    folded = folded_after(x, model)
    assert not any(isinstance(module, nn.BatchNorm1D) for module in folded.modules())
    assert types(folded.blocks[0]) == ["FoldedLinear", "Identity"]
    assert list(folded.state_dict())[:2] == ["blocks.0.fc.weight", "blocks.0.fc.bias"]
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


def test_what_is_no_pair_stays(rng):
    shared = nn.ReLU()
    model = nn.Sequential(
        nn.BatchNorm1D(4),
        nn.Linear(4, 4),
        shared,
        nn.BatchNorm1D(4),
        nn.Linear(4, 4),
        shared,  # which stands between, though it has stood before
        nn.BatchNorm1D(4),
        nn.LayerNorm(4),
        nn.BatchNorm1D(4),
        nn.Linear(4, 4),
        nn.LayerNorm(4),
    )
    stirred(model, rng)
    assert types(folded_after(np.ones((2, 4), np.float32), model)) == types(model)
    # A linear layer of the last axis, before a norm of the axis in the middle
    rows = stirred(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1D(3)), rng)
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(fold_batch_norm(rows)(x).numpy(), rows(x).numpy())


def test_shared_layers_are_folded_where_they_are_followed_by_a_norm(rng):
    fc, norm, other = nn.Linear(4, 4), nn.BatchNorm1D(4), nn.BatchNorm1D(4)
    model = stirred(nn.Sequential(fc, norm, fc, other, fc, nn.Tanh(), norm).astype("float64"), rng)
    x = rng.normal(size=(5, 4))
    folded = folded_after(x, model)
    assert types(folded) == ["FoldedLinear", "Identity"] * 2 + ["Linear", "Tanh", "BatchNorm1D"]
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


def test_training_is_refused(rng):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential({"fc": nn.Linear(4, 4), "norm": nn.BatchNorm1D(4)}))
    model(np.ones((2, 4), np.float32))
    for in_place in (False, True):
        with pytest.raises(ValueError, match=r"1\.norm is in training.*call model\.eval\(\) first"):
            fold_batch_norm(model, in_place)
    stirred(model, rng)
    for switch in ("use_batch_statistics", "update_running_statistics"):
        setattr(model[1].norm, switch, True)
        with pytest.raises(ValueError, match=r"1\.norm is in training"):
            fold_batch_norm(model)
        setattr(model[1].norm, switch, None)
    model.train()
    model[1].norm.frozen = True
    assert types(fold_batch_norm(model)[1]) == ["FoldedLinear", "Identity"]


def test_infinite_statistics_are_refused(rng):
    model = stirred(nn.Sequential(nn.Conv2D(3, 4, 1), nn.BatchNorm2D(4)), rng)
    model[1].running_var.data[2] = np.inf
    with pytest.raises(ValueError, match="BatchNorm2D in 1: running_var is infinite in 1 of 4 channels"):
        fold_batch_norm(model)


def test_a_norm_without_running_statistics_is_refused_and_nothing_changes(rng):
    untracked = nn.BatchNorm1D(4, track_running_stats=False)
    model = stirred(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1D(4), nn.Linear(4, 4), untracked), rng)
    model(np.ones((2, 4), np.float32))
    before, layers = model[0].weight.raw.tolist(), list(model)
    with pytest.raises(ValueError, match="fold_batch_norm: 3 keeps no running statistics"):
        fold_batch_norm(model, in_place=True)
    assert list(model) == layers
    assert model[0].weight.raw.tolist() == before


def test_a_linear_whose_features_are_not_the_norms_channels_stays(rng):
    model = stirred(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3)).astype("float64"), rng)
    x = rng.normal(size=(2, 3, 4))
    for _ in range(2):  # before it was called, and once it has seen such an input
        folded = fold_batch_norm(model)
        assert types(folded) == ["Linear", "BatchNorm1D"]
        np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())
    model(x[0])  # of rows too
    assert types(fold_batch_norm(model)) == ["Linear", "BatchNorm1D"]


def test_what_was_folded_for_rows_takes_nothing_else(rng):
    model = stirred(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3), nn.ReLU()), rng)
    folded = fold_activations(folded_after(np.ones((2, 4), np.float32), model))
    assert types(folded) == ["FoldedLinear", "Identity", "Identity"]
    with pytest.raises(ValueError, match=r"FoldedLinear: .* shape \(N, 4\), .* was folded, got \(2, 3, 4\)"):
        folded(np.ones((2, 3, 4), np.float32))


@pytest.mark.parametrize(
    ("before", "rows"),
    [
        ([nn.Flatten()], True),
        ([nn.Flatten(), nn.Linear(12, 12), nn.ReLU(), nn.Dropout(), nn.LayerNorm(12), nn.Identity()], True),
        ([nn.Flatten(2)], False),
        ([nn.Flatten(0)], False),
        ([nn.Flatten(1, 2)], False),
        ([nn.Flatten(), nn.Sequential()], False),
        ([nn.Identity()], False),
    ],
)
def test_after_a_flatten_there_are_rows(before, rows, rng):
    model = stirred(nn.Sequential(*before, nn.Linear(12, 5), nn.BatchNorm1D(5)), rng)
    assert types(fold_batch_norm(model))[-2:] == (["FoldedLinear", "Identity"] if rows else ["Linear", "BatchNorm1D"])


def test_a_hook_may_make_other_rows(rng):
    model = stirred(nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.BatchNorm1D(5)), rng)
    model[0].register_forward_hook(lambda _module, _args, output: output.reshape(1, 5, 4))
    x = rng.normal(size=(5, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(fold_batch_norm(model)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Linear(4, 3), nn.BatchNorm2D(3), (2, 3, 5, 4)),
        (nn.Linear(4, 3), nn.BatchNorm3D(3), (2, 3, 5, 2, 4)),
        (nn.Conv2D(4, 3, 1), nn.BatchNorm1D(3), (4, 3, 5)),
    ],
)
def test_a_norm_of_other_axes_stays(layer, norm, shape, rng):
    model, x = stirred(nn.Sequential(layer, norm).astype("float64"), rng), rng.normal(size=shape)
    folded = folded_after(x, model)
    assert types(folded) == types(model)
    np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


def test_a_norm_that_computes_something_else_stays(rng):
    class Doubled(nn.BatchNorm1D):
        def forward(self, x):
            return super().forward(x) * 2

    class Shifted(nn.BatchNorm2D):
        def normalize(self, x):
            return super().normalize(x) + 1

    class Halved(nn.L1Norm):
        def compute(self, *given):
            return super().compute(*given) / 2

    cases = [(nn.Linear(4, 3), kind(3), (5, 4)) for kind in (Doubled, Halved)]
    for layer, norm, shape in (*cases, (nn.Conv2D(4, 3, 1), Shifted(3), (2, 4, 3, 3))):
        model, x = stirred(nn.Sequential(layer, norm).astype("float64"), rng), rng.normal(size=shape)
        folded = folded_after(x, model)
        assert types(folded) == types(model)
        np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


AFFINE = {
    "BatchRenorm2D": lambda **more: nn.BatchRenorm2D(6, **more),
    "EvoNormB0": lambda **more: nn.EvoNormB0(6, nonlinear=False, **more),
    "EvoNormB0 without statistics": lambda **more: nn.EvoNormB0(6, nonlinear=False, track_running_stats=False, **more),
    "EvoNormS0": lambda **more: nn.EvoNormS0(6, 2, nonlinear=False, **more),
    "GhostBatchNorm2D": lambda **more: nn.GhostBatchNorm2D(6, **more),
    "InstanceNorm2D": lambda **more: nn.InstanceNorm2D(6, **{"affine": True, "track_running_stats": True, **more}),
    "L1Norm": lambda **more: nn.L1Norm(6, **more),
    "LInfNorm": lambda **more: nn.LInfNorm(6, **more),
    "PowerNorm": lambda **more: nn.PowerNorm(6, **more),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"bias": False}, {"eps": 0.5, "activation": "silu"}])
@pytest.mark.parametrize("name", AFFINE)
def test_whatever_infers_affinely_is_folded(name, options, dtype, tolerance, rng):
    model = nn.Sequential(nn.Conv2D(4, 6, 3), AFFINE[name](**options)).astype(dtype)
    folded, x = fold_batch_norm(stirred(model, rng)), rng.normal(size=(2, 4, 6, 5)).astype(dtype)
    assert types(folded) == ["Conv2D", "Identity"]
    y, expected = folded(x), model(x).numpy()
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("kind", [nn.BatchRenorm1D, nn.GhostBatchNorm1D, nn.L1Norm, nn.LInfNorm, nn.PowerNorm])
def test_whatever_infers_affinely_is_folded_for_rows(kind, rng):
    model = stirred(nn.Sequential(nn.Linear(5, 7), kind(7, activation="relu")).astype("float64"), rng)
    assert types(fold_batch_norm(model)) == ["Linear", kind.__name__]  # it may yet be given (N, 7, 5)
    x = rng.normal(size=(9, 5))
    folded = folded_after(x, model)
    assert types(folded) == ["FoldedLinear", "Identity"]
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


def test_a_norm_of_the_last_axis_is_folded_for_all_inputs(rng):
    model = stirred(nn.Sequential(nn.Linear(5, 7), nn.PowerNorm(7, channels_last=True)).astype("float64"), rng)
    folded = fold_batch_norm(model)
    assert types(folded) == ["Linear", "Identity"]
    for shape in ((9, 5), (2, 7, 5), (2, 3, 7, 5)):
        x = rng.normal(size=shape)
        np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "norm",
    [
        nn.EvoNormB0(6),
        nn.EvoNormS0(6, 2),
        nn.GroupNorm(2, 6),
        nn.InstanceNorm2D(6),
        nn.IterNorm2D(6),
        nn.MaskedBatchNorm2D(6),  # of which a mask makes zeros in inference too
        nn.PowerNorm(6, channels_last=True),
        nn.SwitchableNorm2D(6),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_what_infers_otherwise_stays(norm, rng):
    model, x = nn.Sequential(nn.Conv2D(4, 6, 3), norm).astype("float64"), rng.normal(size=(2, 4, 5, 8))
    folded = fold_batch_norm(stirred(model, rng))
    assert types(folded) == types(model)
    np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


def is_affine(layer, x):
    """Whether y is x · a + b, with numbers for each channel, told by the values of x that differ most."""
    before, after = (np.moveaxis(each, 1, 0).reshape(x.shape[1], -1) for each in (x, layer(x).numpy()))
    low, high = before.argmin(axis=1)[:, None], before.argmax(axis=1)[:, None]
    [x0, x1], [y0, y1] = ([np.take_along_axis(each, i, 1) for i in (low, high)] for each in (before, after))
    return np.allclose(after, y0 + (before - x0) * (y1 - y0) / (x1 - x0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in norm_layers() if not name.startswith("Masked")])
def test_a_norm_says_that_it_infers_affinely_if_it_does(name, rng):
    made, (given, *_), _ = shown(name)
    layer, shape = stirred(made.astype("float64"), rng), given.shape
    if takes_condition(layer) or not isinstance(layer, ChannelNorm):
        return
    assert layer.infers_affinely() == is_affine(layer, rng.normal(size=shape))
    if layer.infers_affinely():
        a, b = (each.reshape(-1, *(1,) * (len(shape) - 2)) for each in layer.inference_affine())
        x = rng.normal(size=shape)
        np.testing.assert_allclose(layer(x).numpy(), x * a + b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.IterNorm2D, nn.LayerNorm2D])
def test_what_infers_otherwise_has_no_scale_and_shift(kind):
    with pytest.raises(TypeError, match=f"{kind.__name__} is no x · a \\+ b in inference"):
        kind(4).inference_affine()


@pytest.mark.parametrize("name", ["BatchRenorm2D", "InstanceNorm2D", "L1Norm", "PowerNorm"])
def test_what_may_not_be_folded_yet_is_refused_whatever_norm_it_is(name, rng):
    model = nn.Sequential(nn.Conv2D(3, 6, 1), AFFINE[name]())
    with pytest.raises(ValueError, match=r"fold_batch_norm: 1 is in training; .* call model\.eval\(\) first"):
        fold_batch_norm(model)
    getattr(stirred(model, rng)[1], next(iter(model[1].begins_with))).data[2] = np.inf
    with pytest.raises(
        ValueError, match=rf"{type(model[1]).__name__} in 1: running_\w+ is infinite in 1 of 6 channels"
    ):
        fold_batch_norm(model)


def test_what_follows_what_is_not_inherited_by_another_forward(rng):
    class Block(nn.Module):
        followed_by = (("conv", "norm"),)

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2D(3, 3, 1), nn.BatchNorm2D(3)

        def forward(self, x):
            return self.norm(self.conv(x))

    class Named(Block):
        pass

    class Residual(Block):
        def forward(self, x):
            return self.norm(x + self.conv(x))

    x = rng.normal(size=(2, 3, 4, 5))
    for kind, left in ((Block, "Identity"), (Named, "Identity"), (Residual, "BatchNorm2D")):
        model = stirred(kind().astype("float64"), rng)
        folded = fold_batch_norm(model)
        assert type(folded.norm).__name__ == left
        np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)


def test_a_layer_that_takes_over_an_activation_keeps_its_buffers():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.register_buffer("count", Tensor(3))

    model = nn.Sequential(Counting(), nn.ReLU())
    assert list(fold_activations(model).state_dict()) == list(model.state_dict())


def test_the_folded_layers_can_be_differentiated(rng):
    model = stirred(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1D(3, activation="tanh")).astype("float64"), rng)
    dy, found = rng.normal(size=(5, 3)), []
    x = rng.normal(size=(5, 4))
    for net in (model, folded_after(x, model)):
        given = Tensor(x, requires_grad=True)
        net(given).backward(dy)
        found.append(given.grad.numpy())
    np.testing.assert_allclose(*found, rtol=1e-11)


@pytest.mark.parametrize("activation", [*FUSIBLE, ("leaky_relu", 0.3), ("elu", 0.7)])
def test_an_activation_is_folded_into_the_layer_before_it(activation, rng):
    layers = [nn.Conv2D(3, 4, 2), activation_layer(activation), nn.Flatten(), nn.Linear(24, 2)]
    model = stirred(nn.Sequential(*layers, activation_layer(activation)).astype("float64"), rng)
    folded, x = fold_activations(model), rng.normal(size=(2, 3, 3, 4))
    assert types(folded) == ["Conv2D", "Identity", "Flatten", "Linear", "Identity"]
    assert [fusible(layer.activation) for layer in (folded[0], folded[3])] == [fusible(activation)] * 2
    assert model[0].activation is None
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)
    gradcheck(folded, [Tensor(x, requires_grad=True)])


def test_only_what_a_layer_can_apply_is_folded(rng):
    class Mine(nn.ReLU):
        def forward(self, x):
            return super().forward(x) + 1

    model = stirred(
        nn.Sequential(
            nn.ReLU(),
            nn.Linear(4, 4, activation="relu"),
            nn.ReLU(),
            nn.Linear(4, 4),
            nn.Softplus(beta=2),
            nn.Linear(4, 4),
            nn.Softmax(),
            nn.LayerNorm(4),
            nn.ReLU(),
            nn.Linear(4, 4),
            Mine(),
        ),
        rng,
    )
    assert types(fold_activations(model)) == types(model)


def test_activations_fold_after_batch_norms(rng):
    model = nn.Sequential(nn.Conv2D(3, 4, 3, bias=False), nn.BatchNorm2D(4), nn.Identity(), nn.SiLU(), nn.Dropout())
    stirred(model.astype("float64"), rng)
    folded, x = fold_activations(fold_batch_norm(model)), rng.normal(size=(2, 3, 5, 4))
    assert types(folded) == ["Conv2D", "Identity", "Identity", "Identity", "Dropout"]
    np.testing.assert_allclose(folded(x).numpy(), model(x).numpy(), rtol=1e-11, atol=1e-12)
    squeeze = stirred(nn.SqueezeExcite(6, 2, nn.Hardswish).astype("float64"), rng)
    less, x = fold_activations(squeeze), rng.normal(size=(2, 6, 3, 4))
    assert (less.fc1.activation, less.fc2.activation) == ("hardswish", "sigmoid")
    np.testing.assert_allclose(less(x).numpy(), squeeze(x).numpy(), rtol=1e-11, atol=1e-12)


def test_folding_activations_in_place_keeps_the_parameters_and_training():
    fc = nn.Linear(4, 4)
    model = nn.Sequential(fc, nn.Tanh(), fc)
    parameters = list(model.parameters())
    assert fold_activations(model, in_place=True) is model
    assert types(model) == ["Linear", "Identity", "Linear"]
    assert [layer.activation for layer in (model[0], model[2])] == ["tanh", None]
    assert all(mine is its for mine, its in zip(model.parameters(), parameters, strict=True))
    assert model.training
    assert model[1].training


class Twice(nn.Identity):
    def forward(self, x):
        return x * 2


def hooked(layer):
    layer.register_forward_hook(lambda _module, _args, output: output * 3)
    return layer


@pytest.mark.parametrize("between", [Twice, lambda: hooked(nn.Identity())])
@pytest.mark.parametrize("last", [nn.BatchNorm1D(4), nn.Tanh()])
def test_an_identity_that_is_none_stands_between(between, last, rng):
    model, x = stirred(nn.Sequential(nn.Linear(4, 4), between(), last).astype("float64"), rng), rng.normal(size=(5, 4))
    folded = fold_activations(folded_after(x, model))
    assert types(folded) == types(model)
    np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("last", [nn.BatchNorm1D, lambda _: nn.Tanh()])
def test_modules_with_hooks_stay(last, which, rng):
    model, x = stirred(nn.Sequential(nn.Linear(4, 4), last(4)).astype("float64"), rng), rng.normal(size=(5, 4))
    hooked(model[which])
    folded = fold_activations(folded_after(x, model))
    assert types(folded) == types(model)
    np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


def test_modules_with_a_forward_of_their_own_stay(rng):
    class Double(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    class Backwards(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    for last in (nn.BatchNorm1D(4), nn.Tanh()):
        for model in (nn.Sequential(Double(4, 4), last), Backwards(nn.Linear(4, 4), last)):
            stirred(model.astype("float64"), rng)
            x = rng.normal(size=(5, 4))
            folded = fold_activations(folded_after(x, model))
            assert types(folded) == types(model)
            np.testing.assert_array_equal(folded(x).numpy(), model(x).numpy())


def test_a_layer_that_stands_twice_has_hooks_of_its_own():
    fc, seen = nn.Linear(4, 4), []
    model = fold_activations(nn.Sequential(fc, nn.Tanh(), fc), in_place=True)
    model[0].register_forward_hook(lambda *_: seen.append(1))
    model(np.ones((2, 4), np.float32))
    assert seen == [1]


def test_folded_filters_keep_their_order_in_copies(rng):
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.ReLU())
    folded = fold_activations(fold_batch_norm(stirred(model, rng)))
    assert folded[0].activation == "relu"
    assert folded[0].weight.raw.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_layer_that_takes_over_an_activation_shares_no_list_of_buffers_with_the_original():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.ReLU())
    fold_activations(model, in_place=True)[0].register_buffer("offset", Tensor([1.0]), persistent=False)
    layer.register_buffer("offset", Tensor([2.0]))
    assert "offset" in layer.state_dict()
    assert "0.offset" not in model.state_dict()


def parametrized_net(rng):
    """Each layer in another way, the norm too."""
    net = nn.Sequential(
        parametrizations.weight_norm(nn.Conv2D(3, 6, 3)),
        parametrizations.weight_norm(nn.BatchNorm2D(6)),
        parametrizations.weight_standardization(nn.Conv2D(6, 6, 3, groups=3), scaled=True),
        nn.BatchNorm2D(6),
        nn.ReLU(),
        nn.Flatten(),
        parametrizations.spectral_norm(nn.Linear(24, 5)),
        nn.BatchNorm1D(5),
    ).astype("float64")
    return stirred(net, rng)


@pytest.mark.parametrize("fold", [fold_batch_norm, fold_parametrizations])
def test_computed_weights_are_folded(fold, rng):
    net = parametrized_net(rng)
    x = rng.normal(size=(4, 3, 6, 6))
    net(x)
    state = net.state_dict()
    folded = fold(net)
    np.testing.assert_allclose(folded(x).numpy(), net(x).numpy(), rtol=1e-11)
    assert not any(is_parametrized(module) for module in folded.modules())
    assert all(is_parametrized(net[number], "weight") for number in (0, 1, 2, 6))
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, state[key])
    if fold is fold_batch_norm:
        assert types(folded)[:4] == ["Conv2D", "Identity", "Conv2D", "Identity"]
        assert types(folded)[-2:] == ["FoldedLinear", "Identity"]
    else:
        assert types(folded)[:3] == ["Conv2D", "BatchNorm2D", "Conv2D"]


def test_a_batch_norm_in_training_is_refused_before_spectral_norm_moves(rng):
    net = nn.Sequential(parametrizations.spectral_norm(nn.Conv2D(3, 4, 3)), nn.BatchNorm2D(4))
    state = net.state_dict()
    with pytest.raises(ValueError, match="is in training"):
        fold_batch_norm(net)
    for key, array in net.state_dict().items():
        np.testing.assert_array_equal(array, state[key])


def test_parametrizations_are_folded_in_place(rng):
    net = parametrized_net(rng)
    assert fold_parametrizations(net, in_place=True) is net
    assert {"0.weight", "1.weight", "2.weight", "6.weight"} <= net.state_dict().keys()
    assert not any("original" in key for key in net.state_dict())


def test_activations_are_folded_into_parametrized_layers(rng):
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4, dtype="float64")), nn.ReLU())
    x = rng.normal(size=(5, 3))
    folded = fold_activations(net)
    np.testing.assert_array_equal(folded(x).numpy(), net(x).numpy())
    assert types(folded) == ["ParametrizedLinear", "Identity"]
