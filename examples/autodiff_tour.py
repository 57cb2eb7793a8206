"""Follow one gradient back along the tape, entry by entry.

    python examples/autodiff_tour.py

The function is a linear layer, batch norm and a squared error, small enough that every number can be checked by hand.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from tinygrad_norm import FusedOp, Hook, Op, Tensor, composed, grad, hooks, ops
from tinygrad_norm.cli.exit_status import run_command


class There(Hook):
    """Prints what each op does on the way there."""

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        given = ", ".join(shape_of(value) for value in inputs)
        kept = f"saves {op.saved_bytes} bytes" if output.requires_grad else "is not recorded"
        fused = "  (fused)" if isinstance(op, FusedOp) else ""
        print(f"  {type(op).__name__:14} {given:28} -> {shape_of(output):10} {kept}{fused}")


class Back(Hook):
    """Prints what each entry does on the way back."""

    def before_backward(self, op: Op, grad: Tensor) -> None:
        print(f"  entry {op.number:3}  {type(op).__name__}: the gradient of its output is")
        print(show(grad, 17))

    def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        for index, (edge, back) in enumerate(zip(op.edges, grads, strict=True)):
            if edge is not None and back is not None:
                goes = f"entry {edge.number}, {type(edge).__name__}" if isinstance(edge, Op) else "a leaf"
                print(f"             input {index} gets {shape_of(back)}, which goes to {goes}")


def shape_of(value: Any) -> str:
    """A shape, or the value itself where it has none."""
    return str(value.shape) if hasattr(value, "shape") else str(value)


def show(tensor: Tensor, indent: int) -> str:
    """The numbers of a tensor, indented."""
    text = np.array2string(tensor.numpy(), precision=4, suppress_small=True)
    return "\n".join(" " * indent + line for line in text.splitlines())


def main() -> None:
    """Walk through the example."""
    x = Tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]])
    target = Tensor([[0.5], [-1.0], [1.0]])
    weight = Tensor([[0.5, -0.3]], requires_grad=True)
    gamma = Tensor([2.0], requires_grad=True)

    def loss() -> Tensor:
        features = ops.linear(x, weight)
        normal = ops.batch_norm(features, None, None, gamma, training=True)
        return ops.mse_loss(normal, target)

    print("1. Forward. Each call computes, and leaves an entry on the tape if a gradient is wanted.\n")
    with hooks(There()):
        value = loss()
    print(f"\n   The loss is {value.item():.4f}. It knows the entry that made it: {value!r}")

    print("\n2. Backward. The walk visits entries from the highest number down; each turns the gradient of")
    print("   its output into gradients of its inputs, and hands them on.\n")
    with hooks(Back()):
        value.backward()
    print("\n   What arrived at the leaves:")
    for name, leaf in (("weight", weight), ("gamma", gamma)):
        print(f"   {name}.grad = {leaf.grad}")

    print("\n3. Is it right? Move each weight a little, and see what the loss does.\n")
    for index in range(2):
        step = np.zeros((1, 2), np.float32)
        step[0, index] = 1e-2
        before = weight.numpy().copy()
        ends = []
        for sign in (1, -1):
            weight.data = before + sign * step
            ends.append(loss().item())
        weight.data = before
        assert weight.grad is not None
        difference, tape = (ends[0] - ends[1]) / 2e-2, weight.grad[0, index].item()
        print(f"   d loss / d weight[{index}]: by differences {difference:+.4f}, by the tape {tape:+.4f}")

    print("\n4. What is inside the fused batch norm? The same line, composed of primitives:\n")
    with composed(), hooks(There()):
        same = loss()
    print(f"\n   The loss is {same.item():.4f}, as before. This definition is what the kernel is held to,")
    print("   and what is differentiated when a second derivative is asked for:\n")
    (first,) = grad(loss(), gamma, create_graph=True)
    assert first is not None
    (second,) = grad(first, gamma)
    print(
        f"   d loss / d gamma = {first.item():.4f}; d² loss / d gamma² = {0 if second is None else second.item():.4f}"
    )
    print("   (by hand: the mean of 2 x̂², which is 2, but for eps)")


if __name__ == "__main__":
    sys.exit(run_command(main))
