"""Certificates: right gradients pass, wrong ones fail in the row that they belong in, and no mutant survives."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import FusedOp, Op, Tensor, nn, ops, random
from tinygrad_norm.certificate import certification, certify
from tinygrad_norm.certificate.case import case_of_module
from tinygrad_norm.certificate.catalog import NO_GRADIENT, NORM_EXAMPLES, OPS, layer_names
from tinygrad_norm.certificate.comparisons import (
    CONSTANT,
    DIFFERENCES,
    FIRST,
    FLOAT32,
    LARGE_MEAN,
    LARGER,
    OTHER_LAYOUTS,
    REPEATED,
    ROWS,
    SECOND,
    SOME,
    VALUE,
)
from tinygrad_norm.certificate.mutations import mutants_of, mutated
from tinygrad_norm.ops.normalization import BatchNorm, InferenceNorm, LayerNorm, RMSNorm


def failed(certificate):
    return {check.name for check in certificate.checks if not check.ok}


@pytest.fixture
def few_activations(monkeypatch):
    """One activation instead of eleven, which take seconds."""
    monkeypatch.setattr("tinygrad_norm.certificate.catalog.ACTIVATION_LAYERS", ["silu"])


# What is certified by name


def test_every_layer_and_every_op_has_its_cases():
    layers = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert layers == {*layer_names(), "Module", "ModuleList", "Parameter", "Sequential"}
    functions = {name for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert functions == {*OPS, *NO_GRADIENT, "from_numpy_function", "from_numpy_ufunc"}
    assert not OPS.keys() & NO_GRADIENT


@pytest.mark.parametrize("name", NORM_EXAMPLES)
def test_norms_pass_in_every_mode(name, few_activations):
    certificate = certify(name)
    assert certificate.ok, str(certificate)
    assert [check.name for check in certificate.checks] == list(ROWS)
    assert certificate.larger
    modes = {case.partition(",")[0] for case in certificate.cases}
    assert ({"training", "inference"} <= modes) == (name.startswith(("Batch", "Instance")))
    assert {"silu", "no weight"} <= {case.rpartition(", ")[2] for case in certificate.cases}
    changes = {mutant.change for mutant in certificate.mutants}
    assert {"dx without the variance term", "dx without the weight", "gradient 0 times 1.01"} <= changes
    assert ("dx without the mean term" in changes) == (not name.startswith("RMS"))
    inference = {mutant.change for mutant in certificate.mutants if mutant.case.startswith("inference")}
    assert ("dx by the training formula" in inference) == ("inference" in modes)


def test_ops_and_layers_without_a_fused_op_pass_with_the_rows_that_they_have():
    for name in ("Softmax", "Dropout", "var", "where", "NLLLoss"):
        certificate = certify(name)
        assert certificate.ok, str(certificate)
        rows = [*DIFFERENCES, LARGER, OTHER_LAYOUTS, SOME, REPEATED, FLOAT32]
        assert [check.name for check in certificate.checks] == [row for row in rows if name == "where" or row != SOME]
        assert certificate.mutants
    assert certify("Identity").ok


def test_random_layers_have_both_modes():
    assert [case.split(",")[0] for case in certify("Dropout").cases] == ["training", "inference"]
    assert certify("ReLU").cases == [""]


# Wrong ops, and the rows they fail in


class Cube(FusedOp):
    def composed(self, x: Tensor) -> Tensor:
        return x * x * x

    def forward(self, x: Any) -> Any:
        return x * x * x

    def gradient(self, grad: Any, x: Any) -> Any:
        return (grad * 3 * x * x,)


class WrongValue(Cube):
    def forward(self, x: Any) -> Any:
        return x * x * x * (1 + 1e-7)


class WrongGradient(Cube):
    def gradient(self, grad: Any, x: Any) -> Any:
        return (grad * 2.9 * x * x,)


class WrongSecond(Cube):
    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved
        return (grad * 3 * x * x.detach(),)


class WrongComposition(Cube):
    def composed(self, x: Tensor) -> Tensor:
        return x * x * x + x


class Coarse(Cube):
    """As if some of it were in half precision, when it is in single."""

    def forward(self, x: Any) -> Any:
        return (x.astype(np.float16) ** 3).astype(x.dtype) if x.dtype == np.float32 else x**3


class Widening(Cube):
    sets_dtype = True

    def forward(self, x: Any) -> Any:
        return x.astype(np.float64) ** 3


class Raising(Cube):
    def gradient(self, grad: Any, x: Any) -> Any:
        return grad * x, grad


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (WrongValue, {VALUE}),
        (WrongGradient, {FIRST, DIFFERENCES[0]}),
        (WrongSecond, {SECOND, DIFFERENCES[1]}),
        (WrongComposition, {VALUE, DIFFERENCES[0]}),
        (Coarse, {FLOAT32}),
        (Widening, {FLOAT32}),
        (Raising, {VALUE, DIFFERENCES[0], FLOAT32, CONSTANT, LARGE_MEAN}),
    ],
)
def test_a_wrong_op_fails_in_its_row(kind, rows):
    certificate = certify(kind, (3, 5))
    assert rows <= failed(certificate), str(certificate)
    others = {CONSTANT, LARGE_MEAN, FLOAT32, LARGER}  # which see values and gradients again
    assert failed(certificate) - rows <= others | ({OTHER_LAYOUTS, SOME, REPEATED} if kind is Raising else set())
    assert not certificate
    assert certificate.mutants == []
    assert "none tried, as a check failed already" in str(certificate)


def test_the_right_op_passes_and_what_is_raised_is_told():
    assert certify(Cube, (3, 5))
    (message,) = {check.message for check in certify(Raising, (3, 5)).checks if check.name == CONSTANT}
    assert message == "RuntimeError: Raising: backward returned 2 gradients for 1 inputs"
    (message,) = [check.message for check in certify(Widening, (3, 5)).checks if check.name == FLOAT32]
    assert message == "the output for float32 is float64"


class OnePass(FusedOp):
    """A norm with E[x²] - E[x]² for its variance; with another `way`, one that divides by a variance of 0."""

    def composed(self, x: Tensor, *, eps: float) -> Tensor:
        centred = x - x.mean(-1, keepdims=True)
        return centred / (centred.square().mean(-1, keepdims=True) + eps).sqrt()

    def forward(self, x: Any, *, eps: float) -> Any:
        mean = x.mean(-1, keepdims=True)
        var = np.square(x).mean(-1, keepdims=True) - mean**2
        rstd = 1 / np.sqrt(np.maximum(var, 0) + x.dtype.type(eps))
        self.save((x - mean) * rstd, rstd)
        return (x - mean) * rstd

    def gradient(self, grad: Any, x: Any, normal: Any, rstd: Any) -> Any:
        means = [part.mean(-1, keepdims=True) for part in (grad, grad * normal)]
        return (rstd * (grad - means[0] - normal * means[1]),)


def test_a_variance_of_one_pass_fails_at_a_large_mean():
    certificate = certify(lambda x: OnePass()(x, eps=1e-3), (3, 7))
    assert failed(certificate) == {LARGE_MEAN}, str(certificate)


def test_a_norm_without_eps_fails_for_a_constant_input():
    certificate = certify(lambda x: OnePass()(x, eps=0.0), (3, 7))
    assert CONSTANT in failed(certificate)
    (check,) = [check for check in certificate.checks if check.name == CONSTANT]
    assert check.message == "the output holds NaN or infinity"


# Mutants


def norm(x, weight, bias):
    return ops.layer_norm(x, 5, weight, bias)


def statistics():
    rng = np.random.default_rng(5)
    return rng.normal(size=3).astype(np.float32), rng.uniform(1, 2, 3).astype(np.float32)


TARGETS = {
    "layer": (LayerNorm, norm, [(2, 5), (5,), (5,)]),
    "batch": (
        BatchNorm,
        lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True),
        [(5, 3), (3,), (3,)],
    ),
    "inference": (
        InferenceNorm,
        lambda x, weight, bias: ops.batch_norm(x, *statistics(), weight, bias),
        [(5, 3), (3,), (3,)],
    ),
    "rms": (RMSNorm, lambda x, weight: ops.rms_norm(x, 5, weight, eps=0.01), [(2, 5), (5,)]),
    "silu": (
        LayerNorm,
        lambda x, weight, bias: ops.layer_norm(x, 5, weight, bias, activation="silu"),
        [(2, 5), (5,), (5,)],
    ),
}


def mutants_that_matter():
    """Target and change, for each mutant that the certificate counts as one."""
    for target, (_, function, shapes) in TARGETS.items():
        certificate = certify(function, *shapes)
        assert certificate.ok, str(certificate)
        yield from ((target, mutant.change) for mutant in certificate.mutants)


def test_each_mutant_by_itself_makes_the_certificate_fail():
    seen = set()
    for target, change in mutants_that_matter():
        kind, function, shapes = TARGETS[target]
        with mutated(kind, mutants_of(kind, 5)[change]):
            certificate = certify(function, *shapes)
        row = {"the cotangent changed in place": REPEATED, "the cotangent taken for contiguous": OTHER_LAYOUTS}.get(
            change, FIRST
        )
        assert row in failed(certificate), f"{target}: {change}"
        seen.add(change)
    assert {
        "the activation's derivative forgotten",
        "the cotangent forgotten",
        "dweight without 1/std",
        "dx by the training formula",
        "eps outside of the root",
        "gradients 1 and 2 swapped",
        "mean term not divided by the count",
        "gradient 0 in reverse order",
        "the cotangent changed in place",
        "the cotangent taken for contiguous",
    } <= seen


def test_mutants_that_change_nothing_do_not_count():
    certificate = certify(ops.add_relu, (3, 4), (3, 4))
    assert certificate.ok
    assert certificate.without_effect
    assert "gradients 0 and 1 swapped" not in {mutant.change for mutant in certificate.mutants}
    assert "gradients 0 and 1 swapped" in {mutant.change for mutant in certify(ops.multiply, (3,), (3,)).mutants}


def test_a_mutant_that_survives_fails_the_certificate(monkeypatch):
    monkeypatch.setattr(certification, "kills", lambda case: [])
    certificate = certify(Cube, (3, 5))
    assert failed(certificate) == set()
    assert not certificate.ok
    assert f"0 of {len(certificate.mutants)} killed" in str(certificate)
    assert "SURVIVED: gradient 0 times 1.01 of Cube" in str(certificate)
    assert "\nFAILED in " in str(certificate)


def test_mutants_are_taken_back():
    class Derived(LayerNorm):
        pass

    for kind in (LayerNorm, Derived, ops.elementwise.Sin):
        before = kind.backward, "backward" in vars(kind)
        with mutated(kind, lambda call: call.grads):
            assert kind.backward is not before[0]
        assert (kind.backward, "backward" in vars(kind)) == before
        with pytest.raises(ZeroDivisionError), mutated(kind, lambda call: call.grads):
            1 / 0  # noqa: B018
        assert (kind.backward, "backward" in vars(kind)) == before


# What it says, and what it leaves


def test_two_runs_are_alike_and_leave_the_generator_alone():
    random.manual_seed(7)
    state = random.state_dict()
    one, two = [certify("Dropout").to_json() for _ in range(2)]
    assert one | {"seconds": 0} == two | {"seconds": 0}
    assert random.state_dict() == state
    other = certify("Dropout", seed=1).to_json()
    assert other["checks"] != one["checks"]


def test_the_text_and_json_tell_the_same():
    certificate = certify("gelu")
    lines = str(certificate).splitlines()
    assert lines[0] == "gelu: one case, float64, random cotangents"
    assert lines[1] == "sizes: 3×4; for first derivatives also 259×260"
    assert lines[2].startswith("in memory: contiguous; for first derivatives also channels last, in Fortran order, ")
    assert lines[4].split() == ["check", "largest", "error", "bound", "in"]
    assert lines[5].startswith(VALUE)
    assert lines[5].split()[-1] == "ok"
    assert lines[-1].startswith("passed in ")
    assert f"{len(certificate.mutants)} killed; {certificate.without_effect} more made no difference here" in str(
        certificate
    )
    found = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert (found["name"], found["ok"], len(found["checks"])) == ("gelu", True, 11)
    assert (found["sizes"], found["larger"], len(found["layouts"])) == (["3×4"], ["259×260"], 5)
    assert found["without_effect"] == certificate.without_effect
    wrong = certify(Raising, (2, 3)).to_json()
    assert json.dumps(wrong, allow_nan=False)
    assert None in {check["error"] for check in wrong["checks"]}


def test_the_heading_tells_where_there_are_no_larger_inputs():
    assert "sizes: 3×4; for first derivatives none larger was found that it takes" in str(certify("reshape"))
    assert "sizes: a number; " in str(certify(ops.exp, np.array(0.5)))


def test_a_layer_of_ones_own_stays_as_it_is():
    layer = nn.BatchNorm1D(3).eval()
    before, parameters = layer.state_dict(), list(layer.parameters())
    certificate = certify(layer, (5, 3))
    assert certificate.ok, str(certificate)
    assert certificate.cases == ["training", "inference"]
    assert all(one is other for one, other in zip(layer.parameters(), parameters, strict=True))
    assert not layer.training
    for key, array in layer.state_dict().items():
        assert array.dtype == before[key].dtype
        np.testing.assert_array_equal(array, before[key])


def test_a_call_of_a_case_leaves_parameters_and_buffers_in_place():
    layer = nn.BatchNorm1D(3)
    parameters = list(layer.parameters())
    case = case_of_module("", layer, [np.ones((2, 3)) * [[1], [2]]], np.random.default_rng(0))
    before = layer.state_dict()
    case.call(*case.leaves())
    assert all(one is other for one, other in zip(layer.parameters(), parameters, strict=True))
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_an_op_that_is_not_fused_passes_or_fails():
    class Doubled(Op):
        factor = 2.0

        def forward(self, x: Any) -> Any:
            return 2 * x

        def backward(self, grad: Tensor) -> Tensor:
            return self.factor * grad

    class Tripled(Doubled):
        factor = 3.0

    assert certify(Doubled, (2, 3)).ok
    assert failed(certify(Tripled, (2, 3))) == {DIFFERENCES[0], LARGER}


def test_numbers_beyond_float32_are_said_not_to_be_compared():
    certificate = certify(ops.exp, Tensor(np.array([[1.0, 200.0]])))
    assert certificate.ok, str(certificate)
    (check,) = [check for check in certificate.checks if check.name == FLOAT32]
    assert (check.cases, check.skipped) == (0, 2)
    lines = str(certificate).splitlines()
    assert next(line for line in lines if line.startswith(FLOAT32)).split()[-4:] == ["-", "-", "not", "compared"]
    assert f"  {FLOAT32}: 2 of 2 cases not compared, their numbers are beyond float32" in lines
