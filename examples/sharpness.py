"""How sharp is the loss, with and without batch norm? Ask its Hessian, without ever writing it down.

    python examples/sharpness.py

A small net learns the digits by plain gradient descent. Now and then two figures are taken of the Hessian H of the loss
with respect to all parameters, each from products H v alone:

- the largest eigenvalue λ, the sharpness, by power iteration: multiply a vector by H again and again. Where the loss is
  a parabola, gradient descent diverges at learning rates above 2/λ;
- the trace, by M. Hutchinson's estimator (1989): the mean of z·Hz over random signs z, with its standard error.

Batch norm takes out the scale of the weights before it, so that their part of H depends on how large they happen to be:
compare what the nets have learned by then, not λ alone. Source: Santurkar et al., How does batch normalization help
optimization?, 2018; Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_norm import Tensor, hessian_vector_product, manual_seed, nn, ops, optim
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.data import digits

Loss = Callable[[], Tensor]
LR = 0.5
WATCHED = (0, 10, 30, 100, 300)


def dot(one: list[Tensor], other: list[Tensor]) -> float:
    """The dot product of two vectors that come in the shapes of the parameters."""
    return sum(float((a.numpy() * b.numpy()).sum()) for a, b in zip(one, other, strict=True))


def products(loss: Loss, parameters: list[Tensor], vector: list[Tensor]) -> list[Tensor]:
    """H v. The loss takes no arguments, so it is differentiated with respect to the parameters themselves.

    Each call runs the net once, and moves the running statistics of batch norm; nobody uses them here.
    """
    return list(hessian_vector_product(loss, parameters, vector)[1])


def furthest_eigenvalue(loss: Loss, parameters: list[Tensor], rng: np.random.Generator, origin: float = 0) -> float:
    """The eigenvalue that is furthest from `origin`: power iteration with H - origin."""
    vector = [Tensor(rng.standard_normal(each.shape), dtype="float32") for each in parameters]
    value = np.inf
    for _ in range(500):
        length = np.sqrt(dot(vector, vector))
        vector = [each / length for each in vector]
        multiplied = [h - origin * each for h, each in zip(products(loss, parameters, vector), vector, strict=True)]
        before, value = value, dot(vector, multiplied)
        if abs(value - before) <= 1e-4 * abs(value):
            break
        vector = multiplied
    return origin + value


def largest_eigenvalue(loss: Loss, parameters: list[Tensor], rng: np.random.Generator) -> float:
    """The largest eigenvalue; far from a minimum a negative one may be further from 0."""
    found = furthest_eigenvalue(loss, parameters, rng)
    return found if found > 0 else furthest_eigenvalue(loss, parameters, rng, origin=found)


def trace(loss: Loss, parameters: list[Tensor], rng: np.random.Generator, samples: int = 20) -> tuple[float, float]:
    """The trace of the Hessian, estimated, and the standard error of the estimate."""
    found = []
    for _ in range(samples):
        signs = [Tensor(rng.choice([-1.0, 1.0], each.shape), dtype="float32") for each in parameters]
        found.append(dot(signs, products(loss, parameters, signs)))
    return float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(samples))


def watch(model: nn.Module) -> Iterator[tuple[int, float, float, float, float]]:
    """Train, and yield now and then: step, loss, largest eigenvalue, trace and its standard error."""
    rng = np.random.default_rng(0)
    data = digits("train")
    images, labels = Tensor(data.inputs[:500]), data.targets[:500]
    parameters: list[Tensor] = [*model.parameters()]
    optimizer = optim.SGD(model.parameters(), lr=LR)

    def loss() -> Tensor:
        return ops.cross_entropy(model(images), labels)

    for step in range(max(WATCHED) + 1):
        value = loss()
        if step in WATCHED:
            sharpness = largest_eigenvalue(loss, parameters, rng)
            yield step, value.item(), sharpness, *trace(loss, parameters, rng)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def build(batch_norm: bool) -> nn.Module:
    """A perceptron with two hidden layers of 32, of the same weights with batch norm as without."""
    manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    features = 64
    for _ in range(2):
        layers.append(nn.Linear(features, 32, activation=None if batch_norm else "tanh"))
        layers += [nn.BatchNorm1D(32, activation="tanh")] * batch_norm
        features = 32
    return nn.Sequential(*layers, nn.Linear(features, 10))


def main() -> None:
    """Watch both nets, and print one table."""
    print(f"{'':12}{'step':>6}{'loss':>9}{'largest eigenvalue':>21}{'2 / it':>9}{'trace':>9}")
    for name, batch_norm in (("no norm", False), ("batch norm", True)):
        for step, loss, sharpness, total, error in watch(build(batch_norm)):
            print(f"{name:12}{step:>6}{loss:>9.4f}{sharpness:>21.2f}{2 / sharpness:>9.2f}{total:>9.1f} ± {error:.1f}")
    print(f"\nEach step is {LR} times the gradient: where 2 / it is less, the loss is too sharp for that.")


if __name__ == "__main__":
    sys.exit(run_command(main))
