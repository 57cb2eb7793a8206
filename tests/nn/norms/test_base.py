"""What all layers of `nn.norms` have in common."""

from __future__ import annotations

import copy
import functools
import re
import warnings

import numpy as np
import pytest

from tests.nn.norms.layers import HELD, IMAGES, LAYERS, close, stirred
from tinygrad_norm import Tensor, nn, ops
from tinygrad_norm.certificate.case import case_of_module
from tinygrad_norm.nn.containers import takes_condition
from tinygrad_norm.nn.norms.base import FromDefinition
from tinygrad_norm.testing import gradcheck

pytestmark = pytest.mark.usefixtures("plain_numpy")

ACTIVATED = ("AdaIN", "DynamicTanh", "EvoNormS0", "L1Norm")  # one for each way that an activation goes
ANYWHERE = ("DynamicErf", "DynamicTanh", "GlobalResponseNorm", "PartialRMSNorm", "ScaleNorm")


@pytest.fixture(params=LAYERS)
def example(request):
    return LAYERS[request.param]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [each for each in LAYERS if each not in HELD])
def test_gradients_agree_with_finite_differences_to_the_second_order(name, training, rng):
    layer = LAYERS[name].build()
    case = case_of_module(name, layer, LAYERS[name].inputs(rng), rng, training)
    gradcheck(case.call, case.leaves(), order=2, rtol=1e-4)


@pytest.mark.parametrize("name", ACTIVATED)
def test_the_activation_comes_last(name, rng):
    build, inputs = LAYERS[name].build, LAYERS[name].inputs(rng)
    plain = stirred(build(dtype="float64"), rng)
    for activation, function in (("relu", ops.relu), (("leaky_relu", 0.3), lambda y: ops.leaky_relu(y, 0.3))):
        activated = build(activation=activation, dtype="float64")
        activated.load_state_dict(plain.state_dict())
        expected = function(plain(*inputs))
        close(activated(*inputs), expected)
        assert repr(activated).endswith(f"activation={activation!r})")


def test_an_activation_of_inference(rng):
    plain, activated = (nn.ConditionalBatchNorm2D(4, 3, activation=each, dtype="float64") for each in (None, "relu"))
    for layer in (plain, activated):
        stirred(layer, np.random.default_rng(1)).eval()
    inputs = LAYERS["ConditionalBatchNorm2D"].inputs(rng)
    close(activated(*inputs), np.maximum(plain(*inputs).raw, 0))


@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_channels_may_come_last(name, rank, rng):
    build = LAYERS[name].build
    first, last = (
        stirred(build(dtype="float64", channels_last=each), np.random.default_rng(1)) for each in (False, True)
    )
    x = rng.normal(size=IMAGES[:rank])
    moved = np.moveaxis(x, 1, -1)
    close(last(moved), np.moveaxis(first(x).raw, 1, -1))
    close(last(np.ascontiguousarray(moved)), np.moveaxis(first(x).raw, 1, -1))
    with pytest.raises(ValueError, match=rf"^{name}: the input has shape \(N, C\) or \(N, L, C\) .* with C = 4, got"):
        last(np.ones((2, 4, 3)))
    with pytest.raises(TypeError, match=f"^{name}: channels_last is True or False, got 1"):
        build(channels_last=1)


def test_state_and_copies(example, rng):
    inputs = example.inputs(rng)
    layer = stirred(example.build(dtype="float64"), rng).eval()
    expected = layer(*inputs).raw
    restored = example.build(dtype="float64").eval()
    assert restored.load_state_dict(layer.state_dict()) == ([], [])
    for other in (restored, copy.deepcopy(layer)):
        np.testing.assert_array_equal(other(*inputs).raw, expected)
        assert repr(other) == repr(layer)


def test_reset_parameters(example, rng):
    layer = stirred(example.build(), rng)
    layer(*example.inputs(rng, np.float32))
    before = layer.state_dict()
    layer.reset_parameters()
    fresh = example.build().state_dict()
    for key, array in layer.state_dict().items():
        if "mlp" in key:  # drawn anew
            assert (array != before[key]).any()
        else:
            np.testing.assert_array_equal(array, fresh[key])


