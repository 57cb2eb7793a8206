"""One layer, ours and PyTorch's: forward in inference, or forward and backward in training."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.contenders import tried


def our_layer(kind: str, arguments: tuple[int, ...], relu: bool) -> Any:
    """The layer of that kind."""
    from tinygrad_norm import nn
    from tinygrad_norm.models.norms import make_group_norm, make_instance_norm

    norms: dict[str, Callable[..., nn.Module]] = {
        "batch": nn.BatchNorm2D,
        "batch rows": nn.BatchNorm1D,
        "layer": nn.LayerNorm,
        "layer2d": nn.LayerNorm2D,
        "group": make_group_norm,
        "instance": make_instance_norm,
        "rms": nn.RMSNorm,
        "rms2d": nn.RMSNorm2D,
    }
    if kind in norms:
        return norms[kind](*arguments, activation="relu" if relu else None)
    if kind == "convolution":
        inputs, outputs, kernel, groups = arguments
        return nn.Conv2D(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    others: dict[str, Callable[..., nn.Module]] = {
        "max pool": nn.MaxPool2D,
        "average pool": nn.AvgPool2D,
        "global average pool": nn.GlobalAvgPool2D,
        "ReLU": nn.ReLU,
        "SiLU": nn.SiLU,
        "GELU": nn.GELU,
    }
    return others[kind](*arguments)


def torch_layer(kind: str, arguments: tuple[int, ...], relu: bool) -> Any:
    """The layer of that kind, and its activation after it."""
    from torch import nn

    from benchmarks.peers import Permute, layer_norm_2d

    def rms_norm_2d(channels: int) -> Any:
        return nn.Sequential(Permute(0, 2, 3, 1), nn.RMSNorm(channels, eps=1e-6), Permute(0, 3, 1, 2))

    def convolution(inputs: int, outputs: int, kernel: int, groups: int) -> Any:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)

    layers: dict[str, Callable[..., Any]] = {
        "batch": nn.BatchNorm2d,
        "batch rows": nn.BatchNorm1d,
        "layer": nn.LayerNorm,
        "layer2d": lambda channels: nn.Sequential(*layer_norm_2d(channels)),
        "group": lambda channels: nn.GroupNorm(32, channels),
        "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
        "rms": nn.RMSNorm,
        "rms2d": rms_norm_2d,
        "convolution": convolution,
        "max pool": nn.MaxPool2d,
        "average pool": nn.AvgPool2d,
        "global average pool": lambda: nn.AdaptiveAvgPool2d(1),
        "ReLU": nn.ReLU,
        "SiLU": nn.SiLU,
        "GELU": nn.GELU,
    }
    layer = layers[kind](*arguments)
    return nn.Sequential(layer, nn.ReLU(inplace=True)) if relu else layer


def our_run(
    kind: str, arguments: tuple[int, ...], relu: bool, shape: tuple[int, ...], backward: bool, captured: bool = False
) -> Callable[[], object]:
    """Run our layer on images that are channels-last in memory, as they are within a net."""
    from tinygrad_norm import Tensor, capture, grad, no_grad

    layer = our_layer(kind, arguments, relu).train(backward)
    x = Tensor(channels_last(numbers(shape)), requires_grad=backward)

    def inference(x: Tensor) -> object:
        with no_grad():
            return layer(x)

    def training(x: Tensor) -> object:
        return grad(layer(x), [x, *layer.parameters()], cotangent)

    if backward:
        y = layer(x)
        cotangent = Tensor(channels_last(numbers(y.shape)) if y.ndim == 4 else numbers(y.shape))
    run = training if backward else inference
    return tried(partial(capture(run, strict=True), x)) if captured else partial(run, x)


def torch_run(
    kind: str, arguments: tuple[int, ...], relu: bool, shape: tuple[int, ...], backward: bool, last: bool = False
) -> Callable[[], object]:
    """Run PyTorch's layer, in its default layout or channels-last."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    layout = torch.channels_last if last else torch.contiguous_format
    layer = torch_layer(kind, arguments, relu).train(backward).to(memory_format=layout)
    x = torch.from_numpy(numbers(shape)).to(memory_format=layout).requires_grad_(backward)

    def inference() -> object:
        with torch.inference_mode():
            return layer(x)

    if not backward:
        return inference
    wanted = [x, *layer.parameters()]
    cotangent = torch.from_numpy(numbers(tuple(layer(x).shape))).to(memory_format=layout)
    return lambda: torch.autograd.grad(layer(x), wanted, cotangent)


def our_small_op() -> Callable[[], object]:
    """The product of two times 64 numbers, recorded, and its gradients."""
    from tinygrad_norm import Tensor

    x, y = [Tensor(numbers((64,)), requires_grad=True) for _ in range(2)]
    cotangent = Tensor(numbers((64,)))

    def run() -> None:
        x.grad = y.grad = None
        (x * y).backward(cotangent)

    return run


def torch_small_op() -> Callable[[], object]:
    """The peer in PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    x, y = [torch.from_numpy(numbers((64,))).requires_grad_() for _ in range(2)]
    cotangent = torch.from_numpy(numbers((64,)))

    def run() -> None:
        x.grad = y.grad = None
        (x * y).backward(cotangent)

    return run


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers, the same for all."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def channels_last(array: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W), laid out as (N, H, W, C); rows stay as they are."""
    if array.ndim != 4:
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
