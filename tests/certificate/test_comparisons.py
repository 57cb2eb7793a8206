"""Checks: right gradients pass, wrong ones fail in the row that they belong in, and each kill has its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.certificate.wrong_ops import Cube, Raising, failed
from tinygrad_norm import FusedOp, Op, Tensor, nn, ops
from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.case import Case, case_of_module
from tinygrad_norm.certificate.comparisons import (
    BY_DESIGN,
    CONSTANT,
    DIFFERENCES,
    FIRST,
    FLOAT32,
    LARGE_MEAN,
    LARGER,
    OTHER_LAYOUTS,
    REPEATED,
    SECOND,
    SOME,
    VALUE,
    kills,
)
from tinygrad_norm.certificate.first_order import gradients


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
    assert rows <= failed(certificate).keys(), str(certificate)
    others = {CONSTANT, LARGE_MEAN, FLOAT32, LARGER}  # which see values and gradients again
    assert failed(certificate).keys() - rows <= others | ({OTHER_LAYOUTS, SOME, REPEATED} if kind is Raising else set())
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
    assert failed(certificate).keys() == {LARGE_MEAN}, str(certificate)


def test_a_norm_without_eps_fails_for_a_constant_input():
    certificate = certify(lambda x: OnePass()(x, eps=0.0), (3, 7))
    assert CONSTANT in failed(certificate)
    (check,) = [check for check in certificate.checks if check.name == CONSTANT]
    assert check.message == "the output holds NaN or infinity"


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
    assert failed(certify(Tripled, (2, 3))).keys() == {DIFFERENCES[0], LARGER}


def test_ops_and_layers_without_a_fused_op_pass_with_the_rows_that_they_have():
    for name in ("Softmax", "Dropout", "var", "where", "NLLLoss"):
        certificate = certify(name)
        assert certificate.ok, str(certificate)
        rows = [*DIFFERENCES, LARGER, OTHER_LAYOUTS, SOME, REPEATED, FLOAT32]
        assert [check.name for check in certificate.checks] == [row for row in rows if name == "where" or row != SOME]
        assert certificate.mutants
    assert certify("Identity").ok


def test_numbers_beyond_float32_are_said_not_to_be_compared():
    certificate = certify(ops.exp, Tensor(np.array([[1.0, 200.0]])))
    assert certificate.ok, str(certificate)
    (check,) = [check for check in certificate.checks if check.name == FLOAT32]
    assert (check.cases, check.skipped) == (0, 2)
    lines = str(certificate).splitlines()
    assert next(line for line in lines if line.startswith(FLOAT32)).split()[-4:] == ["-", "-", "not", "compared"]
    assert f"  {FLOAT32}: 2 of 2 cases not compared, their numbers are beyond float32" in lines


# What kills a mutant


class InMemoryOrder(Cube):
    """Wrong where the cotangent's memory has another order than C's."""

    def gradient(self, grad: Any, x: Any) -> Any:
        return ((3 * grad.ravel(order="K") * (x * x).ravel()).reshape(x.shape),)


class Doubling(Op):
    """Right the first time; it doubles the cotangent that it was given."""

    def forward(self, x: Any) -> Any:
        return 3 * x

    def backward(self, grad: Tensor) -> Tensor:
        found: Tensor = grad * 3
        if grad.raw.flags.writeable:
            grad.raw[...] *= 2
        return found


@pytest.mark.parametrize(
    ("function", "killed_by"),
    [
        (lambda x: Cube()(x), []),
        (lambda x: WrongGradient()(x), ["differences", "composition"]),
        (lambda x: InMemoryOrder()(x), ["layouts"]),
        (lambda x: Doubling()(x), ["repeated"]),
        (lambda x: WrongSecond()(x), []),  # the first derivative is right
    ],
)
def test_a_case_is_refused_by_the_checks_of_first_derivatives_that_see_it(function, killed_by, rng):
    assert kills(Case("", function, (rng.normal(size=(3, 4)),))) == killed_by


class Published(WrongGradient):
    differs_by_design = "so it was published"


def test_a_gradient_that_is_meant_to_differ_is_measured_and_not_judged():
    certificate = certify(Published, (3, 4))
    assert certificate.ok
    checks = {check.name: check for check in certificate.checks}
    assert [*checks] == [VALUE, OTHER_LAYOUTS, REPEATED, BY_DESIGN]
    assert checks[BY_DESIGN].error == pytest.approx(1 / 30)
    assert not certificate.mutants
    assert "differs by design: so it was published" in str(certificate)
    assert "wrong gradients: none tried, as none is to be the derivative" in str(certificate)

    class WrongAllTheSame(Published):
        def forward(self, x: Any) -> Any:
            return x * x * x * 1.1

    assert [*failed(certify(WrongAllTheSame, (3, 4)))] == [VALUE]


def test_buffers_that_the_way_back_moves_are_moved_back(rng):
    layer = nn.PowerNorm(3, warmup=0)
    case = case_of_module("", layer, [rng.normal(size=(4, 3))], rng)
    before = layer.nu.raw
    first = gradients(case, case.leaves())[1]
    assert (layer.nu.raw != before).any()
    for one, other in zip(gradients(case, case.leaves())[1], first, strict=True):
        np.testing.assert_array_equal(one, other)
