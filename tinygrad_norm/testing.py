"""What a person needs to trust an op of their own: gradients against finite differences, fused against composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.checks import check_integer
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tensor import Tensor

Function = Callable[..., Tensor]
Errors = dict[str, tuple[float, float]]
"""The largest error of each comparison, by what was compared, and what was tolerated there."""


class GradientError(AssertionError):
    """A gradient is wrong, or a check of it would prove nothing.

    Example:
        >>> class Double(Op):
        ...     def forward(self, x):
        ...         return 2 * x
        ...     def backward(self, grad):
        ...         return grad  # and not 2 * grad
        >>> try:
        ...     testing.gradcheck(lambda x: Double()(x), Tensor(np.ones(1), requires_grad=True))
        ... except testing.GradientError as error:
        ...     print(str(error).partition(":")[0])
        derivative 1, input 0
    """


def gradcheck(
    function: Function,
    inputs: Tensor | Sequence[Any],
    *,
    order: int = 1,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
    errors: Errors | None = None,
) -> bool:
    """Compare the gradients of `function` with central finite differences, under a random cotangent.

    The cotangent (what comes back to each element of the output) matters: the sum of a normalized output is constant,
    so a check through `.sum()` passes every backward that is zero there, as one without the variance's term is. Return
    the output itself; its elements are weighed at random here.

    Args:
        function: takes `inputs`, returns one tensor; the same one for the same inputs.
        inputs: tensors (those with requires_grad are checked, and must be float64), arrays and scalars.
        order: 1 checks the gradient; 2 the gradient of the gradient as well, and so on.
        eps: the step of the differences.
        rtol: tolerated error, relative to the largest element of the gradient.
        atol: tolerated error on top of that.
        seed: of the cotangents.
        errors: gets the largest error of each comparison, up to the first that fails.

    Returns:
        True; whatever is wrong is raised.

    Raises:
        GradientError: a gradient differs, with its worst element; or the check is vacuous: nothing requires a
            gradient, or the output does not depend on an input.
        TypeError: an input to be checked is not float64.

    Example:
        >>> x = Tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
        >>> testing.gradcheck(lambda x: ops.layer_norm(x, 3), x, order=2)
        True
    """
    check_integer("gradcheck: order", order, 1)
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    names = [f"input {i}" for i in range(len(given))]
    for level in range(1, order + 1):
        checked = _checked_inputs(given)
        before = _copies(given)
        cotangent = _cotangent(function, given, before, seed + level)
        expected = [_differences(function, given, i, cotangent, eps) for i in checked]
        for recorded in (False, True)[: 1 + (level < order)]:  # a fused op goes back another way when that is recorded
            found = _gradients(function(*given), [given[i] for i in checked], cotangent, recorded)
            for i, gradient, differences in zip(checked, found, expected, strict=True):
                if level == 1:
                    _refuse_vacuous(names[i], differences, atol)
                compare(f"derivative {level}, {names[i]}", gradient.raw, differences, rtol, atol, errors)
        _refuse_changes(given, before)
        function = _gradient_of(function, checked, seed + level)
        given = [Tensor(cotangent, requires_grad=True), *given]
        names = [f"cotangent {level}", *names]
    return True


def compare_with_composition(
    function: Function,
    inputs: Sequence[Any],
    *,
    order: int = 2,
    rtol: float = 1e-9,
    atol: float = 1e-11,
    seed: int = 0,
    errors: Errors | None = None,
) -> bool:
    """Compare `function` as it runs with how it runs under `composed()`: value, gradient, gradient of the gradient.

    Args:
        function: takes `inputs`, returns one tensor; calls at least one fused op.
        inputs: tensors, arrays and scalars; those with requires_grad are differentiated.
        order: the highest derivative compared; 0 compares values alone.
        rtol: tolerated difference, relative to the largest element.
        atol: tolerated difference on top of that.
        seed: of the cotangents.
        errors: gets the largest error of each comparison, up to the first that fails.

    Raises:
        GradientError: they differ, or no fused op ran, so that there was nothing to compare.

    Example:
        >>> x = Tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
        >>> testing.compare_with_composition(lambda x: ops.layer_norm(x, 3), [x])
        True
    """
    given = list(inputs)
    seen = _FusedOps()
    with modes.hooks(seen):
        output = function(*given)
    if not seen.count:
        raise GradientError("compare_with_composition: the function ran no fused op, so there is nothing to compare")
    with modes.composed():
        expected = function(*given)
    if output.dtype != expected.dtype:
        raise GradientError(f"the output is {output.dtype}, composed {expected.dtype}")
    compare("the output", output.raw, expected.raw, rtol, atol, errors)
    wanted = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
    if order and not (wanted and (output.requires_grad or expected.requires_grad)):
        raise GradientError("compare_with_composition: there is no gradient to compare; order=0 compares values alone")
    rng = _random(seed)
    for level in range(1, order + 1):
        cotangent = np.asarray(rng.standard_normal(output.shape), output.dtype)
        for recorded in (False, True)[: 1 + (level < order)]:
            ours, theirs = (_gradients(side, wanted, cotangent, recorded) for side in (output, expected))
            for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                compare(f"derivative {level} of wanted input {i}", one.raw, other.raw, rtol, atol, errors)
        output, expected = (_weighed(side, seed + level) for side in (ours, theirs))
    return True


def compare(what: str, found: Array, expected: Array, rtol: float, atol: float, errors: Errors | None = None) -> None:
    """Raise a GradientError if an element differs by more than `atol` + `rtol` times the largest one expected.

    Args:
        what: is compared: the beginning of the message.
        found, expected: arrays; infinities and NaN have to be at the same places.
        rtol, atol: what is tolerated.
        errors: gets the largest error, and what is tolerated; of several under one name the worst.

    Raises:
        GradientError: an element differs by more.

    Example:
        >>> try:
        ...     testing.compare("value", np.array([1.0]), np.array([1.1]), rtol=1e-9, atol=0.0)
        ... except testing.GradientError as error:
        ...     print(str(error).partition(",")[0])
        value: at (0
    """
    if found.shape != expected.shape:
        raise GradientError(f"{what}: shape {found.shape}, expected {expected.shape}")
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.nan_to_num(np.abs(found - expected), nan=np.inf))
    largest = float(error.max(initial=0))
    tolerated = atol + rtol * float(np.abs(expected).max(initial=0, where=np.isfinite(expected)))
    if errors is not None:
        errors[what] = max(errors.get(what, (0.0, tolerated)), (largest, tolerated), key=lambda pair: pair[0] / pair[1])
    if largest > tolerated:
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        raise GradientError(f"{what}: at {worst} it is {found[worst]:.10g}, expected {expected[worst]:.10g}")


class _FusedOps(modes.Hook):
    count = 0

    def before_forward(self, op: tape.Op, inputs: tuple[Any, ...]) -> None:
        self.count += isinstance(op, tape.FusedOp)


def _checked_inputs(given: list[Any]) -> list[int]:
    checked = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise GradientError("gradcheck: no input has requires_grad=True, so nothing would be checked")
    for i in checked:
        if given[i].dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {given[i].dtype}; finite differences need float64: "
                "Tensor(array, dtype='float64')"
            )
        if not given[i].size:
            raise GradientError(f"gradcheck: input {i} of shape {given[i].shape} is empty, so nothing would be checked")
    return checked


def _cotangent(function: Function, given: list[Any], before: dict[int, Array], seed: int) -> Array:
    """Return random weights for the elements of the output, after a look at the function itself."""
    with modes.no_grad():
        outputs = [function(*given) for _ in range(2)]
    _refuse_changes(given, before)
    if not isinstance(outputs[0], Tensor) or outputs[0].dtype != np.float64:
        raise TypeError(f"gradcheck: the function returns a float64 tensor, got {outputs[0]!r}")
    if not np.isfinite(outputs[0].raw).all():
        raise GradientError("gradcheck: the output holds NaN or infinity, so there are no differences to take")
    if not np.array_equal(outputs[0].raw, outputs[1].raw):
        raise GradientError("gradcheck: two calls with the same inputs differ; seed what is random in the function")
    return np.asarray(_random(seed).standard_normal(outputs[0].shape))


def _random(seed: int) -> np.random.Generator:
    """Return a stream that nobody draws inputs from: a norm's gradient is 0 where the cotangent is its own input."""
    return np.random.default_rng([seed, 7919])


def _differences(function: Function, given: list[Any], index: int, cotangent: Array, eps: float) -> Array:
    """Return central differences of the weighed output, one element of input `index` at a time."""
    x = given[index].raw
    result = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        sides = []
        for step in (eps, -eps):
            moved = x.copy()
            moved[place] += step
            with modes.no_grad():
                output = function(*given[:index], Tensor.wrap(moved), *given[index + 1 :])
            sides.append(float((output.raw * cotangent).sum()))
        result[place] = (sides[0] - sides[1]) / (2 * eps)
    return result


def _gradients(output: Tensor, wanted: list[Tensor], cotangent: Any, create_graph: bool) -> list[Tensor]:
    """Return the gradient of each wanted tensor, 0 where backward has none."""
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if output.requires_grad:
        found = tape.grad(output, wanted, cotangent, create_graph, allow_unused=True, retain_graph=True)
    return [Tensor.wrap(np.zeros_like(x.raw)) if g is None else g for x, g in zip(wanted, found, strict=True)]


def _copies(given: list[Any]) -> dict[int, Array]:
    return {i: np.array(getattr(x, "raw", x)) for i, x in enumerate(given) if isinstance(x, Tensor | np.ndarray)}


def _refuse_changes(given: list[Any], before: dict[int, Array]) -> None:
    for i, array in before.items():
        if not np.array_equal(given[i], array, equal_nan=array.dtype.kind == "f"):
            raise GradientError(f"gradcheck: the function changed input {i} in place")


def _refuse_vacuous(name: str, differences: Array, atol: float) -> None:
    if float(np.abs(differences).max(initial=0)) <= atol:
        raise GradientError(
            f"{name}: by finite differences the output does not depend on it (all of its gradient is within {atol}), "
            "so the check would pass whatever the backward does; return the output itself, not a sum of it"
        )


def _gradient_of(function: Function, checked: list[int], seed: int) -> Function:
    """Return the weighed gradients of `function` as a function of the cotangent and the inputs."""

    def gradient(weights: Tensor, *values: Any) -> Tensor:
        with modes.enable_grad():  # differences call this under no_grad
            leaves = list(values)
            for i in checked:
                leaves[i] = values[i] if values[i].requires_grad else Tensor(values[i], requires_grad=True)
            return _weighed(_gradients(function(*leaves), [leaves[i] for i in checked], weights, True), seed)

    return gradient


def _weighed(gradients: Sequence[Tensor], seed: int) -> Tensor:
    """Return one tensor of several, with random weights, so that none cancels another."""
    rng = np.random.default_rng([seed, len(gradients)])
    total: Any = 0.0
    for gradient in gradients:
        total = (gradient * np.asarray(rng.standard_normal(gradient.shape), gradient.dtype)).sum() + total
    return total  # type: ignore[no-any-return]
