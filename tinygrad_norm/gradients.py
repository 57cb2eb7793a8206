"""What happens to a gradient on its way: where it begins, how it fits an input, what hooks make of it, whose it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tinygrad_norm import kernels, modes
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import compute, launch
from tinygrad_norm.operands import Edge, as_tensor, edge_of, is_tensor, wrap

if TYPE_CHECKING:
    from tinygrad_norm.tape import Op
    from tinygrad_norm.tensor import Tensor

Order = Literal["K", "C"]
GradHooks = dict[object, Callable[["Tensor"], "Tensor | None"]]
"""Hooks on one tensor, each under a key of its own; a dict that is not changed, but replaced."""


def root(output: Tensor) -> Edge:
    """Where the gradient of an output goes first."""
    edge = edge_of(output)
    if edge is None:
        raise ValueError(
            f"backward: this tensor of shape {output.shape} was not recorded: nothing it was made from has "
            "requires_grad=True, or it was made under no_grad()"
        )
    return edge


def seed(output: Tensor, given: Any) -> Tensor:
    """The gradient that a backward pass from `output` begins with."""
    if given is None:
        if output.size != 1:
            raise ValueError(
                f"backward: a tensor of shape {output.shape} has {output.size} elements; pass the gradient of each, "
                "or reduce it to one, for example with .sum() or .mean()"
            )
        return wrap(launch(np.ones, output.shape, output.dtype))
    like = output.raw
    if isinstance(given, list | tuple):
        given = np.asarray(given, like.dtype)
    plain = type(given) is np.ndarray and given.dtype == like.dtype
    grad = wrap(launch(np.array, given)) if plain else as_tensor(given)
    if grad.raw.shape != like.shape:
        raise ValueError(f"backward: the gradient has the shape of the tensor, {output.shape}, got {grad.shape}")
    return grad if grad.raw.dtype == like.dtype else grad.astype(like.dtype)


def fit(op: Op, grad: Tensor, edge: Edge) -> Tensor:
    """Undo broadcasting and dtype promotion: the one place where both are undone."""
    shape, dtype = edge.shape, edge.dtype
    if not is_tensor(grad):
        raise TypeError(f"{op.name}: backward returned a {type(grad).__name__}; gradients are tensors, or None")
    if grad.shape == shape and grad.dtype == dtype:
        return grad
    fitted = _sum_to(grad, shape) if op.broadcasts and grad.shape != shape else grad
    if fitted.shape != shape:
        raise RuntimeError(
            f"{op.name}: backward returned a gradient of shape {grad.shape} for an input of shape {shape}"
        )
    return fitted if fitted.dtype == dtype else fitted.astype(dtype)


def _sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`grad` summed over the axes along which `shape` was stretched."""
    added = max(len(grad.shape) - len(shape), 0)
    stretched = [added + i for i, (size, _) in enumerate(zip(shape, grad.shape[added:], strict=False)) if size == 1]
    summed = grad.sum(axis=(*range(added), *stretched), keepdims=True)
    return summed.squeeze(tuple(range(added))) if added else summed


def total(one: Tensor, other: Tensor, create_graph: bool) -> Tensor:
    """The sum of two gradients of one tensor, recorded or not."""
    if create_graph:
        return one + other
    return wrap(np.asarray(compute(kernels.of(one.raw).add, one.raw, other.raw)))


def hooked(edge: Edge, grad: Tensor) -> Tensor:
    """`grad` as the hooks registered on this very tensor leave it. They are given a copy, which they may write to."""
    grad = on_own_memory(grad)
    with modes.change(shared=False):
        for hook in (edge.grad_hooks or {}).values():
            changed = hook(grad)
            grad = grad if changed is None else on_own_memory(_checked(changed, grad))
    return grad


def _checked(changed: Any, grad: Tensor) -> Tensor:
    """What a hook returned in place of `grad`."""
    if not is_tensor(changed):
        raise TypeError(f"a hook on a tensor returned a {type(changed).__name__}; it may return a tensor, or None")
    if (changed.shape, changed.dtype) != (grad.shape, grad.dtype):
        raise ValueError(
            f"a hook on a tensor returned shape {changed.shape} of {changed.dtype} for a gradient of shape "
            f"{grad.shape} of {grad.dtype}"
        )
    replacement: Tensor = changed
    return replacement


def unshared(gradient: Tensor, taken: set[int], order: Order = "K") -> Tensor:
    """`gradient`, or a copy: an op may hand one array to several inputs, or a stretched view.

    Args:
        gradient: of a leaf or a target.
        taken: the ids of the arrays that are somebody's; that of what is returned is added.
        order: in memory, of a copy.
    """
    if gradient.raw.base is not None or id(gradient.raw) in taken:
        return on_own_memory(gradient, order)
    taken.add(id(gradient.raw))
    return gradient


def on_own_memory(gradient: Tensor, order: Order = "K") -> Tensor:
    """A copy at the same place on the tape."""
    return wrap(launch(_copied, gradient.raw, order), edge_of(gradient))


def _copied(array: Array, order: Order) -> Array:
    return np.array(array, order=order)
