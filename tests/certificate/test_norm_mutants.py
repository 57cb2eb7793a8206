"""The checks are worth something: each plausible mutant of a hand-written gradient is killed.

A mutant is made by changing one line of a definition, as its author might have written it. `gradcheck` and
`compare_with_composition` weigh the output at random and see all of them. A check of `y.sum()` does not: in training
the sum of a batch-normalized output is constant, Σ y = N · bias, so its gradient with respect to x and weight is 0, and
so is whatever these mutants make of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, grad, kernels, no_grad, ops
from tinygrad_norm.certificate.norm_mutants import MUTANTS, mutant, norm_mutants
from tinygrad_norm.ops.normalization import LayerNorm, Norm
from tinygrad_norm.testing import GradientError, compare_with_composition, gradcheck

RNG = np.random.default_rng(0)


def leaf(*shape: int) -> Tensor:
    return Tensor(RNG.normal(0.5, 1, shape), requires_grad=True)


AFFINE = leaf(3), leaf(3)  # weight ≠ 1 and bias ≠ 0, or mutants about them would not show
MEAN, VAR, LABELS, CLASS_WEIGHTS = (
    RNG.normal(size=3),
    RNG.uniform(1, 2, 3),
    np.array([1, 0, 3, 1, 2]),
    [1.0, 2.0, 0.5, 3.0],
)
CASES: dict[str, tuple[Callable[..., Tensor], list[Tensor]]] = {
    "batch": (
        lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True, eps=0.1),
        [leaf(4, 3, 5), *AFFINE],
    ),
    "batch, silu": (
        lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True, activation="silu"),
        [leaf(7, 3), *AFFINE],
    ),
    "inference": (
        lambda x, weight, bias: ops.batch_norm(x, MEAN, VAR, weight, bias, training=False, eps=0.1),
        [leaf(4, 3, 5), *AFFINE],
    ),
    "layer": (lambda x, weight, bias: ops.layer_norm(x, 3, weight, bias, eps=0.1), [leaf(2, 5, 3), *AFFINE]),
    "group": (lambda x, weight, bias: ops.group_norm(x, 1, weight, bias, eps=0.1), [leaf(2, 3, 5), *AFFINE]),
    "rms": (lambda x, weight: ops.rms_norm(x, 3, weight, eps=0.1), [leaf(2, 5, 3), AFFINE[0]]),
    "linear": (ops.linear, [leaf(2, 5, 3), leaf(4, 3), leaf(4)]),
    "cross-entropy": (
        lambda logits: ops.cross_entropy(logits, LABELS, CLASS_WEIGHTS, "none", label_smoothing=0.2, ignore_index=3),
        [leaf(5, 4)],
    ),
}

OF_NORMS = {
    "batch": [name for name in MUTANTS if name not in ("dx by the training formula", "dx with a mean term")],
    "layer": ["dx without the mean term", "dx without the variance term"],
    "inference": ["dx by the training formula", "dx without the weight", "eps outside of the root"],
    "rms": ["dx without the variance term", "variance term not divided by the count", "dx with a mean term"],
}
# What is wrong: the case, the file, the text that is replaced, and by what.
NORM, LINEAR = definitions.normalization, sys.modules["tinygrad_norm.definitions.linear"]  # not the function
CHANGES: dict[str, tuple[str, ModuleType, str, str]] = {
    **{f"{case}: {name}": (case, NORM, *MUTANTS[name]) for case, names in OF_NORMS.items() for name in names},
    "batch: dx is zero": ("batch", NORM, "dx = standard.rstd", "dx = 0 * standard.rstd"),
    "batch: dweight and dbias swapped": (
        "batch",
        NORM,
        "_sum_like(dy * standard.x, weight), _sum_like(dy, bias)",
        "_sum_like(dy, bias), _sum_like(dy * standard.x, weight)",
    ),
    "batch, silu: no activation gradient": (
        "batch, silu",
        definitions.activation,
        "return dy * definition",
        "return dy + 0 * definition",
    ),
    "batch, silu: activation gradient at x̂": (
        "batch, silu",
        NORM,
        "copy=False), _affine(standard.x, weight, bias), activation)",
        "copy=False), standard.x, activation)",
    ),
    "group: means over the other axes": ("group", NORM, "xp.mean(g, axis=axes", "xp.mean(g, axis=1"),
    "linear: dbias of the first row": (
        "linear",
        sys.modules["tinygrad_norm.definitions.linear"],
        "xp.sum(rows, axis=0)",
        "rows[0]",
    ),
    "linear: dweight negated": ("linear", LINEAR, "rows.mT @", "-rows.mT @"),
    "cross-entropy: no softmax": ("cross-entropy", definitions.loss, "(p * ", "(0 * p * "),
    "cross-entropy: class weights left out of Σ q": (
        "cross-entropy",
        definitions.loss,
        " * xp.sum(q, axis=1, keepdims=True)",
        "",
    ),
    "cross-entropy: no cotangent": ("cross-entropy", definitions.loss, "dloss[:, None] * (", "("),
}
BLIND_SUM = [
    "batch: dx without the variance term",
    "batch: variance term not divided by the count",
    "batch: variance term of the wrong sign",
    "batch: dx without the weight",
    "batch: dx without 1/std",
    "batch: dweight without 1/std",
    "batch: eps outside of the root",
    "batch: dx is zero",
]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Callable[..., Tensor], list[Tensor]]]:
    """Breaks a definition, and gives the case that it is in."""

    def make(name: str) -> tuple[Callable[..., Tensor], list[Tensor]]:
        case, source, right, wrong = CHANGES[name]
        made = vars(mutant(source, right, wrong))
        for module in (definitions, definitions.normalization):
            for known in [known for known in vars(module) if known.endswith("_gradient")]:
                if getattr(module, known).__module__ == source.__name__ and (module is definitions or source != module):
                    monkeypatch.setattr(module, known, made[known])
        monkeypatch.setattr(kernels, "of", lambda array: definitions)
        return CASES[case]

    return make


def sum_passes(function: Callable[..., Tensor], inputs: list[Tensor]) -> bool:
    """The customary check: all gradients of y.sum() against finite differences, to five digits."""
    found = grad(function(*inputs).sum(), inputs)
    for i, (x, gradient) in enumerate(zip(inputs, found, strict=True)):
        for place in np.ndindex(x.shape):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [x.numpy().copy() for x in inputs]
                moved[i][place] += step
                with no_grad():
                    sides.append(function(*moved).sum().item())
            if not np.isclose((sides[0] - sides[1]) / 2e-6, gradient.numpy()[place], rtol=1e-5, atol=1e-5):
                return False
    return True


@pytest.mark.parametrize("case", CASES)
def test_right_kernels_pass(case):
    function, inputs = CASES[case]
    assert gradcheck(function, inputs)
    assert compare_with_composition(function, inputs, order=1)


@pytest.mark.parametrize("name", CHANGES)
def test_gradcheck_catches(name, broken):
    function, inputs = broken(name)
    with pytest.raises(GradientError, match="derivative 1"):
        gradcheck(function, inputs)


@pytest.mark.parametrize("name", CHANGES)
def test_the_composition_catches(name, broken):
    function, inputs = broken(name)
    with pytest.raises(GradientError, match="derivative 1"):
        compare_with_composition(function, inputs, order=1)


@pytest.mark.parametrize("name", BLIND_SUM)
def test_a_sum_does_not_see(name, broken):
    function, inputs = broken(name)
    assert sum_passes(function, inputs)


@pytest.mark.parametrize("name", [name for name in CHANGES if name.startswith("batch:") and name not in BLIND_SUM])
def test_a_sum_sees_the_others(name, broken):
    function, inputs = broken(name)
    assert not sum_passes(function, inputs)


def test_a_sum_of_squares_does_not_see_a_gradient_of_zero(broken):
    """Σ x̂² = N · var / (var + eps) is all but constant too: the true gradient is of the size of eps."""
    broken("batch: dx is zero")
    assert sum_passes(
        lambda x: ops.batch_norm(x, None, None, training=True) ** 2, [Tensor(4 * leaf(8, 3).numpy(), True)]
    )


@pytest.mark.parametrize("case", ["batch", "layer", "group", "rms", "inference"])
def test_gradcheck_refuses_sums_that_prove_nothing(case):
    """Only a batch norm's sum is constant: with a weight for each element, other norms' sums are not."""
    function, inputs = CASES[case]
    if case == "batch":
        with pytest.raises(GradientError, match="does not depend on it"):
            gradcheck(lambda *given: function(*given).sum(), inputs)
    else:
        assert gradcheck(lambda *given: function(*given).sum(), inputs)


def test_a_norm_of_somebody_s_own_has_the_mutants_that_its_text_allows(monkeypatch):
    class Own(Norm):
        definition = staticmethod(definitions.linear)

    assert norm_mutants(Own) == {}
    assert norm_mutants(LayerNorm).keys() == MUTANTS.keys()


def test_a_mutant_of_a_text_that_is_no_longer_there_is_refused():
    with pytest.raises(ValueError, match=r"'no such term' is a text of .*linear, which reads otherwise now"):
        mutant(LINEAR, "no such term", "")
