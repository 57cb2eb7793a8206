"""Modules: what is inside, attributes, states, and changing all at once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from tests.nn.modules import Net, Scale, scopes
from tinygrad_norm import Tensor, nn
from tinygrad_norm.nn.module import float_dtype


def names(pairs):
    return [name for name, _ in pairs]


# What is inside


def test_named_parameters_come_in_order_and_shared_ones_once():
    net = Net()
    assert names(net.named_parameters()) == ["shift", "first.weight", "layers.0.weight", "layers.1.0.weight"]
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert all(isinstance(p, nn.Parameter) and isinstance(p.data, np.ndarray) for p in net.parameters())


def test_named_parameters_can_be_told_a_prefix_not_to_go_inside_and_to_repeat():
    net = Net()
    assert names(net.named_parameters("net", recurse=False)) == ["net.shift"]
    assert "again.weight" in names(net.named_parameters(remove_duplicate=False))


def test_a_parameter_under_two_names_of_one_module_is_yielded_once():
    net = Scale()
    net.same = net.weight
    assert names(net.named_parameters()) == ["weight"]
    assert sorted(net.state_dict()) == ["calls", "same", "weight"]


def test_named_buffers_and_ordinary_tensors():
    assert names(Scale().named_buffers()) == ["calls", "cache"]
    assert [buffer.shape for buffer in Scale().buffers()] == [(), (3,)]
    assert len(list(Net().buffers())) == 6


def test_named_modules_parents_first():
    net = Net()
    assert names(net.named_modules()) == ["", "first", "layers", "layers.0", "layers.1", "layers.1.0"]
    assert names(net.named_modules(remove_duplicate=False))[-1] == "again"
    assert next(net.modules()) is net
    assert names(net.named_children()) == ["first", "layers"]
    assert list(net.children()) == [net.first, net.layers]


def test_get_submodule():
    net = Net()
    assert net.get_submodule("") is net
    assert net.get_submodule("layers.1.0") is next(net.layers[1].children())
    with pytest.raises(AttributeError, match=r"'layrs.1'.*Net has no module 'layrs'; did you mean layers\?"):
        net.get_submodule("layrs.1")
    with pytest.raises(AttributeError, match="Scale has no module 'weight'"):
        net.get_submodule("first.weight")


# Attributes


def test_assignment_before_init_is_refused():
    class Forgetful(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])

    with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'weight'"):
        Forgetful()


@pytest.mark.parametrize("value", [np.ones(3), Tensor([1.0]), 3])
def test_a_parameter_is_not_replaced_by_something_else(value):
    module = Scale()
    with pytest.raises(TypeError, match=r"Scale.weight is a Parameter: assign a Parameter\(...\), .*\.data"):
        module.weight = value
    assert names(module.named_parameters()) == ["weight"]


def test_a_parameter_is_replaced_removed_and_brought_back():
    module = Scale()
    new = module.weight = nn.Parameter([5.0])
    assert list(module.parameters()) == [new]
    module.weight = None
    assert list(module.parameters()) == []
    module.weight = new
    assert list(module.parameters()) == [new]
    del module.weight
    assert not hasattr(module, "weight")
    assert list(module.parameters()) == []


@pytest.mark.parametrize(
    "value", [np.zeros(3), nn.Parameter([1.0]), nn.Parameter([1.0], requires_grad=False), Tensor([1.0], True) * 2]
)
def test_a_buffer_is_replaced_by_a_tensor_off_the_tape_only(value):
    module = Scale()
    with pytest.raises(TypeError, match=r"Scale\.cache is a buffer: assign a Tensor that wants no gradient"):
        module.cache = value
    module.cache = new = Tensor([4.0])
    assert dict(module.named_buffers())["cache"] is new
    module.cache = None
    assert names(module.named_buffers()) == ["calls"]


def test_a_deleted_buffer_is_forgotten():
    module = Scale()
    del module.calls
    module.calls = 3
    assert names(module.named_buffers()) == ["cache"]
    assert list(module.state_dict()) == ["weight"]


def test_a_module_is_replaced_by_a_module_only():
    net: Any = Net()
    with pytest.raises(TypeError, match=r"Net\.first is a Module: assign a Module, or None; got function"):
        net.first = lambda x: x
    net.first = nn.Identity()
    assert isinstance(net.get_submodule("first"), nn.Identity)


@pytest.mark.parametrize(
    ("name", "tensor", "error", "words"),
    [
        ("mean", np.zeros(3), TypeError, "Scale.mean is a buffer: .* got ndarray"),
        ("mean", nn.Parameter([1.0]), TypeError, "Scale.mean is a buffer: .* got Parameter"),
        ("mean", Tensor([1.0], requires_grad=True), TypeError, "wants no gradient"),
        ("weight", Tensor([1.0]), ValueError, "'weight' is an attribute already"),
        ("a.b", Tensor([1.0]), ValueError, "without dots"),
        ("", Tensor([1.0]), ValueError, "not empty"),
        ("train", Tensor([1.0]), ValueError, "one of its methods"),
    ],
)
def test_bad_buffers_are_refused_and_leave_no_trace(name, tensor, error, words):
    module = Scale()
    with pytest.raises(error, match=words):
        module.register_buffer(name, tensor)
    assert names(module.named_buffers()) == ["calls", "cache"]
    assert names(module.named_parameters()) == ["weight"]


def test_a_buffer_registered_as_none_can_come_later():
    module = nn.Module()
    module.register_buffer("mean", None)
    assert module.mean is None
    assert module.state_dict() == {}
    module.mean = Tensor([1.0])
    assert list(module.state_dict()) == ["mean"]


@pytest.mark.parametrize("value", [nn.Parameter([1.0]), nn.Identity()])
@pytest.mark.parametrize(("name", "words"), [("a.b", "without dots"), ("eval", "one of its methods")])
def test_names_that_would_hide_something_are_refused(value, name, words):
    with pytest.raises(ValueError, match=words):
        setattr(nn.Module(), name, value)


def test_a_module_cannot_contain_itself():
    outer, inner = nn.Module(), nn.Module()
    outer.inner = nn.Sequential(inner)
    with pytest.raises(ValueError, match=r"Module\.outer: a module cannot contain itself"):
        inner.outer = outer
    with pytest.raises(ValueError, match="cannot contain itself"):
        inner.me = inner
    fresh = nn.Module()
    with pytest.raises(ValueError, match="cannot contain itself"):
        fresh.me = fresh
    assert names(outer.named_modules()) == ["", "inner", "inner.0"]


def test_a_parameter_wants_a_gradient_and_is_floating():
    assert nn.Parameter([1.0]).requires_grad
    assert nn.Parameter([1.0], dtype=np.float64).dtype == np.float64
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="float"):
        nn.Parameter(np.array([1, 2]))


# Changing all at once


def test_train_and_eval_reach_everything_and_return_the_module():
    net = Net()
    one: Any = 1
    assert net.training
    assert net.eval() is net
    assert [module.training for module in net.modules()] == [False] * 6
    assert net.train() is net
    assert all(module.training for module in net.modules())
    with pytest.raises(TypeError, match="True or False, got 1"):
        net.train(one)


def test_a_module_with_a_train_of_its_own_decides_for_what_is_inside():
    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Identity())

        def train(self, mode=True):
            return super().train(False)

    net = nn.Sequential(Frozen(), nn.Identity()).train()
    modes = {name: module.training for name, module in net.named_modules()}
    assert modes == {"": True, "0": False, "0.inner": False, "0.inner.0": False, "1": True}


def test_apply_takes_children_before_parents_and_each_once():
    net = Net()
    order: list[nn.Module] = []
    assert net.apply(order.append) is net
    paths = {module: path for path, module in net.named_modules()}
    assert [paths[module] for module in order] == ["first", "layers.0", "layers.1.0", "layers.1", "layers", ""]


def test_requires_grad_and_zero_grad():
    net = Net()
    net(Tensor([1.0, 2, 3])).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())
    assert net.requires_grad_(False) is net
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert net.requires_grad_().shift.requires_grad


def test_astype_converts_floats_and_gradients_in_place():
    net = Net()
    kept = list(net.parameters())
    net(Tensor([1.0, 2, 3])).sum().backward()
    assert net.astype(np.float64) is net
    assert [id(parameter) for parameter in net.parameters()] == [id(parameter) for parameter in kept]
    assert {parameter.dtype for parameter in kept} == {parameter.grad.dtype for parameter in kept} == {np.dtype("f8")}
    assert [buffer.dtype.name for buffer in net.first.buffers()] == ["int64", "float64"]
    np.testing.assert_array_equal(net.first.weight.data, [2, 2, 2])
    assert net(Tensor([1.0, 2, 3], dtype=np.float64)).dtype == np.float64
    assert net.astype("float32").shift.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int64, "float16", None, "nonsense", complex])
def test_astype_refuses_other_dtypes(dtype):
    net = Net()
    with pytest.raises(TypeError, match="dtype is float32 or float64, got"):
        net.astype(dtype)
    assert net.shift.dtype == np.float32


def test_float_dtype():
    assert float_dtype(None) == np.float32
    assert float_dtype(float) == np.float64
    with pytest.raises(TypeError, match="float32 or float64, got int8"):
        float_dtype("int8")


def test_a_deep_copy_shares_nothing():
    net = Net()
    clone = copy.deepcopy(net)
    clone.first.weight.data[:] = 7
    clone.eval()
    np.testing.assert_array_equal(net.first.weight.data, [2, 2, 2])
    assert net.training
    assert clone.again is clone.first
    assert list(clone.state_dict()) == list(net.state_dict())
    assert scopes(clone) == scopes(net)


# Reading


def test_repr_is_nested():
    assert repr(nn.Sequential(nn.Identity(), nn.Sequential(Scale()), nn.ModuleList())) == (
        "Sequential(\n  (0): Identity()\n  (1): Sequential(\n    (0): Scale(size=3)\n  )\n  (2): ModuleList()\n)"
    )


def test_repr_of_a_module_with_both_arguments_and_modules():
    module = Scale()
    module.inner = nn.Identity()
    assert repr(module) == "Scale(\n  size=3\n  (inner): Identity()\n)"


def test_nesting_deeper_than_the_recursion_limit():
    model = nn.Sequential(Scale())
    for _ in range(1200):
        model = nn.Sequential(model)
    assert sum(1 for _ in model.modules()) == 1202
    assert not any(module.training for module in model.eval().modules())
    assert model.astype(np.float64).apply(lambda module: None) is model
    state = model.state_dict()
    assert list(state) == ["0." * 1201 + "weight", "0." * 1201 + "calls"]
    model.load_state_dict(state)
    assert repr(model).count("Sequential") == 1201
    assert model.summary().count("Sequential") == 1201
    assert isinstance(model.get_submodule("0." * 1200 + "0"), Scale)


def test_zero_grad_can_leave_zeros(rng):
    net = nn.Linear(3, 2)
    net.zero_grad(set_to_none=False)
    assert net.weight.grad is None
    net(rng.normal(size=(4, 3)).astype(np.float32)).sum().backward()
    net.bias.grad = None
    net.zero_grad(set_to_none=False)
    gradient: Any = net.weight.grad
    np.testing.assert_array_equal(gradient.numpy(), np.zeros((2, 3), np.float32))
    assert net.bias.grad is None


def test_modules_and_parameters_can_be_assigned_by_a_name_of_any_kind():
    net, child, parameter = nn.Module(), nn.Linear(1, 1), nn.Parameter([1.0])
    net.add_module("0", child)
    net.register_parameter("scale-1", parameter)
    net.add_module("later", None)
    net.register_parameter("never", None)
    assert net.later is None
    assert net.never is None
    assert [*net.named_children()] == [("0", child)]
    assert [name for name, _ in net.named_parameters()] == ["scale-1", "0.weight", "0.bias"]


def test_what_is_no_module_or_parameter_is_not_assigned_as_one():
    net: Any = nn.Module()
    with pytest.raises(TypeError, match=r"Module\.x is a Module: assign a Module, or None; got Parameter"):
        net.add_module("x", nn.Parameter([1.0]))
    with pytest.raises(TypeError, match=r"Module\.x is a Parameter: assign a Parameter.* got Tensor"):
        net.register_parameter("x", Tensor([1.0]))
    for register in (net.add_module, net.register_parameter):
        with pytest.raises(ValueError, match="without dots"):
            register("a.b", None)


def test_an_unknown_keyword_is_answered_with_the_one_that_was_meant():
    layer: Any = nn.Linear
    with pytest.raises(TypeError, match=r"Linear has no option 'bais' .*; did you mean bias\?"):
        layer(3, 2, bais=False)


def test_values_beyond_the_dtype_are_not_converted():
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1D(1)).astype("float64")
    for spoil, part in (
        (lambda: model[0].weight.data.fill(-1e39), r"0\.weight holds -1e\+39"),
        (lambda: model[1].running_var.data.fill(1e39), r"1\.running_var holds 1e\+39"),
        (lambda: setattr(model[0].bias, "grad", Tensor(np.array([2e39]))), r"the gradient of 0\.bias holds 2e\+39"),
    ):
        model.load_state_dict({name: np.ones_like(array) for name, array in model.state_dict().items()})
        spoil()
        with pytest.raises(ValueError, match=rf"astype: {part}, which is beyond float32"):
            model.astype("float32")
        assert {tensor.dtype for tensor in model.parameters()} == {np.dtype("float64")}


def test_what_is_inside_can_be_left_out_for_buffers_as_for_parameters():
    net = Net()
    net.register_buffer("total", Tensor([1.0]))
    assert [*net.buffers(recurse=False)] == [net.total]
    assert [*net.parameters(recurse=False)] == [net.shift]
    assert names(net.named_buffers("net", recurse=False)) == ["net.total"]
    repeated = names(net.named_buffers(remove_duplicate=False))
    assert repeated.count("first.calls") == repeated.count("again.calls") == 1
    assert names(net.named_modules("net"))[:2] == ["net", "net.first"]
    assert "again" not in names(net.named_modules())
    assert "again" in names(net.named_modules(remove_duplicate=False))


def test_a_state_is_loaded_as_a_whole_unless_told_otherwise():
    net = Net()
    part = {"shift": np.ones(3, np.float32), "other": np.zeros(1)}
    with pytest.raises(ValueError, match=r"first\.weight"):
        net.load_state_dict(part)
    assert net.shift.tolist() == [0, 0, 0]
    missing, unexpected = net.load_state_dict(part, strict=False)
    assert "first.weight" in missing
    assert unexpected == ["other"]
    assert net.shift.tolist() == [1, 1, 1]


def test_a_shallow_copy_shares_what_is_inside_but_no_hooks():
    net = nn.BatchNorm2D(3)
    clone = copy.copy(net)
    assert clone.weight is net.weight
    assert clone.running_mean is net.running_mean
    clone.register_forward_hook(lambda *_: None)
    assert clone.has_hooks
    assert not net.has_hooks
    clone.register_buffer("more", None)
    assert [*net.state_dict()] == [*clone.state_dict()]
    assert "more" not in vars(net)


def test_children_are_shared_once_or_each_time():
    inside = nn.Identity()
    net = nn.Sequential(inside, inside)
    assert [name for name, _ in net.named_children()] == ["0"]
    assert [name for name, _ in net.named_children(remove_duplicate=False)] == ["0", "1"]
