"""Layers of `nn.norms`, each as `certificate.norm_examples` has it, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from re import match
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import Tensor
from tinygrad_norm.certificate.norm_examples import NORMS, NormExample, make_norm
from tinygrad_norm.nn import norms

IMAGES, ROWS = (3, 4, 2, 3), (5, 4)
LABELS = np.array([2, 0, 2])


SIZES = {"N": 3, "C": 4, "L": 5, "D": 1, "H": 2, "W": 3, "K": 3}
ELSEWHERE = "LocalResponse|PowerNorm"
"""Layers that have tests of their own alone: one has no parameters, the other no composition with its gradient."""


class Example(NamedTuple):
    """A layer of `nn.norms`, of these sizes."""

    name: str
    example: NormExample

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of x."""
        return tuple(SIZES[axis] for axis in self.example.axes)

    def build(self, **options: Any) -> Any:
        """Make the layer."""
        return make_norm(self.name, self.example, SIZES, **options)

    def inputs(self, rng: np.random.Generator, dtype: Any = np.float64) -> list[Any]:
        """Random inputs."""
        return self.example.draw(SIZES, rng, dtype)


LAYERS = {name: Example(name, NORMS[name][0]) for name in NORMS.keys() & {*norms.__all__} if not match(ELSEWHERE, name)}
LAYERS = dict(sorted(LAYERS.items())) | {
    "AdaIN of vectors": Example("AdaIN", NORMS["AdaIN"][1]),
    "FilterResponseNorm2D that learns eps": Example("FilterResponseNorm2D", NORMS["FilterResponseNorm2D"][2]),
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
