"""Choosing the norm of a net: by its name, or by any function from channels to a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_norm import nn
from tinygrad_norm.checks import check_choice, check_type
from tinygrad_norm.nn.activation import activation_layer
from tinygrad_norm.nn.normalization import Normalization
from tinygrad_norm.ops.activation import ActivationSpec

NormChoice = str | Callable[[int], nn.Module]
Layers = dict[str, Callable[..., nn.Module]]

MOST_GROUPS = 32


def make_group_norm(channels: int, **options: Any) -> nn.GroupNorm:
    """Group norm with as many groups, up to 32, as leave each the same number of channels, and two at least.

    Source: Wu and He, Group normalization, 2018, who take 32. With one channel each it would be instance norm.
    """
    groups = max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0 and (n == 1 or n < channels))
    return nn.GroupNorm(groups, channels, **options)


def make_instance_norm(channels: int, **options: Any) -> nn.InstanceNorm2D:
    """Instance norm with weight and bias, as the other norms have."""
    return nn.InstanceNorm2D(channels, affine=True, **options)


OF_IMAGES: Layers = {
    "batch": nn.BatchNorm2D,
    "layer": nn.LayerNorm2D,
    "group": make_group_norm,
    "instance": make_instance_norm,
    "rms": nn.RMSNorm2D,
}
OF_ROWS: Layers = {"batch": nn.BatchNorm1D, "layer": nn.LayerNorm, "group": make_group_norm, "rms": nn.RMSNorm}


class Norms:
    """Makes the norms of one net: `Norms("batch")(64, "relu")` is a BatchNorm2D of 64 channels that applies ReLU.

    Args:
        norm: "batch", "layer" (over the channels at each pixel), "group" (see `make_group_norm`), "instance", "rms" (as
            "layer", without the mean), "none", or a function from the number of channels to a layer.
        momentum: of the running statistics, for the norms named here that keep some; None: the layer's own.
        rows: whether the norms are for rows (N, C) rather than images (N, C, H, W); there is no "instance" then.

    Raises:
        ValueError: the name is not known.
        TypeError: neither a name nor callable.
    """

    def __init__(self, norm: NormChoice, momentum: float | None = None, rows: bool = False) -> None:
        self._named = OF_ROWS if rows else OF_IMAGES
        name = "norm of rows, which have no positions," if rows else "norm"
        check_choice(name, norm, [*self._named, "none"], "a function from channels to a layer")
        self.norm = norm
        self.momentum = momentum
        self.bias = norm in ("none", "rms")  # whether a layer before needs one: without a norm, or before one without

    def __call__(self, channels: int, activation: ActivationSpec = None) -> nn.Module:
        """Return a norm that applies the activation too: in its own kernel, or, if it is foreign, in a module after it.

        Raises:
            TypeError: the function that was given for a norm returned no Module.
        """
        if self.norm == "none":
            return activation_layer(activation)
        if isinstance(self.norm, str):
            options = {"momentum": self.momentum} if self.norm == "batch" and self.momentum is not None else {}
            return self._named[self.norm](channels, activation=activation, **options)
        layer = self.norm(channels)
        check_type("norm: what the function returns", layer, nn.Module, "a Module")
        if activation is None:
            return layer
        if isinstance(layer, Normalization) and layer.activation is None:
            layer.activation = activation
            return layer
        return nn.Sequential(layer, activation_layer(activation))
