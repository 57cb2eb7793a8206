"""Every op of nothing: what can be computed of it is, with the shape that it has, and so are the gradients."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, grad, kernels, ops

ELEMENTWISE = [
    *("abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "isfinite", "isnan", "log", "log1p", "logical_not"),
    *("ndtr", "negative", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "square", "tanh"),
    *("elu", "gelu", "hardswish", "leaky_relu", "mish", "relu", "silu", "softplus", "dropout"),
]
PAIRS = [
    *("add", "add_relu", "divide", "equal", "gated", "greater", "greater_equal", "less", "less_equal", "logaddexp"),
    *("logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "not_equal", "pow", "scale"),
    "subtract",
]
IMAGES, FILTERS, NO_LABELS = (0, 4, 6, 8), (2, 4, 3, 3), np.zeros(0, int)
Shape = tuple[int, ...]

# The op, the shapes of what it takes, and the shape of its output; a number is that of each element as well.
CASES: dict[str, list[tuple[Callable[..., Any], list[Shape], Shape, float | None]]] = {
    **{name: [(getattr(ops, name), [(0, 3)], (0, 3), None)] for name in ELEMENTWISE},
    **{name: [(getattr(ops, name), [(0, 3), (0, 3)], (0, 3), None)] for name in PAIRS},
    "astype": [(lambda x: ops.astype(x, np.float32), [(0, 3)], (0, 3), None)],
    "clip": [(lambda x: ops.clip(x, 0, 1), [(0, 3)], (0, 3), None)],
    "where": [(lambda x, y: ops.where(np.ones((0, 3), bool), x, y), [(0, 3), (3,)], (0, 3), None)],
    "dropout2d": [(ops.dropout2d, [IMAGES], IMAGES, None)],
    "stochastic_depth": [(lambda x: ops.stochastic_depth(x, 0.5), [IMAGES], IMAGES, None)],
    "softmax": [(lambda x, a=a: ops.softmax(x, a), [(0, 3)], (0, 3), None) for a in (0, 1)],
    "log_softmax": [(lambda x, a=a: ops.log_softmax(x, a), [(0, 3)], (0, 3), None) for a in (0, 1)],
    "sum": [(lambda x: ops.sum(x, 0), [(0, 3)], (3,), 0), (lambda x: ops.sum(x, 1), [(0, 3)], (0,), None)],
    "prod": [(lambda x: ops.prod(x, 0), [(0, 3)], (3,), 1), (lambda x: ops.prod(x, 1), [(0, 3)], (0,), None)],
    "all": [(lambda x: ops.all(x, 0), [(0, 3)], (3,), True)],
    "any": [(lambda x: ops.any(x, 0), [(0, 3)], (3,), False)],
    "logsumexp": [(lambda x: ops.logsumexp(x, 0), [(0, 3)], (3,), -np.inf)],
    **{
        name: [(lambda x, op=getattr(ops, name): op(x, axis=1), [(0, 3)], (0,), None)]  # noqa: B008
        for name in ("mean", "var", "std", "max", "min", "argmax", "argmin")
    },
    "cumulative_sum": [(lambda x, a=a: ops.cumulative_sum(x, a), [(0, 3)], (0, 3), None) for a in (0, 1)],
    "broadcast_to": [(lambda x: ops.broadcast_to(x, (2, 0, 3)), [(0, 3)], (2, 0, 3), None)],
    "concat": [(lambda x, y: ops.concat([x, y]), [(0, 3), (2, 3)], (2, 3), None)],
    "expand_dims": [(ops.expand_dims, [(0, 3)], (1, 0, 3), None)],
    "flatten": [(lambda x: ops.flatten(x, 1), [IMAGES], (0, 192), None)],
    "flip": [(ops.flip, [(0, 3)], (0, 3), None)],
    "gather": [(lambda x: ops.gather(x, 1, np.zeros((0, 2), int)), [(0, 3)], (0, 2), None)],
    "getitem": [(lambda x: x[:, [0, 0]], [(0, 3)], (0, 2), None), (lambda x: x[NO_LABELS], [(2, 3)], (0, 3), None)],
    "matrix_transpose": [(ops.matrix_transpose, [(0, 3)], (3, 0), None)],
    "moveaxis": [(lambda x: ops.moveaxis(x, 0, 1), [(0, 3)], (3, 0), None)],
    "pad": [(lambda x: ops.pad(x, 1), [(0, 3)], (2, 5), 0)],
    "permute_dims": [(lambda x: ops.permute_dims(x, (1, 0)), [(0, 3)], (3, 0), None)],
    "reshape": [(lambda x: ops.reshape(x, (-1, 6)), [(0, 3)], (0, 6), None)],
    "roll": [(lambda x: ops.roll(x, 1, 0), [(0, 3)], (0, 3), None)],
    "split": [(lambda x: ops.split(x, 2, 1)[1], [(0, 4)], (0, 2), None)],
    "squeeze": [(lambda x: ops.squeeze(x, 1), [(0, 1, 3)], (0, 3), None)],
    "stack": [(lambda x, y: ops.stack([x, y]), [(0, 3), (0, 3)], (2, 0, 3), None)],
    "take": [(lambda x: ops.take(x, NO_LABELS, 0), [(2, 3)], (0, 3), None)],
    "take_along_axis": [(lambda x: ops.take_along_axis(x, np.zeros((0, 1), int), 1), [(0, 3)], (0, 1), None)],
    "matmul": [(ops.matmul, [(0, 3), (3, 2)], (0, 2), None), (ops.matmul, [(2, 0), (0, 3)], (2, 3), 0)],
    "einsum": [(lambda x, y: ops.einsum("ij,jk->ki", x, y), [(0, 3), (3, 2)], (2, 0), None)],
    "linear": [
        (ops.linear, [(0, 3), (2, 3), (2,)], (0, 2), None),
        (lambda *x: ops.linear(*x, activation="silu"), [(2, 0, 3), (2, 3), (2,)], (2, 0, 2), None),
        (lambda *x: ops.linear(*x, activation="relu"), [(4, 0), (2, 0), (2,)], (4, 2), 1),
    ],
    "conv2d": [
        (ops.conv2d, [IMAGES, FILTERS, (2,)], (0, 2, 4, 6), None),
        (lambda *x: ops.conv2d(*x, groups=4, activation="silu"), [IMAGES, (4, 1, 3, 3), (4,)], (0, 4, 4, 6), None),
        (lambda *x: ops.conv2d(*x, padding=1), [(0, 64, 8, 8), (64, 64, 3, 3)], (0, 64, 8, 8), None),
    ],
    "local_response_norm": [
        (lambda x: ops.local_response_norm(x, 3), [IMAGES], IMAGES, None),
        (lambda x: ops.local_response_norm(x, 2), [(2, 4, 0)], (2, 4, 0), None),
    ],
    "max_pool2d": [(lambda x: ops.max_pool2d(x, 2), [IMAGES], (0, 4, 3, 4), None)],
    "avg_pool2d": [(lambda x: ops.avg_pool2d(x, 2), [IMAGES], (0, 4, 3, 4), None)],
    "adaptive_avg_pool2d": [
        (lambda x: ops.adaptive_avg_pool2d(x, 1), [IMAGES], (0, 4, 1, 1), None),
        (lambda x: ops.adaptive_avg_pool2d(x, 5), [IMAGES], (0, 4, 5, 5), None),
    ],
    "interpolate": [
        (lambda x, mode=mode: ops.interpolate(x, (3, 3), mode=mode), [IMAGES], (0, 4, 3, 3), None)
        for mode in ("nearest", "bilinear")
    ],
    **{
        name: [
            (lambda x, op=getattr(ops, name): op(x, NO_LABELS, reduction="none"), [(0, 3)], (0,), None),  # noqa: B008
            (lambda x, op=getattr(ops, name): op(x, NO_LABELS, reduction="sum"), [(0, 3)], (), 0),  # noqa: B008
        ]
        for name in ("cross_entropy", "nll_loss")
    },
    **{
        name: [
            (lambda x, y, op=getattr(ops, name): op(x, y, reduction="none"), [(0, 3), (0, 3)], (0, 3), None),  # noqa: B008
            (lambda x, y, op=getattr(ops, name): op(x, y, reduction="sum"), [(0, 3), (0, 3)], (), 0),  # noqa: B008
        ]
        for name in ("mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits")
    },
    "batch_norm": [
        (lambda *x: ops.batch_norm(x[0], None, None, *x[1:], training=True), [(0, 4), (4,), (4,)], (0, 4), None),
        (lambda x: ops.batch_norm(x, None, None, training=True, activation="silu"), [(2, 4, 0)], (2, 4, 0), None),
    ],
    "instance_norm": [(ops.instance_norm, [IMAGES], IMAGES, None)],
    "layer_norm": [
        (lambda *x: ops.layer_norm(x[0], 4, *x[1:]), [(0, 4), (4,), (4,)], (0, 4), None),
        (lambda x: ops.layer_norm(x, (0, 2)), [(3, 0, 2)], (3, 0, 2), None),
    ],
    "group_norm": [(lambda *x: ops.group_norm(x[0], 4, *x[1:]), [(0, 4), (4,), (4,)], (0, 4), None)],
    "rms_norm": [(lambda x, w: ops.rms_norm(x, 4, w), [(0, 4), (4,)], (0, 4), None)],
    "layer_norm_2d": [(ops.layer_norm_2d, [IMAGES, (4,), (4,)], IMAGES, None)],
    "rms_norm_2d": [(ops.rms_norm_2d, [IMAGES, (4,)], IMAGES, None)],
}
RUN_OTHERS = {"from_numpy_function", "from_numpy_ufunc"}
CONSTANT = {"arange", "ones", "ones_like", "zeros_like", "stop_gradient"}


def test_every_op_has_a_case():
    public = {name for name, op in vars(ops).items() if isinstance(op, FunctionType)}
    assert public == CASES.keys() | RUN_OTHERS | CONSTANT


@pytest.mark.parametrize("way", ["reference", "composed", *(["cpu"] if kernels._use_cpu else [])])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, way, monkeypatch):
    monkeypatch.setattr(kernels, "_use_cpu", way == "cpu")
    for op, shapes, shape, value in CASES[name]:
        leaves = [Tensor(np.ones(given, np.float32), requires_grad=True) for given in shapes]
        with composed(way == "composed"):
            y = op(*leaves)
            assert y.shape == shape
            assert value is None or (y.numpy() == value).all()
            if y.requires_grad:
                grads = grad(y, leaves, np.ones(shape), allow_unused=True)
                for leaf, gradient in zip(leaves, grads, strict=True):
                    assert gradient is None or (gradient.shape, gradient.dtype) == (leaf.shape, np.float32)
                    assert gradient is None or y.size or not gradient.numpy().any()


@pytest.mark.parametrize("name", ["mean", "max", "min", "argmax", "argmin", "var", "std"])
def test_what_nothing_has_not(name):
    with pytest.raises(ValueError, match=rf"{name}: .*\(0, 3\)"):
        getattr(ops, name)(np.ones((0, 3)), axis=0)


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss, ops.mse_loss, ops.l1_loss, ops.huber_loss])
def test_no_losses_have_no_mean(loss):
    target = NO_LABELS if loss in (ops.cross_entropy, ops.nll_loss) else np.ones((0, 3), np.float32)
    with pytest.raises(ValueError, match=r"no mean|mean: an input of shape"):
        loss(np.ones((0, 3), np.float32), target)
