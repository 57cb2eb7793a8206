"""Cases: what is called with what, and that a call leaves a module as it was."""

from __future__ import annotations

import numpy as np
import pytest

from tests.derivation.agreement import norms
from tinygrad_norm import Tensor, derive, nn, ops
from tinygrad_norm.certificate.case import Case, ResultError, case_of_module, is_differentiated
from tinygrad_norm.certificate.memory_layouts import in_fortran_order
from tinygrad_norm.ops.elementwise import Exp, Multiply
from tinygrad_norm.ops.normalization import LayerNorm
from tinygrad_norm.testing import GradientError, gradcheck


def test_floats_in_float64_are_differentiated_and_nothing_else():
    given = (np.ones((2, 3)), np.ones(3, np.float32), np.array([1, 2]), 2.0, None)
    assert [is_differentiated(each) for each in given] == [True, False, False, False, False]
    leaves = Case("", ops.add, given).leaves()
    assert leaves[0].requires_grad
    assert all(leaf is each for leaf, each in zip(leaves[1:], given[1:], strict=True))


def test_leaves_are_new_and_have_the_dtype_and_the_layout_that_are_asked_for(rng):
    x = rng.normal(size=(2, 3))
    case = Case("", ops.exp, (x,))
    (leaf,), (other,) = case.leaves(), case.leaves("float32", in_fortran_order)
    leaf.raw[...] = 0
    np.testing.assert_array_equal(other.raw, x.astype(np.float32))
    assert other.dtype == np.float32
    assert other.raw.flags.f_contiguous
    assert not other.raw.flags.c_contiguous


def test_what_is_random_is_the_same_in_every_call():
    case = Case("", lambda x: ops.dropout(x, 0.5), (np.ones((8, 8)),))
    np.testing.assert_array_equal(case.call(*case.leaves()).raw, case.call(*case.leaves()).raw)


def test_anything_but_one_tensor_is_refused_by_its_type():
    for result, name in (((), "tuple"), (1.0, "float"), (np.ones(2), "ndarray")):
        case = Case("", lambda x, result=result: result, (np.ones(2),))
        with pytest.raises(ResultError, match=f"^{name}$"):
            case.call(*case.leaves())


def test_the_size_is_the_shape_of_the_first_input():
    sizes = [Case("", ops.add, (given, np.ones(7))).size for given in (np.ones((3, 1, 4)), np.ones(2), np.array(0.5))]
    assert sizes == ["3×1×4", "2", "a number"]


def test_the_ops_are_those_that_pass_on_a_gradient_and_where_some_are_fused_these():
    constant, x = Tensor(np.ones((2, 3))), np.ones((2, 3))
    plain = Case("", lambda x: (x * constant.sin()).exp() * 2.0, (x,))
    assert plain.ops() == [Multiply, Exp]
    assert not plain.is_fused
    fused = Case("", lambda x: ops.layer_norm(x * 2.0, 3).exp(), (x,))
    assert fused.ops() == [LayerNorm]
    assert fused.is_fused


def test_a_module_is_a_function_of_its_inputs_and_parameters(rng):
    layer = nn.Linear(3, 2)
    case = case_of_module("name", layer, [rng.normal(size=(4, 3))], rng)
    x, weight, bias = case.inputs
    assert (case.name, weight.shape, bias.shape) == ("name", (2, 3), (2,))
    np.testing.assert_allclose(case.call(*case.leaves()).raw, x @ weight.T + bias)
    np.testing.assert_allclose(case.call(x, Tensor(2 * weight), Tensor(0 * bias)).raw, 2 * x @ weight.T)


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_random_and_tell_inference_from_training(training, rng):
    layer = nn.BatchNorm1D(64)
    case = case_of_module("", layer, [rng.normal(3, 1, (9, 64))], rng, training)
    assert layer.training == training
    mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
    assert (mean.dtype, var.dtype) == (np.float64, np.float64)
    assert (var.min() > 0.5, var.max() < 2, var.std() > 0.3, mean.std() > 0.5) == (True, True, True, True)
    x, weight, bias = case.inputs
    centre, width = (x.mean(0), x.var(0)) if training else (mean, var)
    expected = (x - centre) / np.sqrt(width + layer.eps) * weight + bias
    np.testing.assert_allclose(case.call(*case.leaves()).raw, expected, rtol=1e-9, atol=1e-9)


def test_a_call_of_a_case_leaves_parameters_and_buffers_in_place():
    layer = nn.BatchNorm1D(3)
    parameters = list(layer.parameters())
    case = case_of_module("", layer, [np.ones((2, 3)) * [[1], [2]]], np.random.default_rng(0))
    before = layer.state_dict()
    case.call(*case.leaves())
    assert all(one is other for one, other in zip(layer.parameters(), parameters, strict=True))
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_what_a_norm_takes_for_constant_is_held_for_other_inputs(rng):
    """x̂ r + d of Batch Renorm, whose r and d are those of the case's x wherever differences look."""
    norm = derive(norms["batch_renorm"])
    x, mean, var = rng.normal(size=(5, 3)), rng.normal(size=3), rng.uniform(0.5, 2, 3)

    def function(x):
        running = (each.astype(x.dtype) for each in (mean, var))
        return norm(x, *running, axes=0, eps=0.1, r_max=1.5, d_max=0.7)[0]

    case = Case("", function, (x,))
    assert [each.shape for each in case.held] == [(1, 3), (1, 3)]
    assert case.call(*case.leaves()).creator.name == "batch_renorm"
    single = case.call(*case.leaves("float32"))
    assert (single.creator.name, single.dtype) == ("batch_renorm", np.float32)
    other = rng.normal(size=(5, 3))
    r, d = case.held
    expected = (other - other.mean(axis=0)) / np.sqrt(other.var(axis=0) + 0.1) * r + d
    np.testing.assert_allclose(case.call(Tensor(other)).raw, expected, rtol=1e-12)
    gradcheck(case.call, case.leaves(), order=2)
    with pytest.raises(GradientError):
        gradcheck(case.function, case.leaves())


def test_nothing_is_held_where_no_norm_says_so(rng):
    x = rng.normal(size=(5, 3))
    for function in (lambda x: ops.stop_gradient(x) * x, lambda x: ops.cross_entropy(x, np.array([0, 1, 2, 0, 1]))):
        case = Case("", function, (x,))
        assert case.held == []
        np.testing.assert_array_equal(case.call(Tensor(2 * x)).raw, function(Tensor(2 * x)).raw)
