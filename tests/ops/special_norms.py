"""Special values for every norm: what test_special_values.py runs in every implementation.

Each group of six numbers holds a special one or several. Where an activation has a kink, what underflows to 0 would be
on another side of it than the exact number is: there is a bias.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np

from tinygrad_norm import ops

cases = run_path(str(Path(__file__).parent / "special_cases.py"))
Case, INF = cases["Case"], cases["INF"]
columns, rows, ordinary, pairs_within = (cases[name] for name in ("columns", "rows", "ordinary", "pairs_within"))

Array = Any
Draw = Callable[[Any], list[Array]]
SMOOTH = ["silu", "hardswish", "gelu_tanh", "mish"]
CASES: dict[str, list[Any]] = {}


def add(op: str, *more: Any) -> None:
    CASES.setdefault(op, []).extend(more)


def statistics(dtype: Any) -> list[Array]:
    """Every pair of a special mean and a special variance, and x near, far and at the mean."""
    mean, var = pairs_within(dtype, 1e-6)
    mean, var = mean[~(var < 0)], var[~(var < 0)]
    x = np.stack([np.full_like(mean, v) for v in (1.0, -3.0, 1e-6 * np.finfo(dtype).max, 0.0, INF, 1e-30)])
    x[-1] = mean
    return [x, mean, var]


def parameters(dtype: Any) -> list[Array]:
    """Every pair of a special weight and a special bias, and ordinary x; some of it constant."""
    weight, bias = pairs_within(dtype, 1 / 16)
    x = np.random.default_rng(3).normal(1, 2, (5, len(weight))).astype(dtype)
    x[:, ::7] = x[0, ::7]
    return [x, weight, bias]


def parameters_of_images(dtype: Any) -> list[Array]:
    """The same for images of two pixels whose channels are first in memory."""
    x, weight, bias = parameters(dtype)
    return [x[:4].reshape(2, 2, -1).transpose(0, 2, 1).copy(), weight, bias]


def images(dtype: Any) -> list[Array]:
    """Groups of six pixels of three channels, channels last in memory: shape (many, 3, 2, 3)."""
    (x,) = rows(dtype)
    x = x[: len(x) // 3 * 3].reshape(-1, 3, 2, 3)
    return [np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)]


def pixels(dtype: Any) -> list[Array]:
    """Pixels of six channels, which are last in memory: shape (many, 6, 1, 2)."""
    (x,) = rows(dtype)
    return [np.moveaxis(x[: len(x) // 2 * 2].reshape(-1, 1, 2, 6), -1, 1)]


def batch(x: Any, *affine: Any, **how: Any) -> Any:
    return ops.batch_norm(x, None, None, *affine, training=True, **how)


def inference(x: Any, mean: Any, var: Any, *affine: Any, **how: Any) -> Any:
    return ops.batch_norm(x, mean.raw, var.raw, *affine, **how)


def root(axes: tuple[int, ...], eps: float = 1e-5, centred: bool = True) -> Callable[..., Array]:
    """What dx of a norm is made of: 1/√(var + eps), times the weight of columns, if there is one."""

    def scale(x: Array, weight: Any = 1.0, *_: Array) -> Array:
        wide = x.astype(np.longdouble)
        if centred:
            wide = wide - wide.mean(axis=axes, keepdims=True)
        weight = np.reshape(weight, np.shape(weight) + (1,) * (x.ndim - 2))
        return np.abs(weight) / np.sqrt((wide * wide).mean(axis=axes, keepdims=True) + eps)

    return scale


def add_norms(name: str, **how: Any) -> None:
    eps = how["eps"]
    add("batch_norm", Case(f"columns, {name}", columns, lambda x: batch(x, **how), (0,), 0, root((0,), eps)))
    many = Case(f"many rows, {name}", lambda d: columns(d, 14), lambda x: batch(x, **how), (0,), 0, root((0,), eps))
    add("batch_norm", many)
    add("layer_norm", Case(f"rows, {name}", rows, lambda x: ops.layer_norm(x, 6, **how), (1,), 0, root((1,), eps)))
    add("rms_norm", Case(f"rows, {name}", rows, lambda x: ops.rms_norm(x, 6, **how), (1,), 0, root((1,), eps, False)))
    for order in ("last", "first"):
        for op, draw, axes, function in (
            ("instance_norm", images, (2, 3), lambda x: ops.instance_norm(x, **how)),
            ("group_norm", images, (1, 2, 3), lambda x: ops.group_norm(x, 1, **how)),
            ("layer_norm_2d", pixels, (1,), lambda x: ops.layer_norm_2d(x, **how)),
            ("rms_norm_2d", pixels, (1,), lambda x: ops.rms_norm_2d(x, **how)),
        ):
            drawn = draw if order == "last" else copied(draw)
            scale = root(axes, eps, op != "rms_norm_2d")
            add(op, Case(f"channels {order}, {name}", drawn, function, axes, 0, scale))


def copied(draw: Draw) -> Draw:
    return lambda dtype: [np.ascontiguousarray(array) for array in draw(dtype)]


def add_norms_with(activation: Any) -> None:
    how, n = {"activation": activation}, columns(np.float64)[0].shape[1]
    affine, row = (ordinary(n, seed=4), ordinary(n, seed=5)), (ordinary(6, seed=4), ordinary(6, seed=6))
    name = f"activation {activation}"
    add(
        "batch_norm",
        Case(
            f"columns, {name}",
            lambda d: [columns(d)[0], *[a(d)[: columns(d)[0].shape[1]] for a in affine]],
            lambda *x: batch(*x, **how),
            (0,),
            64,
            root((0,)),
        ),
        Case(f"parameters, {name}", parameters, lambda *x: batch(*x, **how), (0,), 64, root((0,))),
        Case(
            f"parameters of images, {name}", parameters_of_images, lambda *x: batch(*x, **how), (0, 2), 64, root((0, 2))
        ),
        Case(
            f"statistics, {name}",
            statistics,
            lambda x, mean, var: inference(
                x, mean, var, ordinary(mean.size, seed=4)(x.dtype), ordinary(mean.size, seed=5)(x.dtype), **how
            ),
            rounding=64,
        ),
        Case(
            f"parameters in inference, {name}",
            parameters,
            lambda x, w, b: ops.batch_norm(
                x, np.full(w.shape, 0.5, x.dtype), np.full(w.shape, 2.0, x.dtype), w, b, **how
            ),
            rounding=64,
            scale=lambda x, w, b: np.abs(w),
        ),
    )
    with_parameters = {"eps": 1e-5, **how}
    add(
        "layer_norm",
        Case(
            f"rows, {name}",
            rows,
            lambda x: ops.layer_norm(x, 6, *[a(x.dtype) for a in row], **with_parameters),
            (1,),
            64,
            root((1,)),
        ),
    )
    if activation is None or activation in SMOOTH:  # without a bias, what underflows is at the kink of the others
        add(
            "rms_norm",
            Case(
                f"rows, {name}",
                rows,
                lambda x: ops.rms_norm(x, 6, row[0](x.dtype), **with_parameters),
                (1,),
                64,
                root((1,), centred=False),
            ),
        )


for _eps in (1e-5, 0.0, 1e30):
    add_norms(f"eps {_eps}", eps=_eps)
for _activation in (None, "relu", ("leaky_relu", 0.1), *SMOOTH):
    add_norms_with(_activation)
