"""What follows a linear layer folded into it: norms with which it is one linear layer in inference; activations.

And parametrizations, of which the computed parameters are left.

Modules follow each other in a `Sequential`, where an Identity between them does not count. Any other module can say
which of its own do, by their names: `followed_by = (("conv1", "bn1"),)` in its class means that bn1 alone is given what
conv1 returns, and nothing else; a class derived from it that has a forward of its own has to say so again. Modules that
have hooks stay, so that these see what they saw.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_norm.checks import check_type
from tinygrad_norm.nn.activation import as_fusible
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.containers import Sequential
from tinygrad_norm.nn.convolution import Conv2D
from tinygrad_norm.nn.dropout import Dropout
from tinygrad_norm.nn.linear import Flatten, Identity, Linear
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.nn.normalization import BatchNorm1D, ChannelNorm, GroupNorm, LayerNorm, RMSNorm, RunningNorm
from tinygrad_norm.nn.parametrize import parametrized, remove_parametrizations
from tinygrad_norm.tensor import Tensor


class FoldedLinear(Linear):
    """A Linear that has taken over a batch norm, for rows (N, in_features) alone.

    Of (N, C, in_features) the norm would have normalized the axis in the middle.
    """

    def forward(self, x: Tensor) -> Tensor:
        if len(shape := input_shape(self, x)) != 2:
            raise ValueError(
                f"FoldedLinear: the input has shape (N, {self.in_features}), for which the batch norm was "
                f"folded, got {shape}"
            )
        return super().forward(x)


_LINEAR = Linear.forward, FoldedLinear.forward, Conv2D.forward
"""What layers compute whose output is linear in a weight (out, ...) and a bias (out,)."""

_OF_ROWS = (Identity, Dropout, Linear, FoldedLinear, BatchNorm1D, GroupNorm, LayerNorm, RMSNorm)
"""What, beside activations, makes rows of rows."""


def fold_batch_norm(model: Module, in_place: bool = False) -> Module:
    """Return a copy of the model, for inference, in which batch norms are folded into the layers before them.

    Wherever a Conv2D or a Linear without activation is directly followed by a norm of as many channels that infers by
    x · a + b, the layer is replaced by one with weight · a and bias · a + b, which takes over the norm's activation,
    and the norm by an Identity. Everything else stays as it is. In batch norm a = γ/√(var + eps) and b = β - mean · a;
    Batch Renorm, ghost, L1 and L∞ batch norm infer as it does, as instance norm does by running statistics. In
    PowerNorm a = γ/√(ψ² + eps) and b = β; an EvoNorm in a place without an activation has its own weight and bias.

    A Linear is folded only for rows (N, in_features): where the norm has seen rows and nothing else, or where they come
    from a Flatten before it in the Sequential. Call the model once, if it was not called since it was made. Before a
    norm of the last axis it is folded for all inputs.

    Args:
        model: as after `eval()`.
        in_place: change the model itself and return it.

    Raises:
        ValueError: a norm to be folded would normalize with the statistics of the batch, as it is in training or keeps
            no running statistics; or these are infinite. Nothing has changed.

    Source: Jacob et al., Quantization and training of neural networks for efficient integer-arithmetic-only
        inference, 2018, section 3.2.

    Example:
        >>> model = nn.Sequential(nn.Conv2D(3, 8, 3, bias=False), nn.BatchNorm2D(8, activation="relu")).eval()
        >>> nn.fold_batch_norm(model)
        Sequential(
          (0): Conv2D(3, 8, kernel_size=(3, 3), stride=(1, 1), activation='relu')
          (1): Identity()
        )
    """
    pairs = [pair for pair in _pairs(model, _is_before_norm) if _channels_agree(model, *pair)]
    for path, _, (name, norm) in pairs:
        _check_constant(f"{path}.{name}" if path else name, norm)
    if not in_place:
        return fold_batch_norm(copy.deepcopy(model), in_place=True)
    for path, (name, layer), second in pairs:
        _replace(model.get_submodule(path), name, _folded(layer, second[1]), *second)
    return model


def fold_activations(model: Module, in_place: bool = False) -> Module:
    """Return a copy of the model in which activations are applied by the layers before them, in the same kernel.

    Wherever a Linear or a Conv2D without activation is directly followed by a module of one, the layer takes it over
    and the module is replaced by an Identity. The parameters stay the same, and the model can still be trained, though
    the way back computes again what was activated. `fold_batch_norm` comes before, where both are wanted.

    Args:
        model: the model.
        in_place: change the model itself and return it.

    Example:
        >>> nn.fold_activations(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True, activation='relu')
          (1): Identity()
        )
    """
    if not in_place:
        return fold_activations(copy.deepcopy(model), in_place=True)
    for path, (name, layer), second in _pairs(model, lambda layer, after: _is_linear(layer) and as_fusible(after)):
        taking = copy.copy(layer)  # the layer may stand elsewhere too
        taking.activation = as_fusible(second[1])
        _replace(model.get_submodule(path), name, taking, *second)
    return model


def fold_parametrizations(model: Module, in_place: bool = False) -> Module:
    """Return a copy of the model, for inference and export, in which computed parameters are ordinary ones.

    Each parametrized parameter becomes what its parametrizations compute, and layers have their own classes again.

    Args:
        model: as after `eval()`: in training, spectral norm would take another step.
        in_place: change the model itself and return it.

    Raises:
        TypeError: it is no Module.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(4, 2))
        >>> [*layer.state_dict()], [*nn.fold_parametrizations(layer).state_dict()]
        (['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1'], ['bias', 'weight'])
    """
    check_type("fold_parametrizations: model", model, Module, "a Module")
    if not in_place:
        return fold_parametrizations(copy.deepcopy(model), in_place=True)
    for module, name in list(parametrized(model)):
        remove_parametrizations(module, name)
    return model


def _replace(holder: Module, name: str, layer: Module, follower_name: str, follower: Module) -> None:
    """Put a layer that does the work of its follower in the place of both."""
    setattr(holder, name, layer)
    setattr(holder, follower_name, Identity().train(follower.training))


Named = tuple[str, Any]


def _pairs(model: Module, belong: Callable[[Any, Any], Any]) -> list[tuple[str, Named, Named]]:
    """Return the modules that follow each other and belong together, with their names and the path of their holder."""
    found = []
    for path, module in model.named_modules():
        own = dict(module.named_children(remove_duplicate=False))
        apparent = [name for name, inside in own.items() if type(inside) is not Identity or inside.has_hooks]
        in_order = type(module).forward is Sequential.forward
        for first, second in pairwise(apparent) if in_order else _followed_by(module):
            pair: list[Any] = [own.get(first), own.get(second)]
            if belong(*pair) and not any(each.has_hooks for each in pair):
                found.append((path, (first, pair[0]), (second, pair[1])))
    return found


def _followed_by(module: Module) -> tuple[tuple[str, str], ...]:
    """Return what its class says, unless the forward that it speaks of was replaced by a derived class."""
    said = next(vars(kind) for kind in type(module).__mro__ if {"followed_by", "forward"} & vars(kind).keys())
    pairs: tuple[tuple[str, str], ...] = said.get("followed_by", ())
    return pairs


def _is_linear(layer: Any) -> bool:
    return getattr(type(layer), "forward", None) in _LINEAR and layer.activation is None


def _is_before_norm(layer: Any, norm: Any) -> bool:
    if not (_is_linear(layer) and isinstance(norm, ChannelNorm) and norm.infers_affinely()):
        return False
    channels, axes = ("out_channels", "NCHW") if isinstance(layer, Conv2D) else ("out_features", "NC")
    return axes in norm.layouts and (vars(layer)[channels],) == norm.shape


def _channels_agree(model: Module, path: str, first: Named, second: Named) -> bool:
    """Return whether the channels of a Linear are those of the norm after it; a convolution's always are."""
    (name, layer), (_, norm) = first, second
    if isinstance(layer, Conv2D) or _is_of_last_axis(norm):
        return True
    ranks = norm.ranks if isinstance(norm, RunningNorm) else set()
    return ranks == {2} or _is_of_rows(model.get_submodule(path), name)


