"""A norm of one's own: written once, derived, judged, and trained with.

    python examples/custom_norm.py

The norm divides by the mean magnitude instead of the root mean square: y = weight x / (mean|x| + eps). (Hoffer et al.
2018 study such L1 norms.)
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tinygrad_norm import Tensor, derive, nn, ops, optim
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.data import DataLoader, digits
from tinygrad_norm.testing import GradientError, gradcheck
from tinygrad_norm.training import Trainer


@derive
def l1_norm(x: Any, weight: Any, *, axes: Any, eps: float = 1e-5) -> Any:
    """Divide by the mean magnitude."""
    xp = x.__array_namespace__()
    size = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    return weight * x / (size + eps)


# That is all of it. Nobody has to know any more
# - the chain rule: x acts on y by itself and through its size; `l1_norm.derivation` tells both paths, and a second
#   derivative is right as well;
# - how a kernel is made: which sums share a pass, what is taken out of a loop, how threads share the work, and where
#   float32 would lose digits; `l1_norm.source` is the kernel, which Numba compiles where it is installed;
# - what to check: `tinygrad-norm certify examples/custom_norm.py:l1_norm` knows, and
#   `tinygrad-norm derive examples/custom_norm.py:l1_norm -o l1_norm.html` draws why the formula is what it is.


@derive
def wrong_l1_norm(x: Any, weight: Any, *, axes: Any, eps: float = 1e-5) -> Any:
    """Make the usual mistake: take the size for a constant, and forget its part of the gradient."""
    xp = x.__array_namespace__()
    size = xp.stop_gradient(xp.mean(xp.abs(x), axis=axes, keepdims=True))
    return weight * x / (size + eps)


class L1Norm(nn.Module):
    """`l1_norm` over the last axis, with a weight of its own."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.ones(features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis of x."""
        y: Tensor = l1_norm(x, self.weight, axes=-1)
        return y


def main() -> None:
    """Tell how it is derived, have it judged, show that the judge can say no, and train with it."""
    print(f"{l1_norm.derivation}\n")

    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((3, 5)), requires_grad=True)  # float64, as finite differences need
    weight = Tensor(rng.uniform(0.5, 2, 5), requires_grad=True)
    gradcheck(lambda x, weight: l1_norm(x, weight, axes=-1), [x, weight], order=2)
    print("derived: gradient and second gradient agree with finite differences")
    try:
        gradcheck(lambda x, weight: wrong_l1_norm(x, weight, axes=-1), [x, weight])
    except GradientError as error:
        print(f"wrong:   refused, as it should be: {error}")

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), L1Norm(128), nn.ReLU(), nn.Linear(128, 10))
    print(f"\n{model}")
    trainer = Trainer(model, optim.AdamW(optim.decay_groups(model, 0.01), lr=2e-3), ops.cross_entropy)
    trainer.fit(DataLoader(digits("train"), 64, shuffle=True), epochs=10)
    accuracy = trainer.evaluate(DataLoader(digits("test"), 256))["accuracy"]
    print(f"a net with the new norm reads {accuracy:.1%} of the test digits right")


if __name__ == "__main__":
    sys.exit(run_command(main))
