"""The one table of examples: every norm layer is in it, in sizes that whoever asks chooses."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.certificate.norm_examples import NORMS, NormExample, make_norm, norm_layers
from tinygrad_norm.nn import norms

pytestmark = pytest.mark.usefixtures("plain_numpy")

SIZES = {"N": 5, "C": 6, "L": 4, "D": 1, "H": 2, "W": 3, "K": 7}
EVERY = [pytest.param(name, each, id=f"{name} {i}") for name, all in NORMS.items() for i, each in enumerate(all)]


def test_every_norm_of_the_literature_is_listed():
    """A norm layer that names no definition would be in no list, and no command would know it."""
    layers = {name for name in norms.__all__ if issubclass(getattr(norms, name), nn.Module)}
    assert {*norms.__all__} - layers == {"Ramp"}
    assert layers <= norm_layers().keys()
    others = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name)) and "Norm" in name}
    assert others <= norm_layers().keys()
    assert NORMS.keys() == norm_layers().keys()


@pytest.mark.parametrize("layer", norm_layers())
def test_a_definition_is_a_function_with_its_formula(layer):
    kind = norm_layers()[layer]
    assert callable(kind.definition)
    assert kind.definition.__doc__
    assert isinstance(kind.underivable, str)


@pytest.mark.parametrize(("name", "example"), EVERY)
def test_an_example_runs_in_any_sizes(name, example, rng):
    for sizes in (SIZES, {letter: n + 2 - (letter == "W") for letter, n in SIZES.items()}):
        inputs = example.draw(sizes, rng, np.float32)
        assert inputs[0].dtype == np.float32
        y = make_norm(name, example, sizes)(*inputs)
        assert y.shape == inputs[0].shape == tuple(sizes[axis] for axis in example.axes)
        assert np.isfinite(y.raw).all()


@pytest.mark.parametrize(("name", "example"), [each for each in EVERY if each.values[1].given])
def test_what_else_a_norm_is_given_counts(name, example, rng):
    layer = make_norm(name, example, SIZES)
    for parameter in layer.parameters():
        parameter.raw = rng.normal(size=parameter.shape).astype(parameter.dtype)
    x, other = example.draw(SIZES, rng, np.float32)
    if other.dtype == bool:
        changed = ~other
        changed[..., :1] = True  # so that there is something to normalize by
    else:
        changed = (other + 1) % 7 if other.dtype.kind == "i" else 2 * other
    assert np.abs(layer(x, other).raw - layer(x, changed).raw).max() > 1e-3


def test_letters_are_sizes_and_options_may_be_others():
    example = NormExample("NCHW", (2, "C"), {"eps": 0.5})
    assert example.made_with(SIZES) == (2, 6)
    assert make_norm("GroupNorm", example, SIZES).eps == 0.5
    layer = make_norm("GroupNorm", example, SIZES | {"C": 8}, eps=0.25, activation="relu")
    assert (layer.num_channels, layer.eps, layer.activation) == (8, 0.25, "relu")


def test_inputs_are_drawn_as_they_are_told(rng):
    draw = {kind: NormExample("NCL", given=kind).draw(SIZES, rng)[1] for kind in ("floats NK", "labels N", "mask NL")}
    assert [each.shape for each in draw.values()] == [(5, 7), (5,), (5, 4)]
    assert [each.dtype.kind for each in draw.values()] == ["f", "i", "b"]
    assert draw["labels N"].max() < 7
    assert draw["mask NL"][:, 0].all()
    assert not draw["mask NL"].all()
