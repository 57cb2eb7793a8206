from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, no_grad, optim
from tinygrad_norm.nn import parametrizations
from tinygrad_norm.nn.parametrize import (
    cached,
    is_parametrized,
    parametrized,
    register_parametrization,
    remove_parametrizations,
)
from tinygrad_norm.testing import gradcheck
from tinygrad_norm.viz.graph import from_call


class Symmetric(nn.Module):
    """The mean of a square matrix and its transpose."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return (x + x.T) / 2

    def right_inverse(self, x):
        return x


class Doubled(nn.Module):
    def forward(self, x):
        return x * 2.0

    def right_inverse(self, x):
        return x / 2.0


class Shifted(nn.Module):
    def forward(self, x):
        return x + 1.0

    def right_inverse(self, x):
        return x - 1.0


class Sum(nn.Module):
    """Made of two."""

    def forward(self, x, y):
        return x + y

    def right_inverse(self, x):
        return x * 0.25, x * 0.75


class OneWay(nn.Module):
    def forward(self, x):
        return x.exp()


def symmetric(dtype="float64"):
    return register_parametrization(nn.Linear(3, 3, dtype=dtype), "weight", Symmetric())


def test_the_weight_is_computed_from_the_original():
    layer = nn.Linear(3, 3)
    before = layer.weight
    values = before.numpy().copy()
    assert register_parametrization(layer, "weight", Symmetric()) is layer
    assert layer.parametrizations.weight.original is before  # which an optimizer may hold
    np.testing.assert_array_equal(layer.weight.numpy(), (values + values.T) / 2)
    assert isinstance(layer, nn.Linear)
    assert type(layer).__name__ == "ParametrizedLinear"
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]


def test_gradients_reach_the_original_to_the_second_order(rng):
    layer, x = symmetric(), Tensor(rng.normal(size=(4, 3)))

    def call(original):
        vars(layer.parametrizations.weight)["original"] = original
        return layer(x).square()

    gradcheck(call, Tensor(rng.normal(size=(3, 3)), requires_grad=True), order=2)


def test_one_access_is_one_computation():
    layer = symmetric()
    parametrization = layer.parametrizations.weight[0]
    before = parametrization.calls
    layer(np.zeros((2, 3)))
    assert parametrization.calls == before + 1
    assert layer.weight is not layer.weight


def test_training_moves_the_original(rng):
    layer = symmetric()
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.numpy()
    layer(rng.normal(size=(2, 3))).square().sum().backward()
    optimizer.step()
    after = layer.weight.numpy()
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(after, after.T)


def test_assignment_inverts_and_an_optimizer_goes_on(rng):
    layer = register_parametrization(register_parametrization(symmetric(), "weight", Doubled()), "weight", Shifted())
    original = layer.parametrizations.weight.original
    wanted = rng.normal(size=(3, 3))
    wanted += wanted.T
    layer.weight = Tensor(wanted)
    np.testing.assert_allclose(layer.weight.numpy(), wanted, rtol=1e-14)
    assert layer.parametrizations.weight.original is original
    assert layer.weight.requires_grad


def test_several_are_called_in_order():
    layer = nn.Linear(2, 2, dtype="float64")
    before = layer.weight.numpy().copy()
    register_parametrization(layer, "weight", Doubled())
    np.testing.assert_array_equal(layer.parametrizations.weight.original.numpy(), before / 2)
    register_parametrization(layer, "weight", OneWay())
    np.testing.assert_allclose(layer.weight.numpy(), np.exp(before), rtol=1e-15)
    assert len(layer.parametrizations.weight) == 2
    with pytest.raises(ValueError, match=r"Linear\.weight: OneWay has no right_inverse\(\)"):
        layer.weight = layer.weight


def test_several_originals():
    layer = nn.Linear(2, 3, dtype="float64").requires_grad_(False)
    before = layer.weight.numpy().copy()
    register_parametrization(layer, "weight", Sum())
    names = ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    assert list(layer.state_dict()) == names
    assert not layer.parametrizations.weight.original0.requires_grad
    np.testing.assert_allclose(layer.weight.numpy(), before, rtol=1e-15)
    with pytest.raises(ValueError, match="takes a parameter made of one original, and weight is made of 2"):
        remove_parametrizations(layer, "weight", leave_parametrized=False)
    remove_parametrizations(layer, "weight")
    np.testing.assert_allclose(layer.weight.numpy(), before, rtol=1e-15)
    assert not layer.weight.requires_grad


@pytest.mark.parametrize("leave", [True, False])
def test_removing(leave):
    layer = symmetric()
    original, computed = layer.parametrizations.weight.original, layer.weight.numpy()
    values = original.numpy().copy()
    assert remove_parametrizations(layer, "weight", leave) is layer
    assert layer.weight is original
    np.testing.assert_array_equal(layer.weight.numpy(), computed if leave else values)
    assert type(layer) is nn.Linear
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    layer.weight = nn.Parameter(np.zeros((3, 3)))


def test_two_parameters_of_a_norm():
    norm = nn.BatchNorm2D(4)
    for name in ("weight", "bias"):
        register_parametrization(norm, name, Doubled())
        assert is_parametrized(norm, name)
    assert [name for _, name in parametrized(norm)] == ["weight", "bias"]
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype("float32")
    expected = nn.BatchNorm2D(4)(x).numpy()
    np.testing.assert_array_equal(norm(x).numpy(), expected)
    np.testing.assert_array_equal(norm.gamma.numpy(), np.ones(4))
    remove_parametrizations(norm, "weight")
    assert not is_parametrized(norm, "weight")
    assert is_parametrized(norm)
    remove_parametrizations(norm, "bias")
    assert not is_parametrized(norm)
    assert type(norm) is nn.BatchNorm2D
    assert not hasattr(norm, "parametrizations")


def test_a_copy_is_on_its_own():
    layer = symmetric()
    clone = copy.deepcopy(layer)
    clone.parametrizations.weight.original.raw[...] = 1
    assert np.abs(layer.weight.numpy() - 1).max() > 0.1
    remove_parametrizations(clone, "weight")
    assert is_parametrized(layer, "weight")
    np.testing.assert_array_equal(clone.weight.numpy(), np.ones((3, 3)))
    assert copy.copy(layer).parametrizations is layer.parametrizations


def test_state_is_loaded_and_dtype_changed():
    first, second = symmetric("float32"), symmetric("float32")
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(second.weight.numpy(), first.weight.numpy())
    assert second.astype("float64").weight.dtype == np.float64
    with pytest.raises(ValueError, match=r"missing key parametrizations\.weight\.original"):
        second.load_state_dict(nn.Linear(3, 3).state_dict())


def test_cached_computes_once_in_a_block(rng):
    layer = symmetric()
    parametrization = layer.parametrizations.weight[0]
    x = rng.normal(size=(2, 3))
    with cached():
        before = parametrization.calls
        with cached():
            layer(layer(x)).sum().backward()
        assert layer.weight is layer.weight
        assert parametrization.calls == before + 1
        with no_grad():
            assert not layer.weight.requires_grad
        assert layer.weight.requires_grad
        layer.weight = Tensor(np.ones((3, 3)))
        np.testing.assert_array_equal(layer.weight.numpy(), np.ones((3, 3)))
    twice = layer.parametrizations.weight.original.grad
    assert layer.weight is not layer.weight
    layer.weight = layer.weight
    assert twice is not None


def test_what_is_cached_without_recording_does_not_serve_training():
    layer = symmetric()
    with cached():
        with no_grad():
            layer(np.zeros((1, 3)))
        layer(np.ones((1, 3))).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_modes_follow_the_layer():
    layer = nn.Linear(3, 3).eval()
    register_parametrization(layer, "weight", Symmetric())
    assert not any(module.training for module in layer.modules())
    layer.train()
    assert all(module.training for module in layer.modules())


def test_drawings_and_summaries_name_the_weight():
    net = nn.Sequential({"block": nn.Sequential({"fc": parametrizations.weight_norm(nn.Linear(3, 3))})})
    graph = from_call(net, (2, 3))
    assert {op.module for op in graph.ops} == {"block.fc.weight.0", "block.fc"}
    assert graph.modules["block.fc.weight.0"] == "WeightNorm"
    names = {node.name for node in graph.nodes.values() if node.kind == "parameter"}
    assert names == {"block.fc.weight.original0", "block.fc.weight.original1", "block.fc.bias"}
    assert graph.layers >= {"block.fc.weight.0"}
    assert "ParametrizedLinear" in net.summary((2, 3))


def test_shared_by_two_layers():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    shared = Doubled()
    for layer in (first, second):
        register_parametrization(layer, "weight", shared)
    net = nn.Sequential(first, second)
    assert len([module for module in net.modules() if module is shared]) == 1
    assert len(net.state_dict()) == 4


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((nn.Linear(3, 3), "wieght", Symmetric()), ValueError, "got 'wieght'"),
        (
            (nn.Linear(3, 3), "in_features", Symmetric()),
            ValueError,
            "one of its parameters, weight, bias, got 'in_features'",
        ),
        ((nn.ReLU(), "weight", Symmetric()), ValueError, "ReLU: a parametrization takes one of its parameters, none"),
        ((nn.Linear(3, 3), "weight", Symmetric), TypeError, r"got the class Symmetric; did you mean Symmetric\(...\)"),
        ((Tensor([1.0]), "weight", Symmetric()), TypeError, "a parametrization's module is a Module, got Tensor"),
        (
            (nn.Linear(3, 3), "weight", nn.Flatten(0)),
            ValueError,
            r"shape \(3, 3\) and dtype float32, got \(9,\), float32",
        ),
    ],
)
def test_what_cannot_be_registered(arguments, error, words):
    layer = arguments[0]
    before = vars(layer).copy() if isinstance(layer, nn.Module) else None
    with pytest.raises(error, match=words):
        register_parametrization(*arguments)
    assert before is None or vars(layer) == before


def test_a_second_one_that_changes_the_shape_is_refused():
    layer = symmetric()
    with pytest.raises(ValueError, match="Flatten makes a weight of shape"):
        register_parametrization(layer, "weight", nn.Flatten(0))
    assert len(layer.parametrizations.weight) == 1


def test_a_computed_weight_is_not_filled_but_assigned():
    layer = symmetric()
    with pytest.raises(ValueError, match="got what one made, as a parametrized weight is; fill another and assign it"):
        layer.reset_parameters()
    layer.weight = nn.init.ones_(layer.weight.detach())
    np.testing.assert_array_equal(layer.weight.numpy(), np.ones((3, 3)))


def test_what_cannot_be_assigned():
    layer = symmetric()
    before = layer.weight.numpy()
    with pytest.raises(TypeError, match=r"Linear\.weight is a Tensor, for it is parametrized, got ndarray"):
        layer.weight = np.ones((3, 3))
    with pytest.raises(ValueError, match=r"^Linear\.weight has shape \(3, 3\), got \(3, 2\)$"):
        layer.weight = Tensor(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"original has shape \(3, 3\) and dtype float64, got \(3, 3\), float32"):
        layer.weight = Tensor(np.ones((3, 3), np.float32))
    with pytest.raises(ValueError, match="got 'bias'"):
        remove_parametrizations(layer, "bias")
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_what_takes_several_originals_comes_first(rng):
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    weight, state = layer.weight.numpy().copy(), layer.state_dict().keys()
    words = (
        r"WeightNorm makes a weight of several originals, so it comes first, got one behind WeightNorm; remove_param"
    )
    with pytest.raises(ValueError, match=words):
        parametrizations.weight_norm(layer)
    np.testing.assert_array_equal(layer.weight.numpy(), weight)
    assert layer.state_dict().keys() == state
    parametrizations.spectral_norm(layer)
    assert len(layer.parametrizations.weight) == 2


def test_a_parametrized_layer_is_pickled_as_little_as_any_and_copied_with_its_class():
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    for each in (layer, nn.Linear(3, 2)):
        with pytest.raises(TypeError, match=r"tensors are not pickled: .*; see save_safetensors"):
            pickle.dumps(each)
    for other in (copy.deepcopy(layer), copy.copy(layer)):
        assert type(other) is type(layer)
        np.testing.assert_array_equal(other.weight.numpy(), layer.weight.numpy())
    assert copy.deepcopy(layer).parametrizations.weight.original1 is not layer.parametrizations.weight.original1


@pytest.mark.parametrize("name", [None, 3, ["weight"], np.ones(2), 10**400])
def test_a_name_is_a_text(name):
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    for use in (parametrizations.weight_norm, parametrizations.spectral_norm, remove_parametrizations):
        with pytest.raises(TypeError, match=r"^a parametrized parameter's name is a text, got "):
            use(layer, name)


@pytest.mark.parametrize("model", [None, "net", np.ones(2), nn.Linear])
def test_what_is_parametrized_is_a_module(model):
    for use in (nn.fold_parametrizations, lambda each: list(parametrized(each)), parametrizations.weight_norm):
        with pytest.raises(TypeError, match=" is a Module, got "):
            use(model)
    with pytest.raises(TypeError, match=r"^remove_parametrizations: module is a Module, got "):
        remove_parametrizations(model, "weight")
