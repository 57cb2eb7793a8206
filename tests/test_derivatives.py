"""The Jacobian, the Hessian and their products: by closed forms, by formulas in extended precision, by differences."""

from __future__ import annotations

import copy
import functools
import gc
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from tests.nn.norm_layers import LAYERS as NORM_LAYERS
from tests.nn.norm_layers import stirred
from tinygrad_norm import (
    Hook,
    Tensor,
    composed,
    derive,
    grad,
    hessian,
    hessian_vector_product,
    hooks,
    is_recording,
    jacobian,
    jvp,
    nn,
    no_grad,
    ops,
    vjp,
)
from tinygrad_norm.certificate.case import Case
from tinygrad_norm.certificate.catalog import OPS, layer_cases, layer_names, op_cases
from tinygrad_norm.testing import gradcheck

LAYERS = NORM_LAYERS | {
    "RMSNorm2D": (lambda **more: nn.RMSNorm2D(4, **more), (3, 4, 2, 3)),
    "InstanceNorm2D, tracked": (
        lambda **more: nn.InstanceNorm2D(4, affine=True, track_running_stats=True, **more),
        (3, 4, 2, 3),
    ),
}

TOOLS: dict[str, Callable[..., Any]] = {
    "vjp": vjp,
    "jvp": jvp,
    "jacobian": jacobian,
    "hessian": hessian,
    "hessian_vector_product": hessian_vector_product,
}
WITH_VECTORS = ["vjp", "jvp", "hessian_vector_product"]


def tensor(array: Any, wants: bool = False) -> Tensor:
    return Tensor(np.asarray(array, np.float64), requires_grad=wants)


def close(found: Any, expected: Any, rtol: float = 1e-10) -> None:
    found, expected = (np.asarray(getattr(each, "raw", each), np.float64) for each in (found, expected))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * max(1.0, np.abs(expected).max(initial=0)))


def derivative(function: Callable[..., Any], along: Any = None) -> Callable[[Tensor], Any]:
    """The derivative of a function along a direction, as a function that can be differentiated again."""
    return lambda x: jvp(function, x, along, create_graph=True)[1]


# Closed forms


def test_a_quadratic(rng):
    matrix, linear = rng.normal(size=(4, 4)), rng.normal(size=4)
    x, v = tensor(rng.normal(size=4)), rng.normal(size=4)

    def function(x: Tensor) -> Any:
        return (x * ops.matmul(matrix, x)).sum() + (linear * x).sum()

    twice = matrix + matrix.T
    gradient = twice @ x.raw + linear
    close(jacobian(function, x), gradient)
    close(vjp(function, x)[1], gradient)
    close(vjp(function, x, 3)[1], 3 * gradient)
    close(jvp(function, x, v)[1], gradient @ v)
    close(hessian(function, x), twice)
    value, product = hessian_vector_product(function, x, v)
    close(value, x.raw @ matrix @ x.raw + linear @ x.raw)
    close(product, twice @ v)
    close(jacobian(lambda x: hessian(function, x, create_graph=True), x), np.zeros((4, 4, 4)))


def test_softmax_and_its_log(rng):
    x = tensor(rng.normal(size=5))
    p = np.exp(x.raw) / np.exp(x.raw).sum()
    close(jacobian(lambda x: ops.softmax(x, 0), x), np.diag(p) - np.outer(p, p))
    close(jacobian(lambda x: ops.log_softmax(x, 0), x), np.eye(5) - p)
    close(hessian(lambda x: ops.logsumexp(x), x), np.diag(p) - np.outer(p, p))
    close(hessian(lambda x: ops.cross_entropy(x.reshape(1, 5), np.array([2])), x), np.diag(p) - np.outer(p, p))


def test_layer_norm_without_eps(rng):
    x = tensor(rng.normal(size=(1, 6)))
    centred = x.raw[0] - x.raw.mean()
    normal = centred / centred.std()
    expected = (np.eye(6) - 1 / 6 - np.outer(normal, normal) / 6) / centred.std()
    close(jacobian(lambda x: ops.layer_norm(x, 6, eps=0), x).reshape(6, 6), expected)


@pytest.mark.parametrize("order", range(5))
def test_any_order_along_a_line(order):
    function: Callable[..., Any] = ops.sin
    for _ in range(order):
        function = derivative(function)
    close(function(tensor(0.7)), math.sin(0.7 + order * math.pi / 2))


