"""Frameworks made up for tests: norms that are right, and norms that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_norm import FusedOp, Op, Tensor, enable_grad, nn, ops, tape
from tinygrad_norm.conformance.frameworks import Framework, TinygradNorm


def right(x, weight, bias, eps):
    return ops.layer_norm(x, x.shape[-1], weight, bias, eps)


def right_for_eps_of_1e_5(x):
    return ops.layer_norm(x, x.shape[-1], eps=1e-5)


def columns(x, gain, offset, eps):
    assert gain.ndim == x.ndim - 1, "a vector of channels is not for this one"
    return ops.batch_norm(x, None, None, None, None, True, eps=eps) * gain + offset


def images(x, weight, bias, eps):
    n, c, h, w = x.shape  # as a layer for images does
    return ops.instance_norm(x.reshape(n, c, h, w), None, None, weight, bias, eps=eps)


def parts(x, weight, bias, eps):
    """The definition in float32."""
    left = x - x.mean(-1, keepdims=True)
    return left / ((left * left).mean(-1, keepdims=True) + eps).sqrt() * weight + bias


def one_pass(x, weight, bias, eps):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / (x.square().mean(-1, keepdims=True) - mean.square() + eps).sqrt() * weight + bias


def held(x, weight, bias, eps):
    """The statistics are taken for constants."""
    left = x - x.mean(-1, keepdims=True).detach()
    return left / ((left * left).mean(-1, keepdims=True) + eps).sqrt().detach() * weight + bias


def no_bias_gradient(x, weight, bias, eps):
    return right(x, weight, bias.detach(), eps)


def of_half(x, weight, bias, eps):
    """The statistics of millions of values are those of the first half."""
    some = x[..., : x.shape[-1] // 2] if x.shape[-1] > 1000 else x
    left = x - some.mean(-1, keepdims=True)
    return left / ((some - some.mean(-1, keepdims=True)).square().mean(-1, keepdims=True) + eps).sqrt() * weight + bias


def wrong_in_one_place(x, weight, bias, eps):
    y = right(x, weight, bias, eps)
    if x.shape[-1] < 2000:
        return y
    return y + (np.arange(x.shape[-1]) == 1234).astype(x.dtype.name)


def in_a_batch(x, weight, bias, eps):
    return right(x, weight, bias, eps) * (1.0 if len(x) == 1 or x.dtype == np.float64 else 1.0000002)


def raising(x, weight, bias, eps):
    if x.size < 20:
        raise ArithmeticError("too few values\nof x")
    return right(x, weight, bias, eps)


def transposed(x, weight, bias, eps):
    return right(x, weight, bias, eps).mT if x.dtype == np.float64 else right(x, weight, bias, eps)


def pair(x):
    return x, x


def scaled(x):
    return x * 0.5


class ThirdIsZero(Op):
    """Its second derivative is a constant, as if it did not depend on x."""

    def forward(self, x: Any) -> Any:
        self.save(x)
        return _normal(x)

    def backward(self, grad: Tensor) -> Tensor:
        (x,) = self.saved
        return _FirstDerivative()(grad, x)


class _FirstDerivative(Op):
    def forward(self, grad: Any, x: Any) -> Any:
        self.save(grad, x)
        with enable_grad():
            leaf = Tensor(x, requires_grad=True)
            return tape.grad(_normal(leaf), leaf, grad)[0].raw

    def backward(self, grad: Tensor) -> Any:
        with enable_grad():
            leaves = [each.detach().requires_grad_() for each in self.saved]
            (found,) = tape.grad(_normal(leaves[1]), leaves[1], leaves[0], create_graph=True)
            return tape.grad(found, leaves, grad)


def _normal(x: Any) -> Any:
    xp = x.__array_namespace__()
    left = x - xp.mean(x, axis=-1, keepdims=True)
    return left / xp.sqrt(xp.mean(left * left, axis=-1, keepdims=True) + 1e-5)


class WrongKernel(FusedOp):
    """Its composition is right, its own gradient is not."""

    def composed(self, x: Any) -> Tensor:
        return ops.layer_norm(x, x.shape[-1])

    def forward(self, x: Any) -> Any:
        return ops.layer_norm(Tensor(x), x.shape[-1]).raw

    def gradient(self, grad: Any, x: Any) -> Any:
        leaf = Tensor(x, requires_grad=True)
        with enable_grad():
            return (tape.grad(ops.layer_norm(leaf, x.shape[-1]), leaf, grad)[0].raw * x.dtype.type(1.01),)


def wrong_kernel(x, weight, bias):
    return WrongKernel()(x) * weight + bias


def drawing(x):
    return ops.layer_norm(ops.dropout(x, 1e-30, training=True), x.shape[-1])


def third_is_zero(x, weight, bias):
    return ThirdIsZero()(x) * weight + bias


class Layer(nn.Module):
    """A norm of somebody's own."""

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(np.ones(features, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, x.shape[-1], self.gamma, self.eps)


class Two(Layer):
    def __init__(self, features: int) -> None:
        super().__init__(2)


class Own(TinygradNorm):
    """Norms of this file."""

    name, title = "own", "own norms"
    norms = {"layer": ("right", "one_pass")}  # noqa: RUF012
    count = 2

    def find(self, what: str) -> Any:
        return self.with_threads if what == "with_threads" else globals()[what]

    def with_threads(self, x, weight, bias, eps):
        return right(x, weight, bias, eps) * (1.0 if self.count == 1 or x.dtype == np.float64 else 1.0000002)

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before, self.count = self.count, count
        try:
            yield
        finally:
            self.count = before


class Layers(TinygradNorm):
    """Ours."""


class Plain(Framework):
    """NumPy, which has no gradients."""

    name, title, packages = "plain", "NumPy", ("numpy",)
    norms = {"layer": ("norm",)}  # noqa: RUF012

    def find(self, what: str) -> Any:
        return {"norm": self.norm}[what]

    def norm(self, x, weight, bias, eps):
        return (_normal(x.astype(np.float64)) * weight + bias).astype(x.dtype)

    def tensor(self, array: Any) -> Any:
        return array

    def array(self, tensor: Any) -> Any:
        return tensor

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        yield
