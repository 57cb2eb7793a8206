"""A norm of one's own: first composed, then fused, with gradcheck as the judge.

    python examples/custom_norm.py

The norm divides by the mean magnitude instead of the root mean square: y = weight x / (mean|x| + eps), over the last
axis. (Hoffer et al. 2018 study such L1 norms.)
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_norm import FusedOp, Tensor, nn, ops, optim
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.data import DataLoader, digits
from tinygrad_norm.testing import GradientError, compare_with_composition, gradcheck
from tinygrad_norm.training import Trainer

Array = NDArray[Any]


# Step 1. The definition, in primitives. Its gradient comes by itself, of any order.


def l1_norm_composed(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """weight x / (mean|x| + eps), over the last axis."""
    return weight * x / (ops.abs(x).mean(axis=-1, keepdims=True) + eps)


# Step 2. The fused op: the same in one go, with a gradient by hand. It owns the definition, as `composed`.
#
# With m = mean|x| + eps, x̂ = x / m and g = weight dy:   dx = (g - sign(x) mean(g x̂)) / m;   dweight = Σ dy x̂.


class L1Norm(FusedOp):
    """`l1_norm_composed` in one kernel."""

    def composed(self, x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
        return l1_norm_composed(x, weight, eps)

    def forward(self, x: Array, weight: Array, *, eps: float) -> Array:
        scale = np.abs(x).mean(axis=-1, keepdims=True) + x.dtype.type(eps)
        self.save(scale)  # x and weight are saved by themselves
        y: Array = weight * x / scale
        return y

    def gradient(self, grad: Array, x: Array, weight: Array, scale: Array) -> tuple[Array, Array]:
        normal = x / scale
        g = weight * grad
        dx = (g - np.sign(x) * (g * normal).mean(axis=-1, keepdims=True)) / scale
        return dx, (grad * normal).reshape(-1, len(weight)).sum(axis=0)


class WrongL1Norm(L1Norm):
    """The usual mistake: the scale is taken for a constant, and its part of the gradient forgotten."""

    def gradient(self, grad: Array, x: Array, weight: Array, scale: Array) -> tuple[Array, Array]:
        _, dweight = super().gradient(grad, x, weight, scale)
        return weight * grad / scale, dweight


def l1_norm(x: Any, weight: Any, eps: float = 1e-5) -> Tensor:
    """weight x / (mean|x| + eps), over the last axis."""
    return L1Norm()(x, weight, eps=eps)


# Step 3. The layer.


class L1NormLayer(nn.Module):
    """`l1_norm` with a weight of its own."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones(features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis of x."""
        return l1_norm(x, self.weight)

    def extra_repr(self) -> str:
        """The number of features."""
        return str(self.weight.size)


def main() -> None:
    """Judge both forms, show that the judge can say no, and train with the layer."""
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((3, 5)), requires_grad=True)  # float64, as finite differences need
    weight = Tensor(rng.uniform(0.5, 2, 5), requires_grad=True)

    gradcheck(l1_norm_composed, [x, weight], order=2)
    print("composed: gradient and second gradient agree with finite differences")
    gradcheck(l1_norm, [x, weight], order=2)
    print("fused:    gradient and second gradient agree with finite differences")
    compare_with_composition(l1_norm, [x, weight])
    print("fused:    value, gradient and second gradient agree with its composition")

    try:
        gradcheck(lambda x, weight: WrongL1Norm()(x, weight, eps=1e-5), [x, weight])
    except GradientError as error:
        print(f"wrong:    refused, as it should be: {error}")

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), L1NormLayer(128), nn.ReLU(), nn.Linear(128, 10))
    print(f"\n{model}")
    trainer = Trainer(model, optim.AdamW(optim.decay_groups(model, 0.01), lr=2e-3), ops.cross_entropy)
    trainer.fit(DataLoader(digits("train"), 64, shuffle=True), epochs=10)
    accuracy = trainer.evaluate(DataLoader(digits("test"), 256))["accuracy"]
    print(f"a net with the new norm reads {accuracy:.1%} of the test digits right")


if __name__ == "__main__":
    sys.exit(run_command(main))