@pytest.mark.parametrize("tool", ["jvp", "vjp", "jacobian", "hessian_vector_product"])
def test_the_derivative_of_a_constant_is_0(tool):
    def differentiated(function: Callable[..., Any], x: Tensor) -> Any:
        found = TOOLS[tool](function, x, create_graph=True)
        return found[1] if isinstance(found, tuple) else found

    values = []
    function: Callable[..., Any] = lambda x: x * x * x  # noqa: E731
    for _ in range(5):
        function = functools.partial(differentiated, function)
        values.append(function(tensor(2.0)).item())
    assert values == ([12.0, 0, 0, 0, 0] if tool == "hessian_vector_product" else [12.0, 12.0, 6.0, 0.0, 0.0])


# Forms of inputs and outputs


def product_and_sum(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return ops.matmul(x, y), x.sum() * 2.0


def test_several_inputs_and_outputs(rng):
    x, y = tensor(rng.normal(size=(2, 3))), tensor(rng.normal(size=3))
    found = jacobian(product_and_sum, (x, y))
    assert [[each.shape for each in row] for row in found] == [[(2, 2, 3), (2, 3)], [(2, 3), (3,)]]
    close(found[0][0], np.einsum("ij,k->ijk", np.eye(2), y.raw))
    close(found[0][1], x.raw)
    close(found[1][0], np.full((2, 3), 2.0))
    close(found[1][1], np.zeros(3))  # the second output does not depend on y
    u, v = (rng.normal(size=2), 0.5), [rng.normal(size=(2, 3)), rng.normal(size=3)]
    value, product = jvp(product_and_sum, [x, y], v)
    close(product[0], v[0] @ y.raw + x.raw @ v[1])
    close(product[1], 2 * v[0].sum())
    close(value[1], 2 * x.raw.sum())
    _, back = vjp(product_and_sum, iter([x, y]), u)
    close(back[0], np.outer(u[0], y.raw) + 1)
    close(back[1], u[0] @ x.raw)


def test_a_dict_of_outputs(rng):
    x = tensor(rng.normal(size=3))

    def function(x: Tensor) -> dict[str, Tensor]:
        return {"square": x * x, "sum": x.sum()}

    found = jacobian(function, x)
    assert list(found) == ["square", "sum"]
    close(found["square"], np.diag(2 * x.raw))
    close(found["sum"], np.ones(3))
    value, product = jvp(function, (x,), (np.ones(3),))
    close(value["square"], x.raw**2)
    close(product["sum"], 3.0)
    close(vjp(function, x, {"sum": 1, "square": np.zeros(3)})[1], np.ones(3))
    close(jacobian(function, (x,))["sum"][0], np.ones(3))


def test_the_hessian_of_several_inputs(rng):
    x, y = tensor(rng.normal(size=(2, 3))), tensor(rng.normal(size=3))
    function = lambda x, y: (ops.matmul(x, y) ** 2).sum() + x.sum()  # noqa: E731
    (xx, xy), (yx, yy) = hessian(function, (x, y))
    residual = x.raw @ y.raw
    close(xx, 2 * np.einsum("ik,j,l->ijkl", np.eye(2), y.raw, y.raw))
    close(yy, 2 * x.raw.T @ x.raw)
    close(xy, 2 * (np.einsum("j,il->ijl", y.raw, x.raw) + np.einsum("jl,i->ijl", np.eye(3), residual)))
    close(yx, np.moveaxis(xy.raw, -1, 0))
    v = rng.normal(size=(2, 3)), rng.normal(size=3)
    _, (along_x, along_y) = hessian_vector_product(function, (x, y), v)
    close(along_x, np.einsum("ijkl,kl", xx.raw, v[0]) + xy.raw @ v[1])
    close(along_y, np.einsum("ikl,kl", yx.raw, v[0]) + yy.raw @ v[1])


@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (2, 3), (5, 3), (9, 2), (9, 1)])
def test_a_jacobian_by_rows_and_by_columns(rng, rows, columns):
    matrix, x = rng.normal(size=(rows, columns)), tensor(rng.normal(size=columns))

    def function(x: Tensor) -> Tensor:
        return ops.matmul(matrix, x).tanh()

    slope = 1 - np.tanh(matrix @ x.raw) ** 2
    close(jacobian(function, x), slope[:, None] * matrix)
    second = jacobian(lambda x: jacobian(function, x, create_graph=True), x)
    close(second, np.einsum("i,ij,ik->ijk", -2 * np.tanh(matrix @ x.raw) * slope, matrix, matrix))


class Visits(Hook):
    """Counts what backward passes visit."""

    count = 0

    def before_backward(self, op: Any, grad: Tensor) -> None:
        self.count += 1


