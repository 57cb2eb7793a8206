"""The checks are worth something: each plausible slip in a hand-written gradient is caught.

A slip is made by changing one line of a reference kernel, as its author might have written it. `gradcheck` and
`compare_with_composition` weigh the output at random and see all of them. A check of `y.sum()` does not: in training
the sum of a batch-normalized output is constant, Σ y = N · bias, so its gradient with respect to x and weight is 0, and
so is whatever these slips make of it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, grad, kernels, no_grad, ops
from tinygrad_norm.testing import GradientError, compare_with_composition, gradcheck

RNG = np.random.default_rng(0)


def leaf(*shape: int) -> Tensor:
    return Tensor(RNG.normal(0.5, 1, shape), requires_grad=True)


AFFINE = leaf(3), leaf(3)  # weight ≠ 1 and bias ≠ 0, or slips about them would not show
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

# What is wrong: the case, the kernel, the text that is replaced, and by what.
MEAN_TERM = " - xp.mean(g, axis=axes, keepdims=True)"
VARIANCE_TERM = " - normal * xp.mean(g * normal, axis=axes, keepdims=True)"
ROOT, WRONG_ROOT = "1 / xp.sqrt(var + eps)", "1 / (xp.sqrt(var) + eps)"
SLIPS: dict[str, tuple[str, str, str, str]] = {
    "no mean term": ("batch", "normalize_gradient", MEAN_TERM, ""),
    "no variance term": ("batch", "normalize_gradient", VARIANCE_TERM, ""),
    "neither: the inference formula": ("batch", "normalize_gradient", MEAN_TERM + VARIANCE_TERM, ""),
    "no division by the count, mean": ("batch", "normalize_gradient", "xp.mean(g,", "xp.sum(g,"),
    "no division by the count, variance": ("batch", "normalize_gradient", "xp.mean(g * normal,", "xp.sum(g * normal,"),
    "variance term of the wrong sign": ("batch", "normalize_gradient", "- normal * xp", "+ normal * xp"),
    "no weight in dx": ("batch", "normalize_gradient", "g = dy if weight is None else dy * weight", "g = dy"),
    "no rstd in dx": ("batch", "normalize_gradient", "dx = rstd * (g", "dx = (g"),
    "no rstd in dweight": ("batch", "normalize_gradient", "_sum_like(dy * normal, ", "_sum_like(dy * (x - mean), "),
    "eps outside of the root": ("batch", "normalize_gradient", ROOT, WRONG_ROOT),
    "dx is zero": ("batch", "normalize_gradient", "dx = rstd", "dx = 0 * rstd"),
    "dweight and dbias swapped": (
        "batch",
        "normalize_gradient",
        "_sum_like(dy * normal, weight), _sum_like(dy, bias)",
        "_sum_like(dy, bias), _sum_like(dy * normal, weight)",
    ),
    "no activation gradient": ("batch, silu", "activation_gradient", "dy * definition", "dy + 0 * definition"),
    "activation gradient at x̂": (
        "batch, silu",
        "normalize_gradient",
        "_affine(normal, weight, bias)",
        "normal",
    ),
    "layer: no mean term": ("layer", "normalize_gradient", MEAN_TERM, ""),
    "layer: no variance term": ("layer", "normalize_gradient", VARIANCE_TERM, ""),
    "group: means over the other axes": ("group", "normalize_gradient", "xp.mean(g, axis=axes", "xp.mean(g, axis=1"),
    "the training formula in inference": (
        "inference",
        "normalize_inference_gradient",
        "dx = dy * rstd if weight is None else dy * rstd * weight",
        "dx = normalize_gradient(dy, x, weight, bias, mean, var, (0, 2), eps, activation)[0]",
    ),
    "inference: no weight in dx": (
        "inference",
        "normalize_inference_gradient",
        "else dy * rstd * weight",
        "else dy * rstd",
    ),
    "inference: eps outside of the root": ("inference", "normalize_inference_gradient", ROOT, WRONG_ROOT),
    "rms: no second term": ("rms", "rms_normalize_gradient", VARIANCE_TERM, ""),
    "rms: a sum for the mean": ("rms", "rms_normalize_gradient", "xp.mean(g * normal", "xp.sum(g * normal"),
    "rms: the mean taken off as in layer norm": (
        "rms",
        "rms_normalize_gradient",
        "(g - normal",
        "(g - xp.mean(g) - normal",
    ),
    "linear: dbias of the first row": ("linear", "linear_gradient", "xp.sum(rows, axis=0)", "rows[0]"),
    "linear: dweight negated": ("linear", "linear_gradient", "rows.mT @", "-rows.mT @"),
    "cross-entropy: no softmax": ("cross-entropy", "cross_entropy_gradient", "(p * ", "(0 * p * "),
    "cross-entropy: class weights left out of Σ q": (
        "cross-entropy",
        "cross_entropy_gradient",
        " * xp.sum(q, axis=1, keepdims=True)",
        "",
    ),
    "cross-entropy: no cotangent": ("cross-entropy", "cross_entropy_gradient", "dloss[:, None] * (", "("),
}
BLIND_SUM = [
    "no variance term",
    "no division by the count, variance",
    "variance term of the wrong sign",
    "no weight in dx",
    "no rstd in dx",
    "no rstd in dweight",
    "eps outside of the root",
    "dx is zero",
]


@pytest.fixture
def slip(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Callable[..., Tensor], list[Tensor]]]:
    """Makes a slip, and gives the case that it is in."""

    def make(name: str) -> tuple[Callable[..., Tensor], list[Tensor]]:
        case, kernel, right, wrong = SLIPS[name]
        function = getattr(definitions, kernel)
        source = inspect.getsource(function)
        assert source.count(right) == 1, f"{kernel} reads otherwise now: say the slip in its new words"
        names: dict[str, Any] = dict(vars(sys.modules[function.__module__]))
        exec(compile(source.replace(right, wrong), kernel, "exec"), names)
        for module in (definitions, definitions.activation, definitions.normalization):
            if hasattr(module, kernel):
                monkeypatch.setattr(module, kernel, names[kernel])
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


@pytest.mark.parametrize("name", SLIPS)
def test_gradcheck_catches(name, slip):
    function, inputs = slip(name)
    with pytest.raises(GradientError, match="derivative 1"):
        gradcheck(function, inputs)


@pytest.mark.parametrize("name", SLIPS)
def test_the_composition_catches(name, slip):
    function, inputs = slip(name)
    with pytest.raises(GradientError, match="derivative 1"):
        compare_with_composition(function, inputs, order=1)


@pytest.mark.parametrize("name", BLIND_SUM)
def test_a_sum_does_not_see(name, slip):
    function, inputs = slip(name)
    assert sum_passes(function, inputs)


@pytest.mark.parametrize("name", [name for name in SLIPS if SLIPS[name][0] == "batch" and name not in BLIND_SUM])
def test_a_sum_sees_the_others(name, slip):
    function, inputs = slip(name)
    assert not sum_passes(function, inputs)


def test_a_sum_of_squares_does_not_see_a_gradient_of_zero(slip):
    """Σ x̂² = N · var / (var + eps) is all but constant too: the true gradient is of the size of eps."""
    slip("dx is zero")
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
