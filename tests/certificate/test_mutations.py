"""Mutants of gradients: each does what its name says, matters to the certificate, and is taken back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.certificate.wrong_ops import failed
from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.comparisons import FIRST, OTHER_LAYOUTS, REPEATED
from tinygrad_norm.certificate.mutations import CHANGES, mutants_of, mutated
from tinygrad_norm.ops.normalization import BatchNorm, InferenceNorm, LayerNorm, RMSNorm

# What a mutant changes


class Pair(ops.elementwise.Multiply):
    """An op of the tests' own, to be made wrong."""


X, Y, DY = np.arange(1.0, 10).reshape(3, 3), np.linspace(-1, 1, 9).reshape(3, 3), np.arange(9.0).reshape(3, 3) - 3.5
DX = DY * Y
FIRST_ALONE = DX * (np.arange(9) == 0).reshape(3, 3)
EXPECTED = {
    "gradient 0 dropped": (None, DY * X),
    "gradient 0 zero": (0 * DX, DY * X),
    "gradient 0 negated": (-DX, DY * X),
    "gradient 0 times 1.01": (1.01 * DX, DY * X),
    "gradient 0 divided by its size": (DX / 9, DY * X),
    "gradient 0 without its mean": (DX - DX.mean(), DY * X),
    "gradient 0 in reverse order": (DX.ravel()[::-1].reshape(3, 3), DY * X),
    "gradient 0 transposed": (DX.T, DY * X),
    "gradient 0 of the first element alone": (FIRST_ALONE, DY * X),
    "gradient 1 negated": (DX, -DY * X),
    "gradients 0 and 1 swapped": (DY * X, DX),
    "the cotangent forgotten": (Y, X),
    "the activation's derivative forgotten": (DX, DY * X),
}


def gradients(change, dy=DY, **how):
    leaves = [Tensor(array, requires_grad=True) for array in (X, Y)]
    with mutated(Pair, change):
        return grad(Pair()(*leaves), leaves, dy, allow_unused=True, **how)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_mutant_does_what_its_name_says(name):
    for found, expected in zip(gradients(mutants_of(Pair, 2)[name]), EXPECTED[name], strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)


def test_every_change_of_one_gradient_is_told_above():
    assert {f"gradient 0 {what}" for what in CHANGES} == {name for name in EXPECTED if name.startswith("gradient 0")}
    names = {f"gradient {i} {what}" for i in (0, 1) for what in CHANGES} | {"gradients 0 and 1 swapped"}
    assert {name for name in mutants_of(Pair, 2) if name.startswith("gradient")} == names


def test_the_cotangent_s_memory_is_taken_for_contiguous_or_written_to():
    mutants = mutants_of(Pair, 2)
    turned = np.asfortranarray(DY)
    dx, _ = gradients(mutants["the cotangent taken for contiguous"], turned)
    np.testing.assert_allclose(dx.numpy(), turned.ravel(order="K").reshape(3, 3) * Y)
    given = Tensor(DY.copy())
    gradients(mutants["the cotangent changed in place"], given)
    np.testing.assert_array_equal(given.numpy(), 2 * DY)


def test_the_gradient_of_a_composition_is_not_touched(rng):
    """Nobody wrote it; it is what second derivatives differentiate."""
    x, dy = Tensor(rng.normal(size=(2, 5)), requires_grad=True), rng.normal(size=(2, 5))
    right = grad(ops.layer_norm(x, 5), x, dy)[0].numpy()
    with mutated(LayerNorm, mutants_of(LayerNorm, 1)["gradient 0 negated"]):
        for recorded, expected in ((True, right), (False, -right)):
            found = grad(ops.layer_norm(x, 5), x, dy, create_graph=recorded)[0]
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


# What a certificate makes of them


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