def test_a_jacobian_goes_back_along_its_shorter_side():
    for rows, columns in ((100, 1), (1, 100)):
        matrix = np.ones((rows, columns))
        with hooks(visits := Visits()):
            jacobian(lambda x, matrix=matrix: ops.matmul(matrix, x).tanh(), tensor(np.zeros(columns)))
        assert visits.count < 20


def test_by_columns_of_several_inputs_and_outputs(rng):
    def function(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (x * y).broadcast_to(4, 1, 2), x.broadcast_to(3, 1, 2), y * y

    x, y = tensor(rng.normal(size=(1, 2))), tensor(rng.normal())
    found = jacobian(function, (x, y))
    assert [[each.shape for each in row] for row in found] == [
        [(4, 1, 2, 1, 2), (4, 1, 2)],
        [(3, 1, 2, 1, 2), (3, 1, 2)],
        [(1, 2), ()],
    ]
    close(found[0][0], np.broadcast_to(y.raw * np.eye(2)[:, None], (4, 1, 2, 1, 2)))
    close(found[0][1], np.broadcast_to(x.raw, (4, 1, 2)))
    close(found[1][1], np.zeros((3, 1, 2)))
    close(found[2][0], np.zeros((1, 2)))
    close(found[2][1], 2 * y.raw)


@pytest.mark.parametrize(("given", "returned"), [((0,), (0,)), ((3,), (0,)), ((0, 2), ())])
def test_of_nothing(given, returned):
    x = tensor(np.zeros(given))
    function = (lambda x: x.sum()) if returned == () else (lambda x: x[:0] * x[:0])
    for recorded in (False, True):
        close(jacobian(function, x, create_graph=recorded), np.zeros((*returned, *given)))
        close(jvp(function, x, np.zeros(given), create_graph=recorded)[1], np.zeros(returned))
        close(vjp(function, x, np.zeros(returned), create_graph=recorded)[1], np.zeros(given))
    if returned == ():
        close(hessian(function, x), np.zeros((*given, *given)))


def test_the_identity(rng):
    x, v = tensor(rng.normal(size=(2, 2))), rng.normal(size=(2, 2))
    close(jacobian(lambda x: x, x).reshape(4, 4), np.eye(4))
    close(jvp(lambda x: x, x, v)[1], v)
    close(vjp(lambda x: x, x, v)[1], v)
    close(jacobian(lambda x: jacobian(lambda x: x, x, create_graph=True), x), np.zeros((2,) * 6))


def test_an_input_that_is_made_of_another_stands_for_itself():
    x = tensor([2.0], True)
    y = x * x
    for recorded in (False, True):
        found = jacobian(lambda x, y: x * y, (x, y), create_graph=recorded)
        close(found[0], [[4.0]])
        close(found[1], [[2.0]])
        found = jacobian(lambda x, y: x * y, (x, x), create_graph=recorded)
        close(found[0], [[2.0]])
    first, _ = jacobian(lambda x, y: x * y, (x, y), create_graph=True)  # y, which is x²
    close(grad(first, x)[0], [4.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_dtype_of_what_they_belong_to(dtype):
    x, other = Tensor(np.ones(3, dtype), requires_grad=True), Tensor(np.ones(3), dtype="float64")

    def function(x: Tensor, other: Tensor) -> Tensor:
        return (x * other).exp()

    value, (dx, dother) = vjp(function, (x, other), [1, 2, 3])
    assert (value.dtype, dx.dtype, dother.dtype) == ("float64", dtype, "float64")
    assert jvp(function, (x, other), ([1, 2, 3], np.ones(3, "float32")))[1].dtype == "float64"
    close(jvp(lambda x: x, tensor(1.0), [[0.1]][0][0])[1], 0.1, rtol=1e-15)  # a Python number, in float64
    assert hessian(lambda x: (x**3).sum(), x).dtype == dtype


# Functions without arguments


def small_net(rng: np.random.Generator) -> tuple[nn.Module, Callable[[], Tensor]]:
    net = nn.Sequential(nn.Linear(3, 4, dtype="float64"), nn.BatchNorm1D(4, activation="tanh", dtype="float64"))
    stirred(net, rng)
    x, y = tensor(rng.normal(size=(6, 3))), tensor(rng.normal(size=(6, 4)))
    return net, lambda: ops.mse_loss(net(x), y)


def test_a_loss_of_a_model_s_parameters(rng):
    net, loss = small_net(rng)
    parameters = list(net.parameters())
    v = [rng.normal(size=each.shape) for each in parameters]
    value, products = hessian_vector_product(loss, net.parameters(), v)
    blocks = hessian(loss, parameters)
    close(value, loss())
    for row, product in zip(blocks, products, strict=True):
        close(product, sum((block.raw * u).sum(axis=tuple(range(-u.ndim, 0))) for block, u in zip(row, v, strict=True)))

    def gradient() -> np.ndarray[Any, Any]:
        return np.concatenate([each.raw.ravel() for each in vjp(loss, net.parameters())[1]])

    step, starts = 1e-5, [each.raw.copy() for each in parameters]
    sides = []
    for sign in (1, -1):
        for each, start, u in zip(parameters, starts, v, strict=True):
            each.data = start + sign * step * u
        sides.append(gradient())
    close(np.concatenate([each.raw.ravel() for each in products]), (sides[0] - sides[1]) / (2 * step), rtol=1e-7)
    assert all(each.grad is None for each in parameters)


def test_what_is_called_without_arguments():
    w = tensor(3.0, True)
    closures = (
        lambda: w * w,
        lambda scale=1.0: w * w * scale,
        functools.partial(lambda x: x * w, w),
        lambda **options: w * w,
    )
    for function in closures:
        close(vjp(function, w)[1], 6.0)
    functions = (
        lambda *inputs: inputs[0] * inputs[0],
        lambda x, scale=1.0: x * x * scale,
        functools.partial(ops.pow, y=2.0),
        ops.square,
    )
    for function in functions:
        close(vjp(function, tensor(3.0))[1], 6.0)
    close(vjp(np.square, tensor(3.0))[1], 6.0)
    assert [each.item() for each in vjp(max, (tensor(1.0), tensor(2.0)))[1]] == [0, 1]  # max tells no signature


def test_an_earlier_tape_can_be_gone_back_again(rng):
    x, w = tensor(rng.normal(size=3), True), tensor(rng.normal(size=3), True)
    hidden = (x * w).exp()  # recorded once, outside
    for _ in range(2):
        close(vjp(lambda: (hidden * hidden).sum(), w)[1], 2 * hidden.raw**2 * x.raw)
        close(jacobian(lambda z: z * hidden, x), np.diag(hidden.raw))
    hidden.sum().backward()
    close(w.grad, hidden.raw * x.raw)


# Every norm, at every order

PLACES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "BatchNorm1D": ((5, 4), (0,), (1, 4)),
    "BatchNorm2D": ((3, 4, 2, 3), (0, 2, 3), (1, 4, 1, 1)),
    "BatchNorm3D": ((2, 4, 2, 1, 3), (0, 2, 3, 4), (1, 4, 1, 1, 1)),
    "InstanceNorm1D": ((3, 4, 5), (2,), (1, 4, 1)),
    "InstanceNorm2D": ((3, 4, 2, 3), (2, 3), (1, 4, 1, 1)),
    "InstanceNorm3D": ((2, 4, 2, 1, 3), (2, 3, 4), (1, 4, 1, 1, 1)),
    "LayerNorm": ((4, 2, 3), (1, 2), (1, 2, 3)),
    "LayerNorm2D": ((3, 4, 2, 3), (1,), (1, 4, 1, 1)),
    "GroupNorm": ((3, 2, 2, 5), (2, 3), (1, 2, 2, 1)),
    "RMSNorm": ((3, 6), (1,), (1, 6)),
    "RMSNorm2D": ((3, 4, 2, 3), (1,), (1, 4, 1, 1)),
    "InstanceNorm2D, tracked": ((3, 4, 2, 3), (2, 3), (1, 4, 1, 1)),
}
"""For each layer the view in which it normalizes, the axes that share statistics, and the view of weight and bias."""


def exact(array: Any) -> Any:
    """The same numbers in extended precision."""
    return np.frompyfunc(mpmath.mpf, 1, 1)(array)


def exactly(name: str, layer: Any, x: Any, parameters: list[Any], activation: str | None) -> Any:
    """The formula of a norm, in extended precision."""
    view, axes, affine = PLACES[name]
    z = x.reshape(view)
    if layer.training or getattr(layer, "running_mean", None) is None:
        count = math.prod(view[axis] for axis in axes)
        mean = 0 if name.startswith("RMSNorm") else z.sum(axis=axes, keepdims=True) / count
        var = ((z - mean) ** 2).sum(axis=axes, keepdims=True) / count
    else:
        mean, var = (exact(each.raw).reshape(affine) for each in (layer.running_mean, layer.running_var))
    eps = np.finfo(np.float64).eps if layer.eps is None else layer.eps
    y = (z - mean) / np.frompyfunc(mpmath.sqrt, 1, 1)(var + mpmath.mpf(eps))
    y = y * parameters[0].reshape(affine)
    y = y + parameters[1].reshape(affine) if len(parameters) > 1 else y
    if activation:
        y = y * np.frompyfunc(lambda each: 1 / (1 + mpmath.exp(-each)), 1, 1)(y)
    return y.reshape(x.shape)


CASES = [
    *((name, fused, activation, True) for name in LAYERS for fused in (True, False) for activation in (None, "silu")),
    *((name, True, "silu", False) for name in LAYERS if name.startswith("Batch") or "tracked" in name),
    ("BatchNorm2D", False, None, False),
]


@pytest.mark.parametrize(("name", "fused", "activation", "training"), CASES)
def test_three_derivatives_of_every_norm(rng, name, fused, activation, training):
    """Along a direction in x, weight and bias, against differences of the formula in 60 digits."""
    make, shape = LAYERS[name]
    layer = stirred(make(dtype="float64", activation=activation, fused=fused), rng)
    for buffer in (getattr(layer, "running_mean", None), getattr(layer, "running_var", None)):
        if buffer is not None:
            buffer.raw = rng.uniform(0.5, 2, size=buffer.shape)
    layer.train(training)
    x, cotangent = tensor(rng.normal(size=shape)), rng.normal(size=shape)
    inputs = [x.requires_grad_(), *layer.parameters()]
    v = [rng.normal(size=each.shape) for each in inputs]

    def weighed() -> Any:
        return (layer(x) * cotangent).sum()

    with mpmath.workdps(60):
        starts, steps, weights = [exact(each.raw) for each in inputs], [exact(each) for each in v], exact(cotangent)

        def formula(t: Any) -> Any:
            moved = [start + t * step for start, step in zip(starts, steps, strict=True)]
            return (exactly(name, layer, moved[0], moved[1:], activation) * weights).sum()

        expected = [float(mpmath.diff(formula, 0, order)) for order in range(4)]

    function = weighed
    for order in range(4):
        if order:
            function = lambda before=function: jvp(before, inputs, v, create_graph=True)[1]  # noqa: E731
        assert function().item() == pytest.approx(expected[order], rel=1e-9, abs=1e-11)
    assert hessian_vector_product(weighed, inputs, v)[0].item() == pytest.approx(expected[0], rel=1e-9)
    second = hessian_vector_product(weighed, inputs, v, create_graph=True)[1]
    curvature = sum(((h * u).sum() for h, u in zip(second, v, strict=True)), tensor(0.0))
    assert curvature.item() == pytest.approx(expected[2], rel=1e-9, abs=1e-11)
    third = vjp(
        lambda: sum(
            ((h * u).sum() for h, u in zip(hessian_vector_product(weighed, inputs, v, True)[1], v, strict=True)),
            tensor(0.0),
        ),
        inputs,
    )[1]
    assert sum((g.raw * u).sum() for g, u in zip(third, v, strict=True)) == pytest.approx(
        expected[3], rel=1e-9, abs=1e-11
    )


def test_a_derived_norm_at_third_order(rng):
    @derive
    def l4_norm(x: Any, weight: Any, *, axes: Any, eps: float = 1e-5) -> Any:
        """Divide by the fourth root of the mean fourth power."""
        xp = x.__array_namespace__()
        size = xp.mean(x * x * x * x, axis=axes, keepdims=True)
        return weight * x / xp.sqrt(xp.sqrt(size + eps))

    x, weight, v = tensor(rng.normal(size=(2, 3))), tensor(rng.normal(size=3)), rng.normal(size=(2, 3))
    cotangent = rng.normal(size=(2, 3))
    function: Callable[..., Any] = lambda x: (l4_norm(x, weight, axes=-1) * cotangent).sum()  # noqa: E731
    with mpmath.workdps(60):
        start, step, scale, weights = (exact(each) for each in (x.raw, v, weight.raw, cotangent))

        def formula(t: Any) -> Any:
            z = start + t * step
            size = (z**4).sum(axis=1, keepdims=True) / 3 + mpmath.mpf(1e-5)
            return (scale * z / np.frompyfunc(lambda each: mpmath.root(each, 4), 1, 1)(size) * weights).sum()

        expected = [float(mpmath.diff(formula, 0, order)) for order in range(1, 4)]
    for each in expected:
        function = derivative(function, v)
        assert function(x).item() == pytest.approx(each, rel=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_same_fused_and_composed(rng, tool):
    layer = stirred(nn.LayerNorm(4, activation="gelu", dtype="float64"), rng)
    scalar = "hessian" in tool
    x, v = tensor(rng.normal(size=(3, 4))), rng.normal(size=(3, 4))
    given = (x, v) if tool in WITH_VECTORS else (x,)

    def function(x: Tensor) -> Any:
        return (layer(x) ** 3).sum() if scalar else layer(x)

    found = TOOLS[tool](function, *given)
    with composed():
        expected = TOOLS[tool](function, *given)
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (found, expected)), strict=True):
        close(one, other)


def check_along_a_direction(case: Case, rng: np.random.Generator, step: float = 1e-6) -> None:
    """First and second derivatives by differences, and forwards as backwards."""
    leaves = case.leaves()
    places = [i for i, each in enumerate(leaves) if getattr(each, "requires_grad", False)]
    inputs = [leaves[i] for i in places]

    def function(*given: Tensor) -> Any:
        by_place = dict(zip(places, given, strict=True))
        return case.call(*[by_place.get(i, each) for i, each in enumerate(leaves)])

    def loss(*given: Tensor) -> Any:
        return (function(*given) * cotangent).sum()

    v = [rng.normal(size=each.shape) for each in inputs]
    ahead, behind = (
        [tensor(each.raw + sign * step * u) for each, u in zip(inputs, v, strict=True)] for sign in (1, -1)
    )
    output, along = jvp(function, inputs, v)
    with no_grad():
        close(along, (function(*ahead).raw - function(*behind).raw) / (2 * step), rtol=1e-6)
    cotangent = rng.normal(size=output.shape)
    _, back = vjp(function, inputs, cotangent)
    close((along.raw * cotangent).sum(), sum((g.raw * u).sum() for g, u in zip(back, v, strict=True)))
    products = hessian_vector_product(loss, inputs, v)[1]
    for product, one, other in zip(products, vjp(loss, ahead)[1], vjp(loss, behind)[1], strict=True):
        close(product, (one.raw - other.raw) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("name", [*OPS, *(name for name in layer_names() if name != "PowerNorm")])  # by design
def test_every_layer_and_op(rng, name):
    for case in op_cases(name, rng) if name in OPS else layer_cases(name, rng):
        if not case.larger:
            check_along_a_direction(case, rng)


# What holds for every function


def test_what_depends_on_no_input_but_was_recorded_has_the_derivative_0(rng):
    w, x = tensor(rng.normal(size=2), True), tensor(rng.normal(size=(2, 3)))
    for recorded in (False, True):
        close(jacobian(lambda x: w * w, x, create_graph=recorded), np.zeros((2, 2, 3)))
        close(jvp(lambda x: w * w, x, np.ones((2, 3)), create_graph=recorded)[1], np.zeros(2))
        close(vjp(lambda x: (w * w).sum(), x, create_graph=recorded)[1], np.zeros((2, 3)))
        close(hessian(lambda x: (w * w).sum() + x.sum(), x, create_graph=recorded), np.zeros((2, 3, 2, 3)))
        one, constant = jacobian(lambda x: (x.sum(), tensor([1.0, 2.0])), x, create_graph=recorded)
        close(one, np.ones((2, 3)))
        close(constant, np.zeros((2, 2, 3)))
        _, along = jvp(lambda x: (x.sum(), tensor([1.0, 2.0])), x, np.ones((2, 3)), create_graph=recorded)
        close(along[0], 6.0)
        close(along[1], np.zeros(2))
        _, product = hessian_vector_product(lambda x: x.sum(), x, np.ones((2, 3)), create_graph=recorded)
        close(product, np.zeros((2, 3)))


def wild(x: Tensor) -> Tensor:
    return ops.layer_norm(x, 4) * x.exp() + ops.cumulative_sum(x * x, 1)


def test_products_are_linear_and_those_of_the_jacobian(rng):
    x = tensor(rng.normal(size=(2, 4)))
    u, v, w = (rng.normal(size=(2, 4)) for _ in range(3))
    matrix = jacobian(wild, x).raw.reshape(8, 8)
    close(jvp(wild, x, v)[1].reshape(8), matrix @ v.ravel())
    close(vjp(wild, x, u)[1].reshape(8), matrix.T @ u.ravel())
    one, other, both = (jvp(wild, x, each)[1].raw for each in (v, w, 2 * v - 3 * w))
    close(both, 2 * one - 3 * other)
    close((u * one).sum(), (vjp(wild, x, u)[1].raw * v).sum())


def test_a_hessian_is_symmetric_and_the_jacobian_of_the_gradient(rng):
    x = tensor(rng.normal(size=(2, 4)))
    function = lambda x: (wild(x) ** 2).mean()  # noqa: E731
    found = hessian(function, x).raw.reshape(8, 8)
    close(found, found.T)
    gradient = lambda x: vjp(function, x, create_graph=True)[1]  # noqa: E731
    close(jacobian(gradient, x).reshape(8, 8), found)
    close(jacobian(lambda x: jacobian(function, x, create_graph=True), x).reshape(8, 8), found)
    for unit, column in zip(np.eye(8), found.T, strict=True):
        close(hessian_vector_product(function, x, unit.reshape(2, 4))[1].reshape(8), column)


@pytest.mark.parametrize("tool", TOOLS)
def test_results_can_be_differentiated_again(rng, tool):
    x, v = tensor(rng.normal(size=(2, 3)), True), tensor(rng.normal(size=(2, 3)), True)
    weight = tensor(rng.normal(size=3), True)  # what the function meets outside
    scalar = "hessian" in tool

    def result(x: Tensor, weight: Tensor, v: Tensor = v) -> Tensor:
        def function(x: Tensor) -> Tensor:
            y = ops.rms_norm(x, 3, weight) * x.sin()
            return (y * y).sum() if scalar else y

        found = TOOLS[tool](function, *((x, v) if tool in WITH_VECTORS else (x,)), create_graph=True)
        return found if isinstance(found, Tensor) else found[1]

    gradcheck(result, [x, weight, v][: 3 if tool in WITH_VECTORS else 2])


# The state around it


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("wants", [False, True])
@pytest.mark.parametrize("recorded", [False, True])
def test_nothing_is_left_behind(rng, tool, wants, recorded):
    net, _ = small_net(rng)
    x = tensor(rng.normal(size=(6, 3)), wants)
    function = lambda x: (net(x) ** 2).sum()  # noqa: E731
    norm, before = net._own_modules()["1"], x.raw.copy()
    call = functools.partial(TOOLS[tool], function, x, **({"v": x.raw} if tool in ("jvp", WITH_VECTORS[2]) else {}))
    gc.collect()
    gc.disable()
    try:
        found = call(create_graph=recorded)
        assert norm.num_batches_tracked.item() == 1  # the function ran once
        results = found if isinstance(found, tuple) else (found,)
        assert [each.requires_grad for each in results] == [recorded] * len(results)
        del found, results
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert x.requires_grad == wants
    assert x.grad is None
    assert x.is_leaf
    assert (x.raw == before).all()
    assert all(each.grad is None and each.requires_grad for each in net.parameters())


@pytest.mark.parametrize("tool", TOOLS)
def test_it_works_under_no_grad(rng, tool):
    x = tensor(rng.normal(size=3), True)
    function = lambda x: (x**3).sum()  # noqa: E731
    call = functools.partial(
        TOOLS[tool], function, x, **({"v": np.ones(3)} if tool in ("jvp", WITH_VECTORS[2]) else {})
    )
    expected = call()
    with no_grad():
        found = call()
        recorded = call(create_graph=True)
        assert not is_recording()
    for one, other, third in zip(
        *map(np.atleast_1d, map(np.asarray, map(raw, (found, expected, recorded)))), strict=True
    ):
        close(one, other)
        close(third, other)
    last = recorded if isinstance(recorded, Tensor) else recorded[1]
    assert last.requires_grad
    assert grad(last.sum(), x)[0].shape == (3,)


def raw(found: Any) -> Any:
    """The arrays of one result, or of output and product side by side."""
    return found.raw if isinstance(found, Tensor) else np.concatenate([each.raw.ravel() for each in found])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("recording", [True, False])
def test_an_exception_inside_leaves_the_modes_as_they_were(tool, recording):
    def broken(x: Tensor) -> Tensor:
        with composed():
            raise ArithmeticError

    x = tensor([1.0])
    with no_grad() if not recording else composed(False):
        with pytest.raises(ArithmeticError):
            TOOLS[tool](broken, x)
        assert is_recording() == recording
    assert is_recording()
    assert not x.requires_grad


def test_a_hook_of_an_input_sees_none_of_it():
    x, seen = tensor([1.0, 2.0], True), []
    x.register_hook(lambda gradient: seen.append(gradient))
    hessian(lambda x: (x**3).sum(), x, create_graph=True)
    assert seen == []


def test_running_statistics_move_once_for_each_call(rng):
    net, loss = small_net(rng)
    other = copy.deepcopy(net)
    norm = net._own_modules()["1"]
    for count, tool in enumerate((jacobian, hessian, vjp), 1):
        tool(loss, list(net.parameters()))
        assert norm.num_batches_tracked.item() == count
    assert not (norm.running_mean.raw == other._own_modules()["1"].running_mean.raw).any()


# What is refused


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_no_function_of_tensors_is_told(tool):
    x, call = tensor([1.0]), TOOLS[tool]
    refused = [
        (TypeError, "function is what computes the output, a function of the inputs, got Tensor", (x, x)),
        (TypeError, "inputs is a tensor of floats, or a tuple of some, got ndarray", (ops.exp, np.ones(1))),
        (TypeError, "inputs is a tensor of floats, or a tuple of some, got float", (ops.exp, [1.0])),
        (TypeError, "inputs is a tensor of floats, or a tuple of some, got dict", (ops.exp, {"x": x})),
        (TypeError, "inputs is a tensor of floats, got one of int64; see astype", (ops.exp, Tensor([1]))),
        (ValueError, "inputs is a tensor of floats, or a tuple of some, got none", (ops.exp, [])),
        (TypeError, "the output is a tensor of floats, or a tuple of some, got None", (lambda x: None, x)),
        (TypeError, "the output is a tensor of floats, or a tuple of some, got ndarray", (lambda x: x.data, x)),
        (TypeError, "the output is a tensor of floats, got one of int64", (lambda x: ops.argmax(x), x)),
        (ValueError, "the output was not recorded, so it has no derivative", (lambda x: x.detach(), x)),
        (ValueError, "the output was not recorded, so it has no derivative", (no_grad()(lambda x: x * x), x)),
        (ValueError, "the output was not recorded, so it has no derivative", (lambda x: (), x)),
        (ValueError, r"a function without arguments .* got one of shape \(1,\) that wants none", (lambda: x * x, x)),
    ]
    for error, words, given in refused:
        with pytest.raises(error, match=rf"^{tool}: {words}"):
            call(*given)
    with pytest.raises(RuntimeError, match="takes none with it"):  # as everywhere
        call(lambda x: np.exp(np.asarray(x)), x)


@pytest.mark.parametrize("tool", ["hessian", "hessian_vector_product"])
def test_a_hessian_is_that_of_one_element(tool):
    x, v = tensor([1.0, 2.0]), [np.ones(2)] * (tool != "hessian")
    with pytest.raises(
        ValueError, match=rf"^{tool}: the output is one element, as a loss is, got shape \(2,\); see sum"
    ):
        TOOLS[tool](lambda x: x * x, x, *v)
    with pytest.raises(ValueError, match=r"got shape \(\) and \(2,\)"):
        TOOLS[tool](lambda x: (x.sum(), x), x, *v)
    assert hessian(lambda x: (x**3).sum(axis=0, keepdims=True), x).shape == (2, 2)


@pytest.mark.parametrize("tool", WITH_VECTORS)
def test_a_vector_that_does_not_fit_is_told(tool):
    x, y = tensor([1.0, 2.0]), tensor([[3.0]])
    one, two = (
        ((lambda x: x.sum()), (lambda x, y: x.sum() * y.sum())) if tool != "vjp" else (ops.exp, lambda x, y: (x, y))
    )
    call = TOOLS[tool]
    refused = [
        (ValueError, r"is of shape \(2,\), got \(3,\)", (one, x, np.ones(3))),
        (ValueError, r"is of shape \(2,\), got \(\)", (one, x, 1.0)),
        (ValueError, r"is left out for one element alone, got none for shape \(2,\)", (one, x)),
        (ValueError, r"is left out for one element alone, got none for shape \(2,\), \(1, 1\)", (two, (x, y))),
        (ValueError, "is one for each of 2 tensors, got 1", (two, (x, y), [x])),
        (TypeError, "is a tuple, as what it belongs to, got ndarray", (two, (x, y), np.ones(2))),
        (ValueError, r"is of shape \(1, 1\), got \(1,\)", (two, (x, y), (x, [1.0]))),
    ]
    for error, words, given in refused:
        with pytest.raises(error, match=rf"^{tool}: v {words}"):
            call(*given)
    by_name = lambda x: {"a": x, "b": x}  # noqa: E731
    with pytest.raises(TypeError, match="vjp: v is a dict, as what it belongs to, got Tensor"):
        vjp(by_name, x, x)
    with pytest.raises(ValueError, match=r"vjp: v has the keys \['a', 'b'\], got \['a'\]"):
        vjp(by_name, x, {"a": x})