def test_errors_name_the_layer_that_was_called_and_its_path(example, rng):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.place = example.build()

        def forward(self, *inputs):
            return self.place(*inputs)

    model, others = Model(), example.inputs(rng, np.float32)[1:]
    name = "InstanceNorm2D in place.IN" if example.name == "IBN" else f"{type(model.place).__name__} in place"
    told = rf"^{name}: one floating dtype is needed throughout, but given are \w+ int64"
    with pytest.raises(TypeError, match=told):
        model(np.ones(example.shape, int), *others)


ONE_VALUE = {
    **{
        name: each.build
        for name, each in LAYERS.items()
        if hasattr(each.build(), "running_mean") and not name.startswith("Masked")
    },
    **{name: functools.partial(getattr(nn, name), 4) for name in ("GhostBatchNorm1D", "GhostBatchNorm2D")},
    "MaskedBatchNorm2D": lambda: nn.MaskedBatchNorm2D(4),
    "MaskedInstanceNorm2D": lambda: nn.MaskedInstanceNorm2D(4),
    "MaskedGroupNorm": lambda: nn.MaskedGroupNorm(4, 4),
    "EvoNormS0": lambda: nn.EvoNormS0(4, 4),
    "FilterResponseNorm2D": lambda: nn.FilterResponseNorm2D(4),
}


@pytest.mark.parametrize("name", ONE_VALUE)
def test_one_value_is_refused_by_the_name_of_the_layer(name, rng):
    model = nn.Sequential({"place": ONE_VALUE[name]()})
    condition = LAYERS[name].inputs(rng, np.float32)[1:] if takes_condition(model.place) else []
    shape = (1, 4) if "NC" in model.place.layouts else (1, 4, 1, 1)
    told = rf"^{type(model.place).__name__} in place: one value per \w+.*, got shape {re.escape(str(shape))}; use "
    with pytest.raises(ValueError, match=told):
        model(rng.normal(size=shape).astype(np.float32), *(each[:1] for each in condition))


@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_is_a_batch(example, training, rng):
    layer = example.build(dtype="float64").train(training)
    before = layer.state_dict()
    inputs = [each[:0] for each in example.inputs(rng)]
    x = Tensor(inputs[0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(x, *inputs[1:])
        y.backward(np.ones(y.shape))
    assert y.shape == (0, *example.shape[1:])
    assert x.grad.shape == y.shape
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.raw.any(), name
    for key, array in layer.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(array, before[key])


def test_one_dtype_throughout(example, rng):
    if not [*example.build().parameters()]:
        return
    for training in (True, False):
        with pytest.raises(TypeError, match=r"one floating dtype is needed.* float64.*; convert the input with"):
            example.build().train(training)(*example.inputs(rng))


def test_what_is_no_float_is_refused(example, rng):
    others = example.inputs(rng, np.float32)[1:]
    with pytest.raises(TypeError, match=r"int64|integer"):
        example.build()(np.ones(example.shape, int), *others)
    with pytest.raises(TypeError, match="the input is a Tensor or a NumPy array, got list"):
        example.build()([[1.0]], *others)
    words = r"with C = 4, got \(3, 5, 2, 3\)$|ends in, \(3, 5, 2, 3\), got \(4,\)$"
    with pytest.raises(ValueError, match=words):
        example.build()(np.ones((3, 5, 2, 3), np.float32), *others)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.DynamicTanh(0),
        lambda: nn.GlobalResponseNorm(2.5),
        lambda: nn.ScaleNorm(True),
        lambda: nn.L1Norm(3, eps=-1.0),
        lambda: nn.EvoNormB0(3, affine="yes"),
        lambda: nn.FilterResponseNorm2D(3, dtype="float16"),
        lambda: nn.EvoNormS0(3, 3, activation="rellu"),
        lambda: nn.L1Norm(3, epsilon=1e-3),
        lambda: nn.FiLM(3, 0),
        lambda: nn.FiLM(3),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(build):
    with pytest.raises((TypeError, ValueError)) as found:
        build()
    assert "\n" not in str(found.value)
    assert re.search(r"got|did you mean|missing", str(found.value))


def test_a_layer_says_what_its_class_lacks():
    class Nothing(FromDefinition):
        eps = None

        def __post_init__(self, dtype):
            self._make((4,), False, False, dtype)

    with pytest.raises(TypeError, match=r"Nothing defines no normalize\(x\)"):
        Nothing()(np.ones((2, 4)))
