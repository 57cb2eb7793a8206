"""Each norm as a function of x, in shapes and memory layouts that it takes."""

from __future__ import annotations

import numpy as np

from tinygrad_norm import Tensor, ops
from tinygrad_norm.modes import Hook


def statistics(channels):
    return {"running_mean": np.linspace(-1, 1, channels), "running_var": np.linspace(0.5, 2, channels)}


# Each norm as a function of x and further options, for an input of any shape that it takes
NORMS = {
    "batch": lambda x, **more: ops.batch_norm(x, None, None, training=True, **more),
    "inference": lambda x, **more: ops.batch_norm(x, **statistics(x.shape[1]), **more),
    "layer": lambda x, **more: ops.layer_norm(x, x.shape[-1], **more),
    "trailing": lambda x, **more: ops.layer_norm(x, x.shape[1:], **more),
    "layer_2d": lambda x, **more: ops.layer_norm_2d(x, **more),
    "group": lambda x, **more: ops.group_norm(x, 2 if x.shape[1] % 2 == 0 else 1, **more),
    "instance": lambda x, **more: ops.instance_norm(x, **more),
    "instance_inference": lambda x, **more: ops.instance_norm(
        x, **statistics(x.shape[1]), use_input_stats=False, **more
    ),
    "rms": lambda x, **more: ops.rms_norm(x, x.shape[-1], **more),
}


def affine_shape(name, shape):
    return {"layer": shape[-1:], "rms": shape[-1:], "trailing": shape[1:]}.get(name, shape[1:2])


def leaf(array):
    """A tensor on `array` itself, whatever its strides."""
    return Tensor.wrap(array).requires_grad_()


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "channels last": channels_last,
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
    "sliced": lambda array: np.repeat(np.repeat(array, 2, axis=0), 3, axis=-1)[::2, ..., ::3],
    "reversed": lambda array: np.ascontiguousarray(array[::-1, ..., ::-1])[::-1, ..., ::-1],
}


def example(name, rng, shape=None):
    shape = shape or ((3, 2, 1, 2) if name == "layer_2d" else (3, 4, 2))
    affine = [leaf(rng.normal(size=affine_shape(name, shape)) + 0.5) for _ in range(1 if name == "rms" else 2)]
    return [leaf(rng.normal(size=shape) * 2 + 3), *affine]


def call(name, **options):
    """The norm with weight and bias by position, which are what gradients are asked of."""

    def norm(x, weight, bias=None):
        return NORMS[name](x, weight=weight, **({} if bias is None else {"bias": bias}), **options)

    return norm


def formula(x, axes, eps=1e-5, weight=1.0, bias=0.0):
    """Values in long double."""
    x = x.astype(np.longdouble)
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps) * weight + bias


class Statistics(Hook):
    """Sees the ops that run, and the statistics that their kernels computed."""

    def __init__(self):
        self.found, self.ops = [], []

    def after_forward(self, op, inputs, output):
        self.found.append(op.statistics)
        self.ops.append(op)


X, ONES = np.ones((2, 4)), np.ones(4)
