"""What is certified by name: every layer, every op, and each norm in every mode and form that it has."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from tinygrad_norm import Tensor, grad, nn, ops
from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.case import is_differentiated
from tinygrad_norm.certificate.catalog import (
    LAYERS,
    NO_GRADIENT,
    NORM_SHAPES,
    OPS,
    draw_inputs,
    layer_cases,
    layer_names,
    op_cases,
)
from tinygrad_norm.certificate.comparisons import EXACT, ROWS
from tinygrad_norm.definitions import ACTIVATIONS


@pytest.fixture
def few_activations(monkeypatch):
    """One activation instead of eleven, which take seconds."""
    monkeypatch.setattr("tinygrad_norm.certificate.catalog.ACTIVATION_LAYERS", ["silu"])


def test_every_layer_and_every_op_has_its_cases():
    layers = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert layers == {*layer_names(), "Module", "ModuleList", "Parameter", "Ramp", "Sequential"}
    functions = {name for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert functions == {*OPS, *NO_GRADIENT, "from_numpy_function", "from_numpy_ufunc"}
    assert not OPS.keys() & NO_GRADIENT


@pytest.mark.parametrize("name", NORM_SHAPES)
def test_norms_pass_in_every_mode(name, few_activations):
    certificate = certify(name)
    assert certificate.ok, str(certificate)
    assert [check.name for check in certificate.checks] == [row for row in ROWS if row not in EXACT]
    assert certificate.larger
    modes = {case.partition(",")[0] for case in certificate.cases}
    assert ({"training", "inference"} <= modes) == (name.startswith(("Batch", "Instance")))
    assert {"silu", "no weight"} <= {case.rpartition(", ")[2] for case in certificate.cases}
    changes = {mutant.change for mutant in certificate.mutants}
    assert {"dx without the variance term", "dx without the weight", "gradient 0 times 1.01"} <= changes
    assert ("dx without the mean term" in changes) == (not name.startswith("RMS"))
    inference = {mutant.change for mutant in certificate.mutants if mutant.case.startswith("inference")}
    assert ("dx by the training formula" in inference) == ("inference" in modes)


def test_random_layers_have_both_modes():
    assert [case.split(",")[0] for case in certify("Dropout").cases] == ["training", "inference"]
    assert certify("ReLU").cases == [""]


def test_a_norm_is_certified_small_with_each_activation_and_larger_with_two(rng):
    cases = {case.name: case for case in layer_cases("LayerNorm", rng)}
    forms = ["weight and bias", "no bias", "no weight", *ACTIVATIONS]
    larger = [f"{form}, larger" for form in ("weight and bias", "relu", "silu")]
    assert cases.keys() == {*forms, *larger}
    assert [name for name, case in cases.items() if case.larger] == larger
    assert [name for name, case in cases.items() if case.mutated] == [*forms[:3], "silu"]
    assert min(cases[name].inputs[0].size for name in larger) > 2**17 > 100 > cases["relu"].inputs[0].size


@pytest.mark.parametrize("name", ["Linear", "Conv2D"])
def test_a_layer_that_fuses_an_activation_is_certified_with_each(name):
    found = [example.options.get("activation") for example in LAYERS[name]]
    assert {activation for activation in found if activation} == set(ACTIVATIONS)
    assert None in found


def test_inputs_in_float64_are_those_of_which_a_gradient_is_asked(rng):
    constants = {name for name, array in draw_inputs(rng).items() if not is_differentiated(array)}
    assert constants == {"mean", "var", "mask", "indices", "labels", "fixed", "fixed_chances"}


def test_the_cases_of_an_op_differ_by_their_inputs(rng):
    row, plain = op_cases("divide", rng)[1], op_cases("tanh", rng)
    assert (row.name, [array.shape for array in row.inputs]) == ("x row", [(3, 4), (4,)])
    np.testing.assert_array_equal(row.call(*row.leaves()).raw, row.inputs[0] / row.inputs[1])
    assert [case.name for case in plain] == [""]


@pytest.mark.parametrize("name", sorted(NO_GRADIENT - {"arange", "ones"}))
def test_what_is_said_to_have_no_gradient_has_none_or_0(name, rng):
    op = getattr(ops, name)
    parameters = inspect.signature(op).parameters.values()
    count = sum(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters)
    x = Tensor(rng.normal(0, 2, (3, 4)), requires_grad=True)
    y = op(*[x] * count)
    assert not y.requires_grad or not grad(y, x, np.ones(y.shape), allow_unused=True)[0].raw.any()
