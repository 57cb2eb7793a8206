from __future__ import annotations

import inspect
from dataclasses import InitVar

import pytest

from tinygrad_norm import nn
from tinygrad_norm.nn.dataclass_module import DataclassModule


class Scaled(DataclassModule):
    layer: nn.Module
    factor: float = 2.0

    def forward(self, x):
        return self.layer(x) * self.factor


class ScaledTwice(Scaled):
    times: int = 2

    def __post_init__(self):
        self.factor = self.factor**self.times


class Halved(Scaled):
    def __init__(self):
        super().__init__(nn.Identity(), 0.5)
        self.last = nn.Identity()


def test_annotated_attributes_are_the_arguments_of_the_constructor():
    assert str(inspect.signature(Scaled)) == "(layer: 'nn.Module', factor: 'float' = 2.0) -> None"
    assert [*inspect.signature(ScaledTwice).parameters] == ["layer", "factor", "times"]


def test_an_argument_that_is_a_module_is_one_of_its_modules():
    module = Scaled(nn.Linear(2, 3))
    assert [path for path, _ in module.named_parameters()] == ["layer.weight", "layer.bias"]


def test_post_init_goes_on_from_the_arguments():
    assert ScaledTwice(nn.Identity(), 3.0)(1.0) == 9


def test_a_constructor_of_its_own_is_left_alone():
    module = Halved()
    assert module(1.0) == 0.5
    assert [name for name, _ in module.named_children()] == ["layer", "last"]


def test_a_class_derived_from_one_with_a_constructor_of_its_own_inherits_it():
    class Quartered(Halved):
        more: int = 3

        def forward(self, x):
            return super().forward(x) / 2

    assert Quartered()(1.0) == 0.25
    assert [*inspect.signature(Quartered).parameters] == []


def test_a_layer_derived_from_is_made_as_it_was():
    class Same(nn.Linear):
        def __init__(self, features):
            super().__init__(features, features, bias=False)

    class Still(Same):
        """Nothing more."""

    layer = Still(3)
    assert layer.weight.shape == (3, 3)
    assert layer.bias is None
    assert repr(layer) == "Still(in_features=3, out_features=3, bias=False)"


def test_an_unknown_argument_is_told_with_what_was_meant():
    with pytest.raises(TypeError, match=r"Scaled has no option 'factr' .*; did you mean factor\?"):
        Scaled(nn.Identity(), factr=1.0)


def test_two_modules_are_equal_if_they_are_one():
    first, second = Scaled(nn.Identity()), Scaled(nn.Identity())
    assert first == first
    assert first != second
    assert len({first, second}) == 2


@pytest.mark.parametrize("base", [nn.BatchNorm2D, nn.LayerNorm, nn.Linear])
def test_an_argument_that_becomes_an_attribute_is_refused(base):
    """Its value would be lost: the attribute `bias` is the parameter that the argument `bias` asks for."""
    words = r"^Mine: bias is an argument and no attribute, annotated as InitVar\[bool\], got bool$"
    with pytest.raises(TypeError, match=words):
        type("Mine", (base,), {"__annotations__": {"bias": bool}})


@pytest.mark.parametrize("annotation", ["InitVar[bool]", InitVar[bool]], ids=["text", "object"])
def test_an_argument_may_get_another_default(annotation):
    unbiased = type("Unbiased", (nn.LayerNorm,), {"__annotations__": {"bias": annotation}, "bias": False})
    assert unbiased(3).bias is None
    assert unbiased(3, bias=True).bias.shape == (3,)
    assert not hasattr(unbiased, "bias")
