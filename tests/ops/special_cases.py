"""Special values for every public op but the norms: what test_special_values.py runs in every implementation.

A case draws its inputs in a dtype, floating-point ones of which are differentiated, and computes one tensor from them.
Products and sums of products are made of one special value at a time: their partial sums leave the range of a dtype in
another order in each implementation, as in any BLAS.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import ops

Array = Any
Draw = Callable[[Any], list[Array]]
NAN, INF = np.nan, np.inf


class Case(NamedTuple):
    """What is compared.

    Args:
        name: what tells it from the other cases of its op.
        draw: gives arrays, from a dtype.
        function: gives one tensor of them.
        along: the axes of what has the rank of the first input along which numbers share their rounding, as terms of
            one sum; none for a function of each element.
        rounding: the absolute error that is tolerated besides, in units of the machine epsilon.
        scale: gives, of the inputs, what the terms of the first one's gradient are as large as, if they may cancel;
            beside that, no absolute error is tolerated.
    """

    name: str
    draw: Draw
    function: Callable[..., Any]
    along: tuple[int, ...] = ()
    rounding: float = 0.0
    scale: Callable[..., Array] | None = None


CASES: dict[str, list[Case]] = {}


def add(op: str, *cases: Case) -> None:
    CASES.setdefault(op, []).extend(cases)


# Values


def finite(dtype: Any) -> list[Any]:
    """Zeros, the largest and the smallest, and values around what ops treat as a bound."""
    info = np.finfo(dtype)
    sizes = [info.max, info.tiny, info.smallest_subnormal, 1e30, 1e-30, 3e38, 0.5, 1.0, 2.5, 20.0, 88.0, 200.0]
    if dtype == np.float64:
        sizes += [1e200, 1e-200, 709.0, 1.7e308]
    for bound in (3.0, 20.0, 25.0):  # hardswish, PyTorch's softplus, tanh's GELU
        sizes += [np.nextafter(dtype(bound), dtype(way)) for way in (0, bound, 100)]
    return [0.0, *sizes, -0.0, *[-size for size in sizes]]


def special(dtype: Any) -> list[Any]:
    return [*finite(dtype), INF, -INF, NAN]


def vector(dtype: Any) -> list[Array]:
    return [np.array(special(dtype), dtype)]


def pairs(dtype: Any) -> list[Array]:
    return [column.astype(dtype) for column in np.array(list(product(special(dtype), repeat=2))).T]


def columns(dtype: Any, repeat: int = 1) -> list[Array]:
    """Columns of six values, one of which, or all, are special: shape (6 repeat, many)."""
    rng, found = np.random.default_rng(0), []
    for v in special(dtype):
        found += [
            [v, 1, 2, -1, 0.5, 3],
            [v, -v, v / 2, v, v, -v / 4],
            [v] * 6,
            [v, v, 0.5, v, -2, 1],
            [0, 0, v, 0, 0, 0],
        ]
    found += [rng.choice(finite(dtype), 6) for _ in range(60)] + [rng.choice(special(dtype), 6) for _ in range(21)]
    return [np.tile(np.array(found).T, (repeat, 1)).astype(dtype)]


def rows(dtype: Any) -> list[Array]:
    return [columns(dtype)[0].T.copy()]


def within(dtype: Any, most: float, least: float) -> list[Array]:
    """The columns whose numbers, but for 0 and what is not finite, are within these bounds."""
    (x,) = columns(dtype)
    size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 1)
    return [x[:, ((size <= most) & (size >= least)).all(axis=0)]]


def pairs_within(dtype: Any, share: float) -> list[Array]:
    """Pairs of special values that neither overflow nor vanish when they are used.

    Finite ones are no more than a share of the largest, and no subnormal numbers.
    """
    (x,), info = vector(dtype), np.finfo(dtype)
    size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 1)
    kept = x[(size <= share * info.max) & (size >= info.tiny)]
    return [column.astype(dtype) for column in np.array(list(product(kept, repeat=2))).T]


def alone(*shape: int) -> Callable[[Any], Array]:
    """Small integers, among which each special value stands alone in one slice: shape (many, *shape)."""

    def draw(dtype: Any) -> Array:
        values = special(dtype)
        x = np.random.default_rng(2).integers(1, 4, (len(values), *shape)).astype(dtype)
        x[(slice(None), *[0] * len(shape))] = values
        return x

    return draw


def ordinary(*shape: int, seed: int = 1) -> Callable[[Any], Array]:
    return lambda dtype: np.random.default_rng(seed).uniform(0.1, 0.9, size=shape).astype(dtype)


def together(*draws: Callable[[Any], Array]) -> Draw:
    return lambda dtype: [draw(dtype) for draw in draws]


# Elementwise

for _name in [
    "abs",
    "ceil",
    "cos",
    "exp",
    "floor",
    "isfinite",
    "isnan",
    "log",
    "log1p",
    "negative",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "square",
]:
    add(_name, Case("all", vector, getattr(ops, _name)))
for _name in ["erf", "expm1", "ndtr", "sigmoid", "tanh"]:
    add(_name, Case("all", vector, getattr(ops, _name), rounding=8))
for _name in ["add", "subtract", "multiply", "maximum", "minimum", "logaddexp"]:
    add(_name, Case("pairs", pairs, getattr(ops, _name)))
add("divide", Case("pairs", lambda d: pairs_within(d, 1 / 16), ops.divide))
POWERS = [0.0, 1.0, 2.0, -1.0, -2.5, 0.5, 0.3, 3.0, 20.0, 1e30, -1e30, 1e-30, 1e37, -1e37, INF, -INF, NAN]
add("pow", Case("pairs", lambda d: list(np.array(list(product(POWERS, repeat=2)), d).T), ops.pow))
for _name in [
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
]:
    add(_name, Case("pairs", pairs, getattr(ops, _name)))
add("logical_not", Case("all", vector, ops.logical_not))
add("astype", Case("itself", vector, lambda x: ops.astype(x, x.dtype)))
add("astype", Case("truth", vector, lambda x: ops.astype(x, bool)))
add("clip", Case("between numbers", vector, lambda x: ops.clip(x, -2.5, 20.0)))
add("clip", Case("from below", pairs, lambda x, y: ops.clip(x, y, None)))
add("clip", Case("from above", pairs, lambda x, y: ops.clip(x, None, y)))
add("where", Case("pairs", pairs, lambda x, y: ops.where(np.arange(x.size) % 2 == 0, x, y)))
add("scale", Case("of channels", together(alone(3, 2), ordinary(3, 1)), ops.scale, along=(0,)))
add("scale", Case("by special factors", together(ordinary(40, 3), lambda d: vector(d)[0][-40:, None]), ops.scale))

# Activations

for _name in ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "hardswish", "mish"]:
    add(_name, Case("all", vector, getattr(ops, _name), rounding=8))
add("gated", Case("by a sigmoid", vector, lambda x: ops.gated(x, ops.sigmoid(x)), rounding=8))
add("leaky_relu", Case("slope 0", vector, lambda x: ops.leaky_relu(x, 0.0)))
add("leaky_relu", Case("a negative slope", vector, lambda x: ops.leaky_relu(x, -0.5)))
add("elu", Case("alpha", vector, lambda x: ops.elu(x, 1.7), rounding=8))
add("gelu", Case("tanh", vector, lambda x: ops.gelu(x, "tanh"), rounding=8))
add("softplus", Case("beta", vector, lambda x: ops.softplus(x, 0.5), rounding=8))
add("add_relu", Case("pairs", pairs, ops.add_relu))
for _name in ["softmax", "log_softmax", "logsumexp"]:
    _op = getattr(ops, _name)
    add(_name, Case("rows", rows, lambda x, op=_op: op(x, axis=1), along=(1,), rounding=8))
    add(_name, Case("columns", columns, lambda x, op=_op: op(x, axis=0), along=(0,), rounding=8))

# Reductions

for _name in ["sum", "mean", "max", "min", "argmax", "argmin", "all", "any"]:
    _op = getattr(ops, _name)
    add(_name, Case("columns", columns, lambda x, op=_op: op(x, axis=0), along=(0,)))
    add(_name, Case("rows", rows, lambda x, op=_op: op(x, axis=1, keepdims=True), along=(1,)))
add("mean", Case("of pixels", lambda d: [rows(d)[0].reshape(-1, 1, 2, 3)], lambda x: ops.mean(x, (2, 3)), (2, 3)))
add("cumulative_sum", Case("columns", columns, lambda x: ops.cumulative_sum(x, axis=0), (0,)))
add(
    "prod",
    Case("rows", lambda d: [np.where(np.eye(1, 3) > 0, vector(d)[0][:, None], d(1))], lambda x: ops.prod(x, 1), (1,)),
)
for _name in ("var", "std"):
    _op = getattr(ops, _name)
    for _correction in (0, 1):
        add(
            _name,
            Case(
                f"columns, correction {_correction}",
                lambda d: within(d, np.finfo(d).max / 4, 1e3 * np.finfo(d).tiny),
                lambda x, op=_op, c=_correction: op(x, axis=0, correction=c),
                (0,),
            ),
        )

# What moves elements

for _name, _function in {
    "broadcast_to": lambda x: ops.broadcast_to(x, (2, *x.shape)),
    "concat": lambda x: ops.concat([x, x[:1]], axis=0),
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "flatten": ops.flatten,
    "flip": lambda x: ops.flip(x, 0),
    "gather": lambda x: ops.gather(x, 0, np.array([[0, 2, 2], [1, 0, 3]])),
    "getitem": lambda x: ops.getitem(x, ([0, 3, 3, 7], slice(None))),
    "matrix_transpose": ops.matrix_transpose,
    "moveaxis": lambda x: ops.moveaxis(x, 0, 1),
    "pad": lambda x: ops.pad(x, ((1, 0), (0, 2)), INF),
    "permute_dims": lambda x: ops.permute_dims(x, (1, 0)),
    "reshape": lambda x: ops.reshape(x, (3, -1)),
    "roll": lambda x: ops.roll(x, 4, 0),
    "split": lambda x: ops.split(x, [3], 0)[1],
    "squeeze": lambda x: ops.squeeze(x[:, None], 1),
    "stack": lambda x: ops.stack([x, x], 1),
    "take": lambda x: ops.take(x, [1, 5, 5, 5], 0),
    "take_along_axis": lambda x: ops.take_along_axis(x, np.array([[0, 3, 4]]), 0),
    "dropout": lambda x: ops.dropout(x, 0.5),
    "stochastic_depth": lambda x: ops.stochastic_depth(x, 0.5),
}.items():
    add(_name, Case("all", together(alone(3)), _function))
add("dropout2d", Case("all", together(alone(2, 2, 2)), lambda x: ops.dropout2d(x, 0.5)))

# Losses


def logits(dtype: Any) -> Array:
    """All rows of three out of a few values."""
    values = [0.0, 1.0, -2.5, 1e4, 1e30, -np.finfo(dtype).max, INF, -INF, NAN]
    return np.array(list(product(values, repeat=3)), dtype)


def add_losses() -> None:
    n = len(logits(np.float64))
    classes, weights = np.arange(n) % 3, np.array([0.0, 2.0, 0.5])
    shares = np.array([[0.0, 1.0, 0.0], [0.0, 0.25, 0.75], [0.2, 0.3, 0.5]])[classes]
    for smoothing, weight, ignore in product((0.0, 0.1, 1.0), (None, weights), (-100, 2)):
        how = {"weight": weight, "label_smoothing": smoothing}
        name = f"weights {weight}, smoothing {smoothing}"
        add(
            "cross_entropy",
            Case(
                f"classes, {name}, ignoring {ignore}",
                together(logits),
                lambda x, how=how, i=ignore: ops.cross_entropy(x, classes, reduction="none", ignore_index=i, **how),
                (1,),
                8,
            ),
        )
        if ignore < 0:
            add(
                "cross_entropy",
                Case(
                    f"probabilities, {name}",
                    together(logits),
                    lambda x, how=how: ops.cross_entropy(x, shares.astype(x.dtype), reduction="none", **how),
                    (1,),
                    8,
                ),
            )
    large = logits(np.float64)[np.isfinite(logits(np.float64)).all(axis=1) & (logits(np.float64) > -1e31).all(axis=1)]
    for reduction in ("mean", "sum"):
        add(
            "cross_entropy",
            Case(
                f"{reduction} of large logits",
                lambda d: [large.astype(d)],
                lambda x, r=reduction: ops.cross_entropy(x, np.arange(len(large)) % 3, weights, r, 0.1),
                (0, 1),
            ),
        )
    for weight, ignore in product((None, weights), (-100, 2)):
        add(
            "nll_loss",
            Case(
                f"weights {weight}, ignoring {ignore}",
                together(logits),
                lambda x, w=weight, i=ignore: ops.nll_loss(x, classes, w, "none", i),
            ),
        )


add_losses()
for _name in ["mse_loss", "l1_loss", "huber_loss"]:
    _op = getattr(ops, _name)
    add(_name, Case("pairs", lambda d: pairs_within(d, 1 / 16), lambda x, y, op=_op: op(x, y, reduction="none")))
add("huber_loss", Case("a wide one", pairs, lambda x, y: ops.huber_loss(x, y, reduction="none", delta=1e10)))


def chances(dtype: Any) -> list[Array]:
    x = np.repeat(vector(dtype)[0], 3)
    return [x, np.tile(np.array([0.0, 1.0, 0.25], dtype), len(x) // 3)]


add(
    "binary_cross_entropy_with_logits",
    Case("all", chances, lambda x, p: ops.binary_cross_entropy_with_logits(x, p, reduction="none"), rounding=8),
    Case(
        "weighted",
        chances,
        lambda x, p: ops.binary_cross_entropy_with_logits(x, p, 0.5, "none", np.asarray(3.0, x.dtype)),
        rounding=8,
    ),
)

# Products

add("matmul", Case("rows", together(alone(3), ordinary(3, 2)), ops.matmul, (0,)))
add("einsum", Case("rows", together(alone(3), ordinary(3, 2)), lambda x, y: ops.einsum("ij,jk->ki", x, y)))
for _activation in (None, "relu", ("leaky_relu", 0.1), "silu", "hardswish"):
    add(
        "linear",
        Case(
            f"rows, activation {_activation}",
            together(alone(3)),
            lambda x, a=_activation: ops.linear(x, ordinary(2, 3)(x.dtype), ordinary(2)(x.dtype), a),
            (1,),
        ),
    )

# Images


def pictures(dtype: Any) -> list[Array]:
    """Images of one channel, each with one special value in a corner."""
    return [alone(1, 4, 6)(dtype)]


def full(dtype: Any) -> list[Array]:
    """Images of four channels, each filled with one special value but for a pixel."""
    x = np.ones((len(special(dtype)), 4, 4, 6), dtype) * vector(dtype)[0][:, None, None, None]
    x[:, :, 0, 3] = 1
    return [x * dtype(0.999)]


for _activation in (None, "leaky_relu", "silu"):
    add(
        "conv2d",
        Case(
            f"activation {_activation}",
            pictures,
            lambda x, a=_activation: ops.conv2d(
                x, ordinary(2, 1, 3, 3)(x.dtype), ordinary(2)(x.dtype), padding=1, activation=a
            ),
            (1, 2, 3),
        ),
    )
for _name, _draw in {"one": pictures, "full": full}.items():
    add("max_pool2d", Case(_name, _draw, lambda x: ops.max_pool2d(x, 3, 1, 1), (1, 2, 3)))
    add("avg_pool2d", Case(_name, _draw, lambda x: ops.avg_pool2d(x, 2), (1, 2, 3)))
    add("avg_pool2d", Case(f"{_name}, padded", _draw, lambda x: ops.avg_pool2d(x, 3, 1, 1), (1, 2, 3)))
    add("local_response_norm", Case(_name, _draw, lambda x: ops.local_response_norm(x, 3, 0.1), (1, 2, 3)))
    add("adaptive_avg_pool2d", Case(f"{_name}, to a pixel", _draw, lambda x: ops.adaptive_avg_pool2d(x, 1), (1, 2, 3)))
    add("adaptive_avg_pool2d", Case(f"{_name}, uneven", _draw, lambda x: ops.adaptive_avg_pool2d(x, (3, 4)), (1, 2, 3)))
    add("interpolate", Case(f"{_name}, nearest", _draw, lambda x: ops.interpolate(x, (3, 9)), (1, 2, 3)))
    add(
        "interpolate",
        Case(f"{_name}, bilinear", _draw, lambda x: ops.interpolate(x, (3, 9), mode="bilinear"), (1, 2, 3)),
    )