def _is_of_last_axis(norm: Any) -> bool:
    return all(axes.endswith("C") for axes in norm.layouts)


def _is_of_rows(holder: Module, name: str) -> bool:
    """Return whether a module of a Sequential is given rows, which a Flatten before it made."""
    if type(holder).forward is not Sequential.forward:
        return False
    rows = False
    for before, module in holder.named_children(remove_duplicate=False):
        if before == name:
            break
        if type(module) is Flatten:
            rows = (module.start_dim, module.end_dim) == (1, -1)
        elif type(module) not in _OF_ROWS and as_fusible(module) is None:
            rows = False
        rows = rows and not module.has_hooks
    return rows


def _check_constant(path: str, norm: ChannelNorm) -> None:
    if not isinstance(norm, RunningNorm):
        return
    if norm.uses_batch_statistics() or norm.updates_running_statistics():
        why = "is in training; folding is for inference, call model.eval() first"
        if not norm.keeps_statistics:
            why = "keeps no running statistics, so it is not the same for every batch"
        raise ValueError(f"fold_batch_norm: {path} {why}")
    if norm.reads_running_statistics():
        norm.check_statistics(path)


def _folded(layer: Any, norm: Any) -> Any:
    """Return a copy of the layer that scales and shifts its output as the norm would; computed in float64."""
    folded: Any
    folded, norm = fold_parametrizations(layer), fold_parametrizations(norm)
    scale, shift = norm.inference_affine()
    weight = folded.weight.raw * scale.reshape(-1, *[1] * (folded.weight.ndim - 1))
    if weight.ndim == 4:  # in memory as the kernels take filters, so that calls need not rearrange them
        order = (2, 3, 0, 1) if weight.shape[1] == 1 else (0, 2, 3, 1)
        weight = np.ascontiguousarray(weight.transpose(order)).transpose(np.argsort(order))
    if isinstance(folded, Linear) and not _is_of_last_axis(norm):
        folded.__class__ = FoldedLinear
    folded.activation = norm.activation
    if folded.bias is not None:
        shift = shift + folded.bias.raw * scale
    folded.weight = Parameter(weight, dtype=folded.weight.dtype)
    folded.bias = Parameter(shift, dtype=folded.weight.dtype)
    return folded
