"""Calling a module: hooks, keyword arguments, and the path that its ops are told."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from tests.nn.modules import Net, Scale, scopes
from tinygrad_norm import Tensor, nn


def test_hooks_see_and_change_arguments_and_output():
    module = Scale()
    seen: list[Any] = []

    def before(owner, args):
        seen.append((owner, args[0].numpy().tolist()))
        return args[0] + 1

    def after(owner, args, output):
        seen.append((owner, args[0].numpy().tolist(), output.numpy().tolist()))
        return output * 10

    first, second = module.register_forward_pre_hook(before), module.register_forward_hook(after)
    assert module(Tensor([0.0, 1, 2])).numpy().tolist() == [20, 40, 60]
    assert seen == [(module, [0, 1, 2]), (module, [1, 2, 3], [2, 4, 6])]
    first.remove()
    first.remove()
    assert module(Tensor([0.0, 1, 2])).numpy().tolist() == [0, 20, 40]
    second.remove()
    assert module(Tensor([0.0, 1, 2])).numpy().tolist() == [0, 2, 4]


def test_hooks_run_in_order_and_may_return_nothing_or_a_tuple():
    module, seen = Scale(), []
    module.register_forward_pre_hook(lambda *_: seen.append("a"))
    module.register_forward_pre_hook(lambda _, args: (args[0] * 0,))
    module.register_forward_hook(lambda *_: seen.append("b"))
    assert module(Tensor([1.0, 1, 1])).numpy().tolist() == [0, 0, 0]
    assert seen == ["a", "b"]


def test_a_hook_may_remove_itself_and_a_with_block_ends_one():
    module, seen = Scale(), []

    def once(*_):
        seen.append(1)
        handle.remove()

    handle = module.register_forward_hook(once)
    with module.register_forward_hook(lambda *_: seen.append(2)):
        module(Tensor([1.0, 1, 1]))
        module(Tensor([1.0, 1, 1]))
    module(Tensor([1.0, 1, 1]))
    assert seen == [1, 2, 2]


def test_a_hook_is_callable():
    number: Any = 3
    with pytest.raises(TypeError, match="a hook is callable, got int"):
        Scale().register_forward_hook(number)


def test_keyword_arguments_reach_forward():
    class Add(nn.Module):
        def forward(self, x, other=0):
            return x + other

    assert Add()(1, other=2) == 3


def test_a_module_without_forward_says_so():
    with pytest.raises(TypeError, match=r"ModuleList has no forward\(\)"):
        nn.ModuleList()(1)


def test_ops_know_the_path_of_their_module():
    # the first module was given the name "again" last
    assert scopes(Net()) == ["again", "layers.0", "layers.1.0", "again", ""]


def test_a_scope_ends_when_forward_fails_and_hooks_run_outside_of_it():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    net = nn.Sequential(Broken())
    with pytest.raises(RuntimeError, match="broken"):
        net(1)
    assert scopes(Scale()) == [""]
    inner = Scale()
    inner.register_forward_hook(lambda _module, _args, output: output + 1)
    assert scopes(nn.Sequential(inner)) == ["0", ""]


def test_a_list_named_late_passes_its_name_on():
    inner = nn.ModuleList([Scale()])
    outer = nn.ModuleList([inner])

    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = outer
            self.blocks[0].append(Scale())

        def forward(self, x):
            for layer in self.blocks[0].children():
                x = layer(x)
            return x

    assert scopes(Owner()) == ["blocks.0.0", "blocks.0.1"]


def test_nothing_is_left_for_the_garbage_collector():
    gc.collect()
    model = nn.Sequential(Scale(), nn.ModuleList([Scale()]))
    model[0].register_forward_hook(lambda *_: None).remove()
    model[0](Tensor([1.0, 2, 3])).sum().backward()
    model.state_dict()
    del model
    assert gc.collect() == 0
