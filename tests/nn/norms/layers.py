"""Layers of `nn.norms` with a small example each, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import Tensor, nn

IMAGES, ROWS = (3, 4, 2, 3), (5, 4)
LABELS = np.array([2, 0, 2])


class Example(NamedTuple):
    """How a layer is built, and what it is called with."""

    build: Callable[..., Any]
    shape: tuple[int, ...] = IMAGES
    condition: Any = None
    """None, labels, or the shape of what else it is called with."""

    def inputs(self, rng: np.random.Generator, dtype: Any = np.float64) -> list[Any]:
        """Random inputs."""
        x = rng.normal(0.4, 1.2, self.shape).astype(dtype)
        if self.condition is None:
            return [x]
        if isinstance(self.condition, tuple):
            return [x, rng.normal(0.3, 1.1, self.condition).astype(dtype)]
        return [x, self.condition]


def example(name: str, *arguments: Any, shape: Any = IMAGES, condition: Any = None, **options: Any) -> Example:
    """An example of the layer of that name."""
    return Example(lambda **more: getattr(nn, name)(*arguments, **{**options, **more}), shape, condition)


LAYERS = {
    "AdaIN": example("AdaIN", 4, condition=(3, 4, 3, 2)),
    "AdaIN of vectors": example("AdaIN", 4, 2, condition=(3, 2)),
    "BatchRenorm1D": example("BatchRenorm1D", 4, shape=ROWS, r_max=1.5, d_max=0.7),
    "BatchRenorm2D": example("BatchRenorm2D", 4, r_max=1.5, d_max=0.7),
    "ConditionalBatchNorm1D": example("ConditionalBatchNorm1D", 4, 3, shape=ROWS, condition=(5, 3)),
    "ConditionalBatchNorm2D": example("ConditionalBatchNorm2D", 4, 3, condition=LABELS),
    "DynamicErf": example("DynamicErf", 4),
    "DynamicTanh": example("DynamicTanh", 4),
    "EvoNormB0": example("EvoNormB0", 4),
    "EvoNormS0": example("EvoNormS0", 4, 2),
    "FiLM": example("FiLM", 4, 3, condition=LABELS),
    "FilterResponseNorm2D": example("FilterResponseNorm2D", 4),
    "FilterResponseNorm2D that learns eps": example("FilterResponseNorm2D", 4, learned_eps=True),
    "GlobalResponseNorm": example("GlobalResponseNorm", 4),
    "IterNorm1D": example("IterNorm1D", 4, shape=ROWS, iterations=3),
    "IterNorm2D": example("IterNorm2D", 4, 2),
    "L1Norm": example("L1Norm", 4),
    "LInfNorm": example("LInfNorm", 4),
    "PartialRMSNorm": example("PartialRMSNorm", 4, 0.5),
    "SPADE": example("SPADE", 4, 2, 3, condition=(3, 2, 4, 2)),
    "ScaleNorm": example("ScaleNorm", 4),
    "SwitchableNorm2D": example("SwitchableNorm2D", 4),
}
HELD = {"BatchRenorm1D", "BatchRenorm2D"}
"""Layers that hold parts of what they compute, so that their gradient is not the derivative."""


def stirred(layer: Any, rng: np.random.Generator) -> Any:
    """The layer with random parameters and running statistics."""
    for parameter in layer.parameters():
        parameter.raw = rng.normal(0.8, 0.5, parameter.shape).astype(parameter.dtype)
    if getattr(layer, "running_var", None) is not None:
        layer.running_mean.raw = rng.normal(size=4).astype(layer.running_mean.dtype)
        layer.running_var.raw = rng.uniform(0.5, 2, 4).astype(layer.running_var.dtype)
    return layer


def close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Compare, by the largest element expected."""
    found, expected = (np.asarray(getattr(each, "raw", each)) for each in (found, expected))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * (np.abs(expected).max(initial=0) + 1e-30))


def along(vector: Any, rank: int = 4) -> Any:
    """A parameter's numbers, along the channels."""
    return vector.raw.reshape(-1, *(1,) * (rank - 2))


def check_three_steps(
    layer: Any,
    rng: np.random.Generator,
    train: Callable[..., tuple[Any, Any, Any]],
    infer: Callable[..., Any],
    inputs: Callable[[], list[Any]] | None = None,
) -> None:
    """Compare a layer with running statistics, in training for three steps and in inference afterwards.

    Args:
        layer: in float64.
        rng: draws inputs and parameters.
        train: of the inputs and the running mean and variance: y, and the mean and biased variance, (C,), or what is
            kept in its place.
        infer: of the inputs and the running mean and variance: y.
        inputs: draws some; images unless given.
    """
    draw = inputs or (lambda: [rng.normal(0.4, 1.2, IMAGES)])
    stirred(layer, rng)
    mean, var = layer.running_mean.raw.copy(), layer.running_var.raw.copy()
    for _ in range(3):
        given = draw()
        expected, new_mean, new_var = train(*given, mean, var)
        close(layer(*given), expected)
        n = given[0].size // 4
        mean = (1 - layer.momentum) * mean + layer.momentum * new_mean
        var = (1 - layer.momentum) * var + layer.momentum * new_var * (n / (n - 1) if layer.keeps_variance else 1)
        close(layer.running_mean, mean)
        close(layer.running_var, var)
    assert layer.num_batches_tracked.item() == 3
    given = draw()
    close(layer.eval()(*given), infer(*given, mean, var))
    close(layer.running_mean, mean)


def gradient_of(layer: Any, inputs: list[Any], dy: np.ndarray) -> list[Any]:
    """The gradients of the inputs of floats, then of the parameters, by name."""
    leaves = [Tensor(each, requires_grad=True) if each.dtype.kind == "f" else each for each in inputs]
    layer.zero_grad()
    layer(*leaves).backward(dy)
    of_inputs = [each.grad for each in leaves if isinstance(each, Tensor)]
    return of_inputs + [parameter.grad for _, parameter in sorted(layer.named_parameters())]
