"""What is compared with PyTorch: each case is written once, and run by make_golden.py, by the golden tests and live.

A case names its inputs and computes one tensor from them with the functions of `lib`, which is PyTorch or `ops`.
Arguments whose names differ (`dim` and `axis`) are given by position.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ACTIVATIONS = [
    ("relu", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("elu", {"alpha": 1.5}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {}),
    ("softplus", {"beta": 0.5}),
    ("hardswish", {}),
    ("mish", {}),
    ("sigmoid", {}),
    ("tanh", {}),
]

EQUATIONS = {
    "ij,jk->ik": "x y",
    "ij,jk": "x y",
    "ij,ij->": "x other",
    "ij->ji": "x",
    "ij->j": "x",
    "ii->i": "square",
    "ii": "square",
    "ij,ii->j": "x_square square",
    "bij,bjk->bik": "batch_x batch_y",
    "...ij,...jk->...ik": "batch_x batch_y",
    "ij,...jk->...ik": "wide batch_y",
    "ij,kj,j->ik": "x other vector",
}

KEYS: dict[str, Any] = {
    "a number": 1,
    "a slice": (slice(1, None, 2), slice(None, -1)),
    "an ellipsis and a new axis": (..., None, 2),
    "repeated rows": [0, 2, 2, 0, 2],
    "pairs": ([0, 3, 3], [1, 4, 4]),
    "mixed": (slice(None, 3), [4, 0, 4]),
    "a grid": ([[0], [3]], [[1, 1, 2]]),
}

LOSSES = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "smoothed": {"label_smoothing": 0.3},
    "smoothed sum": {"label_smoothing": 0.3, "reduction": "sum"},
    "ignoring": {"ignore_index": 2},
    "ignoring smoothed": {"ignore_index": 2, "label_smoothing": 0.1},
}


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """The inputs that cases name; floating-point ones are differentiated."""
    logits, nd_logits = rng.normal(0, 2, size=(4, 5)), rng.normal(0, 2, size=(2, 5, 3))
    return {
        "x": rng.normal(0, 2, size=(4, 5)),
        "other": rng.normal(0, 2, size=(4, 5)),
        "y": rng.normal(size=(5, 3)),
        "vector": rng.normal(size=5),
        "square": rng.normal(size=(4, 4)),
        "x_square": rng.normal(size=(4, 4)),
        "wide": rng.normal(size=(2, 3)),
        "batch_x": rng.normal(size=(2, 2, 3)),
        "batch_y": rng.normal(size=(2, 3, 2)),
        "positive": rng.uniform(0.2, 3, size=(4, 5)),
        "zeros": rng.normal(size=(4, 5)) * (rng.random((4, 5)) < 0.7),
        "ties": rng.integers(0, 3, size=(4, 5)).astype(np.float64),
        "more_ties": rng.integers(0, 3, size=(4, 5)).astype(np.float64),
        "mask": rng.random((4, 5)) < 0.5,
        "indices": rng.integers(0, 5, size=(4, 3)),
        "few_indices": rng.integers(0, 4, size=(2, 3)),
        "weight": rng.normal(size=(3, 5)),
        "bias": rng.normal(size=3),
        "logits": logits,
        "nd_logits": nd_logits,
        "log_probabilities": logits - np.log(np.exp(logits).sum(1, keepdims=True)),
        "labels": np.array([1, 4, 2, 1]),
        "nd_labels": rng.integers(0, 5, size=(2, 3)),
        "one_label": np.array(3),
        "soft": rng.dirichlet(np.ones(5), size=4),
        "nd_soft": np.moveaxis(rng.dirichlet(np.ones(5), size=(2, 3)), -1, 1),
        "chances": rng.random((4, 5)),
    }


def constant(lib: Any, values: Any) -> Any:
    """Class weights and the like, which no gradient is asked of."""
    return lib.tensor(np.array(values))


CLASS_WEIGHTS = [0.5, 2.0, 1.0, 0.0, 3.0]
NO_ARGUMENTS: dict[str, Any] = {}

CASES: dict[str, tuple[str, Any]] = {
    "elementwise-pow": ("positive other", lambda lib, x, y: lib.pow(x, y)),
    "elementwise-square": ("zeros", lambda lib, x: lib.pow(x, 2)),
    "elementwise-power of two": ("x", lambda lib, x: 2**x),
    "elementwise-clip": ("x", lambda lib, x: lib.clip(x, -0.5, 0.7)),
    "elementwise-clip at ties": ("ties", lambda lib, x: lib.clip(x, 1.0, 2.0)),
    "elementwise-clip by tensors": ("x other zeros", lambda lib, x, low, high: lib.clip(x, low, high)),
    "elementwise-maximum": ("ties more_ties", lambda lib, x, y: lib.maximum(x, y)),
    "elementwise-minimum": ("ties more_ties", lambda lib, x, y: lib.minimum(x, y)),
    "elementwise-where": ("mask x other", lambda lib, mask, x, y: lib.where(mask, x, y)),
    "elementwise-erf": ("x", lambda lib, x: lib.erf(x)),
    "elementwise-rsqrt": ("positive", lambda lib, x: lib.rsqrt(x)),
    "elementwise-abs": ("zeros", lambda lib, x: lib.abs(x)),
    "elementwise-floor": ("x other", lambda lib, x, y: lib.floor(x) + lib.round(x) + lib.sign(x) + y),
    "reduction-logsumexp": ("x", lambda lib, x: lib.logsumexp(x, 1)),
    "reduction-prod": ("zeros", lambda lib, x: lib.prod(x, 1)),
    "reduction-max": ("ties", lambda lib, x: lib.max(x, 1)),
    "reduction-min": ("ties", lambda lib, x: lib.min(x, (0, 1))),
    "reduction-var": ("x", lambda lib, x: lib.var(x, 1, correction=1)),
    "reduction-std": ("x", lambda lib, x: lib.std(x, 0, correction=0)),
    "reduction-cumulative_sum": ("x", lambda lib, x: lib.cumulative_sum(x, 1)),
    "shape-gather": ("x indices", lambda lib, x, indices: lib.gather(x, 1, indices)),
    "shape-gather of fewer": ("x few_indices", lambda lib, x, indices: lib.gather(x, 0, indices)),
    "shape-take_along_axis": ("x indices", lambda lib, x, indices: lib.take_along_axis(x, indices, 1)),
    "shape-a mask": ("x mask", lambda lib, x, mask: x[mask]),
    "shape-roll": ("x", lambda lib, x: lib.roll(x, (2, -1), (0, 1))),
    "shape-flip": ("x", lambda lib, x: lib.flip(x, (0, 1))),
    "matmul-vector": ("x vector", lambda lib, x, y: lib.matmul(x, y)),
    "matmul-batch": ("batch_x y", lambda lib, x, y: lib.matmul(x, y.T[:, :3].T)),
    "matmul-linear": ("x weight bias", lambda lib, x, weight, bias: lib.linear(x, weight, bias)),
    "activation-softmax": ("x", lambda lib, x: lib.softmax(x, 1)),
    "activation-log_softmax": ("x", lambda lib, x: lib.log_softmax(x, 0)),
    "loss-cross_entropy weighted and smoothed": (
        "logits labels",
        lambda lib, x, y: lib.cross_entropy(x, y, constant(lib, CLASS_WEIGHTS), label_smoothing=0.2, ignore_index=4),
    ),
    "loss-cross_entropy weighted": (
        "nd_logits nd_labels",
        lambda lib, x, y: lib.cross_entropy(x, y, constant(lib, CLASS_WEIGHTS)),
    ),
    "loss-cross_entropy of one": ("vector one_label", lambda lib, x, y: lib.cross_entropy(x, y)),
    "loss-cross_entropy soft": ("logits soft", lambda lib, x, q: lib.cross_entropy(x, q)),
    "loss-cross_entropy soft and weighted": (
        "nd_logits nd_soft",
        lambda lib, x, q: lib.cross_entropy(x, q, constant(lib, CLASS_WEIGHTS), label_smoothing=0.1),
    ),
    "loss-cross_entropy soft none": ("nd_logits nd_soft", lambda lib, x, q: lib.cross_entropy(x, q, reduction="none")),
    "loss-nll_loss": ("log_probabilities labels", lambda lib, x, y: lib.nll_loss(x, y)),
    "loss-nll_loss weighted": (
        "nd_logits nd_labels",
        lambda lib, x, y: lib.nll_loss(x, y, constant(lib, CLASS_WEIGHTS), ignore_index=0),
    ),
    "loss-binary": ("x chances", lambda lib, x, p: lib.binary_cross_entropy_with_logits(x, p)),
    "loss-binary weighted": (
        "x chances",
        lambda lib, x, p: lib.binary_cross_entropy_with_logits(
            x, p, weight=constant(lib, [[0.5], [2.0], [1.0], [3.0]]), pos_weight=constant(lib, CLASS_WEIGHTS)
        ),
    ),
    "loss-huber_loss": ("x other", lambda lib, x, y: lib.huber_loss(x, y, delta=0.7)),
    "loss-l1_loss": ("ties more_ties", lambda lib, x, y: lib.l1_loss(x, y)),
    "loss-mse_loss": ("x other", lambda lib, x, y: lib.mse_loss(x, y, reduction="sum")),
}

CASES |= {
    f"activation-{name} {options or ''}".strip(): ("x", lambda lib, x, f=name, o=options: getattr(lib, f)(x, **o))
    for name, options in ACTIVATIONS
}
CASES |= {
    f"matmul-{equation}": (names, lambda lib, *operands, e=equation: lib.einsum(e, *operands))
    for equation, names in EQUATIONS.items()
}
CASES |= {f"shape-{name}": ("x", lambda lib, x, key=key: x[key]) for name, key in KEYS.items()}
CASES |= {
    f"loss-cross_entropy {kind} of {dims}": (
        f"{dims}logits {dims}labels",
        lambda lib, x, y, o=options: lib.cross_entropy(x, y, **o),
    )
    for kind, options in LOSSES.items()
    for dims in ("", "nd_")
}


def run(lib: Any, name: str, inputs: dict[str, Any], order: int = 1) -> Any:
    """The value of a case and its derivatives up to `order`, under cotangents made of cosines, as one flat array."""
    names, function = CASES[name]
    leaves = [lib.leaf(inputs[key]) for key in names.split()]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    output = function(lib, *leaves)
    found = [lib.numpy(output)]
    for level in range(1, order + 1):
        cotangent = np.cos(np.arange(math.prod(output.shape)) + level).reshape(output.shape)
        weighed = (output * lib.tensor(cotangent)).sum()
        grads = lib.grad(weighed, wanted, create_graph=level < order, allow_unused=True)
        found += [
            np.zeros(leaf.shape) if grad is None else lib.numpy(grad) for grad, leaf in zip(grads, wanted, strict=True)
        ]
        if level < order:  # the next one is of the sum of squares; leaves that it lacks are there, times 0
            squares = [(grad**2).sum() for grad in grads if grad is not None]
            output = sum(squares) + sum((leaf * 0.0).sum() for leaf in wanted)
    return np.concatenate([part.reshape(-1) for part in found])
