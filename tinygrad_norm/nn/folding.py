"""Batch norm folded into the layer before it: in inference both together are one linear layer."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_norm.nn.containers import Sequential
from tinygrad_norm.nn.convolution import Conv2D
from tinygrad_norm.nn.linear import Identity, Linear
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.nn.normalization import BatchNorm

FOLDABLE: tuple[type[Module], ...] = (Linear, Conv2D)
"""The layers whose output is linear in a weight (out, ...) and a bias (out,)."""


def fold_batch_norm(model: Module, in_place: bool = False) -> Module:
    """Return a copy of the model, for inference, in which batch norms are folded into the layers before them.

    Wherever a Linear or a Conv2D without activation is directly followed by a batch norm of as many channels, the layer
    is replaced by one with weight · γ/√(var + eps) and bias (bias - mean) · γ/√(var + eps) + β, which takes over the
    norm's activation, and the norm by an Identity. Everything else stays as it is. A Linear is taken to be given rows
    (N, in_features), whose last axis is the one that the batch norm takes for its channels.

    Modules follow each other in a `Sequential`. Any other module can say which of its own do, by their names:
    `followed_by = (("conv1", "bn1"),)` in its class means that bn1 alone is given what conv1 returns, and nothing else.

    Args:
        model: as after `eval()`.
        in_place: change the model itself and return it.

    Raises:
        ValueError: a batch norm to be folded would normalize with the statistics of the batch, as it is in training
            or keeps no running statistics; nothing has changed.

    Source: Jacob et al. 2018, section 3.2.
    """
    pairs = [(path, *pair) for path, module in model.named_modules() for pair in _pairs(module)]
    for path, _, (name, norm) in pairs:
        _check_constant(f"{path}.{name}" if path else name, norm)
    if not in_place:
        return fold_batch_norm(copy.deepcopy(model), in_place=True)
    for path, (name, layer), (norm_name, norm) in pairs:
        holder = model.get_submodule(path)
        setattr(holder, name, _folded(layer, norm))
        setattr(holder, norm_name, Identity().train(norm.training))
    return model


def _pairs(module: Module) -> list[tuple[tuple[str, Any], tuple[str, Any]]]:
    """The layers that are followed by a batch norm of their channels in a module, and these, with their names."""
    own = module._own_modules()  # shared ones each time they come
    neighbours = pairwise(own) if isinstance(module, Sequential) else getattr(module, "followed_by", ())
    pairs = [((name, own.get(name)), (norm_name, own.get(norm_name))) for name, norm_name in neighbours]
    return [(first, second) for first, second in pairs if _fold_together(first[1], second[1])]


def _fold_together(layer: Any, norm: Any) -> bool:
    linear = isinstance(layer, FOLDABLE) and getattr(layer, "activation", None) is None
    return linear and isinstance(norm, BatchNorm) and layer.weight.shape[0] == norm.num_features


def _check_constant(path: str, norm: BatchNorm) -> None:
    if norm.running_mean is None:
        raise ValueError(f"fold_batch_norm: {path} keeps no running statistics, so it is not the same for every batch")
    if norm.uses_batch_statistics() or norm.updates_running_statistics():
        raise ValueError(f"fold_batch_norm: {path} is in training; folding is for inference, call model.eval() first")


def _folded(layer: Any, norm: BatchNorm) -> Module:
    """A copy of the layer that scales and shifts its output as the norm would; computed in float64."""
    gamma, beta, bias = [
        default if parameter is None else parameter.raw.astype(np.float64)
        for parameter, default in ((norm.weight, 1.0), (norm.bias, 0.0), (layer.bias, 0.0))
    ]
    mean, var = norm.running_mean.raw.astype(np.float64), norm.running_var.raw.astype(np.float64)
    scale = gamma / np.sqrt(var + norm.eps)
    weight = layer.weight.raw * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    if weight.ndim == 4:  # in memory as the kernels take filters, so that no call rearranges them
        order = (2, 3, 0, 1) if weight.shape[1] == 1 else (0, 2, 3, 1)
        weight = np.ascontiguousarray(weight.transpose(order)).transpose(np.argsort(order))
    folded: Any = copy.deepcopy(layer)
    folded.activation = norm.activation
    folded.weight = Parameter(weight, dtype=layer.weight.dtype)
    folded.bias = Parameter((bias - mean) * scale + beta, dtype=layer.weight.dtype)
    return folded  # type: ignore[no-any-return]
