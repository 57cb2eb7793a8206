"""Four of the nets in JAX, a training step of each one jitted function.

Images are channels-last, as XLA prefers them on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from benchmarks.nets import BATCH, EFFICIENTNET, LEARNING_RATE, batch


class State:
    """Hands a net its parameters and running statistics in the order of its layers; draws them on the first call."""

    def __init__(self, params: list[Any] | None = None, running: list[Any] | None = None, key: Any = None) -> None:
        self.drawing = params is None
        self.params, self.running = params or [], running or []
        self.key = jax.random.key(0) if key is None else key
        self.taken = 0
        self.updated: list[Any] = []

    def param(self, shape: tuple[int, ...], deviation: float = 0.0, mean: float = 0.0) -> Any:
        """The next parameter."""
        if self.drawing:
            self.params.append(mean + deviation * jax.random.normal(self.new_key(), shape))
        self.taken += 1
        return self.params[self.taken - 1]

    def update(self, mean: Any, var: Any) -> None:
        """Take over what batch norm saw into its running statistics."""
        if self.drawing:
            self.running += [jnp.zeros_like(mean), jnp.ones_like(var)]
        for new in (mean, var):
            self.updated.append(0.9 * self.running[len(self.updated)] + 0.1 * new)

    def new_key(self) -> Any:
        """A key for random numbers."""
        self.key, new = jax.random.split(self.key)
        return new


def linear(state: State, x: Any, features: int, bias: bool = True) -> Any:
    """A linear layer."""
    y = x @ state.param((x.shape[1], features), x.shape[1] ** -0.5)
    return y + state.param((features,)) if bias else y


def convolution(state: State, x: Any, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> Any:
    """A convolution of images (N, H, W, C) without bias."""
    shape = (kernel, kernel, x.shape[3] // groups, channels)
    weight = state.param(shape, (2 / np.prod(shape[:3])) ** 0.5)
    padding, layouts = [(kernel // 2, kernel // 2)] * 2, ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=layouts, feature_group_count=groups
    )


def batch_norm(state: State, x: Any) -> Any:
    """Batch norm in training."""
    axes, channels = tuple(range(x.ndim - 1)), x.shape[-1]
    mean, var = x.mean(axes), x.var(axes)
    state.update(mean, var * (x.size // channels) / (x.size // channels - 1))
    weight, bias = state.param((channels,), mean=1.0), state.param((channels,))
    return (x - mean) * (weight * lax.rsqrt(var + 1e-5)) + bias


def max_pool(x: Any) -> Any:
    """The largest of each 2×2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def dropout(state: State, x: Any, p: float) -> Any:
    """Zero each value with probability p."""
    return jnp.where(jax.random.bernoulli(state.new_key(), 1 - p, x.shape), x / (1 - p), 0)


def mlp(state: State, x: Any) -> Any:
    """784-256-128-10."""
    x = x.reshape(len(x), -1)
    for width in (256, 128):
        x = nn.relu(batch_norm(state, linear(state, x, width, bias=False)))
    return linear(state, x, 10)


def baseline_cnn(state: State, x: Any) -> Any:
    """Three convolutions, two linear layers."""
    x = nn.relu(batch_norm(state, convolution(state, x, 32)))
    x = dropout(state, max_pool(nn.relu(batch_norm(state, convolution(state, x, 64)))), 0.15)
    x = dropout(state, max_pool(nn.leaky_relu(batch_norm(state, convolution(state, x, 128)), 0.1)), 0.25)
    x = dropout(state, nn.relu(linear(state, x.reshape(len(x), -1), 256)), 0.5)
    return linear(state, x, 10)


def resnet18(state: State, x: Any) -> Any:
    """A stem and four stages of two blocks."""
    x = nn.relu(batch_norm(state, convolution(state, x, 64)))
    for channels, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            y = nn.relu(batch_norm(state, convolution(state, x, channels, stride=stride)))
            y = batch_norm(state, convolution(state, y, channels))
            if x.shape != y.shape:
                x = batch_norm(state, convolution(state, x, channels, 1, stride))
            x = nn.relu(x + y)
    return linear(state, x.mean((1, 2)), 10)


def mbconv(state: State, x: Any, stage: tuple[int, int, int, int], p: float) -> Any:
    """Expand the channels, convolve each by itself, weigh them, and project."""
    (expansion, kernel, stride, channels), given, inputs = stage, x, x.shape[3]
    wide = inputs * expansion
    if expansion > 1:
        x = nn.silu(batch_norm(state, convolution(state, x, wide, 1)))
    x = nn.silu(batch_norm(state, convolution(state, x, wide, kernel, stride, wide)))
    scale = nn.sigmoid(linear(state, nn.silu(linear(state, x.mean((1, 2)), inputs // 4)), wide))
    x = batch_norm(state, convolution(state, x * scale[:, None, None], channels, 1))
    if stride > 1 or inputs != channels:
        return x
    return given + (dropout(state, jnp.ones((len(x), 1, 1, 1)), p) * x if p else x)


def efficientnet_b0(state: State, x: Any) -> Any:
    """The form with a stem of stride 1."""
    x, done = nn.silu(batch_norm(state, convolution(state, x, 32))), 0
    for expansion, kernel, stride, channels, blocks in EFFICIENTNET:
        for block in range(blocks):
            x = mbconv(state, x, (expansion, kernel, 1 if block else stride, channels), 0.2 * done / 16)
            done += 1
    x = nn.silu(batch_norm(state, convolution(state, x, 1280, 1)))
    return linear(state, dropout(state, x.mean((1, 2)), 0.2), 10)


JAX_NETS = {net.__name__: net for net in (mlp, baseline_cnn, resnet18, efficientnet_b0)}


def jax_training(name: str) -> Callable[[], object]:
    """A step of training: forward, backward, Adam."""
    net = JAX_NETS[name]
    images, labels = batch(name, BATCH)
    x, y = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels)
    drawn = State()
    net(drawn, x[:2])

    def loss(params: list[Any], running: list[Any], key: Any) -> Any:
        state = State(params, running, key)
        log_p = nn.log_softmax(net(state, x))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean(), (state.updated, state.new_key())

    def adam(p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        return p - LEARNING_RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v

    def step(params: Any, m: Any, v: Any, running: Any, key: Any, t: Any) -> Any:
        grads, (running, key) = jax.grad(loss, has_aux=True)(params, running, key)
        params, m, v = zip(*[adam(*each, t) for each in zip(params, grads, m, v, strict=True)], strict=True)
        return list(params), list(m), list(v), running, key, t + 1

    jitted = jax.jit(step, donate_argnums=range(6))
    zeros = [[jnp.zeros_like(p) for p in drawn.params] for _ in range(2)]
    held = [drawn.params, *zeros, drawn.running, drawn.new_key(), jnp.asarray(1.0)]

    def run() -> None:
        held[:] = jitted(*held)
        jax.block_until_ready(held)

    return run
