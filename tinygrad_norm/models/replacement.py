"""Swapping the norms in one part of a net, or in all of it, for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_norm import nn
from tinygrad_norm.checks import closest, did_you_mean
from tinygrad_norm.models.norms import NormChoice, Norms, needs_positions
from tinygrad_norm.nn.normalization import BatchNorm, Normalization, RunningNorm, TrailingNorm

SWITCHES = ("momentum", "frozen", "use_batch_statistics", "update_running_statistics")


def replace_norm(model: nn.Module, path: str, norm: NormChoice, momentum: float | None = None) -> list[str]:
    """Put other norms in the places of all those inside one module of a model; return their paths.

    A new norm keeps the old one's activation, mode and dtype, its weight and bias if it has these too (the same
    Parameters, so that an optimizer goes on with them). Where both keep the same running statistics, as from batch norm
    to batch norm, these are kept too, and, if the new one is made by its name, the momentum and the switches. A
    parameter that the old one did not have is unknown to an optimizer made before. Right after a global average
    instance norm and IBN, which would see one value there, become layer norm.

    Args:
        model: changed in place, or on an error not at all.
        path: of a module such as "layer3.0", or of a norm; "" is the whole model.
        norm, momentum: see `Norms`. "none" leaves the activation alone; the convolution before gets no bias in return.

    Raises:
        ValueError: there is no such path, no norm in it, or one that is neither of images nor of rows, or that does not
            know its channels, as LRN; or the norm is not known, or wrong for the place; or the model is itself a norm.
        TypeError: as `Norms`.

    Example:
        >>> net = models.create_model("resnet18", width=0.125)
        >>> models.replace_norm(net, "layer3.0", "group")
        ['layer3.0.bn1', 'layer3.0.bn2', 'layer3.0.downsample.1']
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    if path not in modules:
        hint = did_you_mean(str(path), modules)
        raise ValueError(f"replace_norm: {type(model).__name__} has no module {path!r}{hint}")
    if isinstance(model, Normalization):
        raise ValueError(f"replace_norm: the model is itself a norm, {model}, and has no place in which to replace it")
    norms = [name for name, module in modules.items() if isinstance(module, Normalization | nn.LocalResponseNorm)]
    norms = [name for name in norms if name.rpartition(".")[0] not in norms]  # but not the two norms of IBN
    chosen = [name for name in norms if not path or name == path or name.startswith(f"{path}.")]
    if not chosen:
        hint = f"; did you mean {closest(path, norms) or norms[0]}?" if norms else ""
        raise ValueError(f"replace_norm: {path or type(model).__name__} holds no norm{hint}")
    made: dict[nn.Module, nn.Module] = {}  # one norm in two places becomes one norm in two places
    for name in chosen:
        if modules[name] not in made:
            kind = "layer" if needs_positions(norm) and _follows_average(modules[name], model) else norm
            maker = Norms(kind, momentum, rows=_is_of_rows(name, modules))
            made[modules[name]] = _replacement(modules[name], maker, model)
    for name in chosen:
        parent, _, attribute = name.rpartition(".")
        setattr(modules[parent], attribute, made[modules[name]])
    return chosen


def _is_of_rows(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a norm is of rows (N, C) rather than of images; one that takes both tells by the layer before."""
    norm: Any = modules[name]
    if isinstance(norm, nn.LocalResponseNorm):
        raise ValueError(f"replace_norm: {name} is {norm}, which does not know of how many channels a norm would be")
    siblings = list(modules[name.rpartition(".")[0]].children())
    of_rows, of_images = "NC" in norm.layouts or isinstance(norm, TrailingNorm), "NCHW" in norm.layouts
    if not (of_rows or of_images) or len(norm.shape) != 1:
        raise ValueError(f"replace_norm: {name} is {norm}, which is neither of images (N, C, H, W) nor of rows (N, C)")
    if isinstance(norm, RunningNorm) and "NCL" in norm.layouts and 3 in norm.ranks:
        raise ValueError(
            f"replace_norm: {name} is {norm}, which was given (N, C, L), and neither images nor rows (N, C)"
        )
    after_linear = isinstance(siblings[siblings.index(norm) - 1], nn.Linear) and siblings[0] is not norm
    return of_rows and (after_linear or not of_images)


def _follows_average(norm: nn.Module, model: nn.Module) -> bool:
    """Return whether the layer before a norm averages each channel over all its pixels."""
    layers = [module for module in model.modules() if not any(module.children())]
    return isinstance(layers[layers.index(norm) - 1], nn.GlobalAvgPool2D) and layers[0] is not norm


def first_weight(norm: nn.Module) -> float:
    """Return what the weight of a norm begins with: 0 in GRN, 1 in others."""
    return getattr(norm, "first_weight", 1.0)


def _replacement(old: Any, norms: Norms, model: nn.Module) -> nn.Module:
    tensors = (*old.parameters(), *old.buffers(), *model.parameters())
    dtype = next((tensor.dtype for tensor in tensors if tensor.dtype.kind == "f"), np.float32)
    layer = norms(old.shape[0], old.activates()).astype(dtype).train(old.training)
    new: Any = layer[0] if isinstance(layer, nn.Sequential) else layer
    running = _same_statistics(old, new)
    for name in ("weight", "bias", *running):
        kept, fresh = getattr(old, name), getattr(new, name, None)
        alike = name in running or first_weight(old) == first_weight(new)
        if kept is not None and fresh is not None and kept.shape == fresh.shape and alike:
            setattr(new, name, kept)
    if isinstance(new, Normalization):
        new.fused = old.fused
    for name in SWITCHES if running and isinstance(norms.norm, str) else ():
        if name != "momentum" or (norms.momentum is None and type(old).momentum == type(new).momentum):
            setattr(new, name, getattr(old, name))
    return layer


def _same_statistics(old: nn.Module, new: nn.Module) -> tuple[str, ...]:
    """Return the names of the running statistics, and of their count, if these are the same in both norms."""
    if not (isinstance(old, RunningNorm) and isinstance(new, RunningNorm) and old.begins_with == new.begins_with):
        return ()
    same = isinstance(old, BatchNorm) == isinstance(new, BatchNorm)  # instance norm's are an average over the images
    return (*old.begins_with, "num_batches_tracked") if same else ()
