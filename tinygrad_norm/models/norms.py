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
    return nn.GroupNorm(_groups(channels), channels, **options)


def _groups(channels: int) -> int:
    return max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0 and (n == 1 or n < channels))


def make_instance_norm(channels: int, **options: Any) -> nn.InstanceNorm2D:
    """Instance norm with weight and bias, as the other norms have."""
    return nn.InstanceNorm2D(channels, affine=True, **options)


def make_batch_renorm(rows: bool) -> Callable[..., nn.Module]:
    """Return a maker of batch renorm whose limits are the paper's last from the first batch on.

    Its schedule begins after 5,000 batches, when many a net here is trained.
    """
    kind = nn.BatchRenorm1D if rows else nn.BatchRenorm2D
    return lambda channels, **options: kind(channels, r_max=3.0, d_max=5.0, **options)


def make_filter_response_norm(channels: int, activation: ActivationSpec = None) -> nn.FilterResponseNorm2D:
    """FRN, whose threshold takes the place of any activation."""
    return nn.FilterResponseNorm2D(channels, threshold=activation is not None)


def make_evonorm_b0(channels: int, activation: ActivationSpec = None, **options: Any) -> nn.EvoNormB0:
    """EvoNorm-B0, which takes the place of any activation."""
    return nn.EvoNormB0(channels, nonlinear=activation is not None, **options)


def make_evonorm_s0(channels: int, activation: ActivationSpec = None) -> nn.EvoNormS0:
    """EvoNorm-S0, which takes the place of any activation, in groups as `make_group_norm` makes them."""
    return nn.EvoNormS0(channels, _groups(channels), nonlinear=activation is not None)


def make_power_norm(channels: int, **options: Any) -> nn.PowerNorm:
    """PowerNorm after a warm-up of 100 batches: its authors' 10,000 are more than many a net here is trained for."""
    return nn.PowerNorm(channels, warmup=100, **options)


OF_BOTH: Layers = {
    "group": make_group_norm,
    "power": make_power_norm,
    "l1": nn.L1Norm,
    "linf": nn.LInfNorm,
    "scale": nn.ScaleNorm,
    "prms": nn.PartialRMSNorm,
    "dyt": nn.DynamicTanh,
    "derf": nn.DynamicErf,
}
OF_IMAGES: Layers = {
    "batch": nn.BatchNorm2D,
    "layer": nn.LayerNorm2D,
    "instance": make_instance_norm,
    "rms": nn.RMSNorm2D,
    "renorm": make_batch_renorm(rows=False),
    "ghost": nn.GhostBatchNorm2D,
    "switchable": nn.SwitchableNorm2D,
    "frn": make_filter_response_norm,
    "evonorm_b0": make_evonorm_b0,
    "evonorm_s0": make_evonorm_s0,
    **OF_BOTH,
}
OF_ROWS: Layers = {
    "batch": nn.BatchNorm1D,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "renorm": make_batch_renorm(rows=True),
    "ghost": nn.GhostBatchNorm1D,
    **OF_BOTH,
}
WITHOUT_BIAS = frozenset({"none", "rms", "scale", "prms"})
"""After which a layer needs a bias of its own."""
WITH_MOMENTUM = frozenset({"batch", "renorm", "ghost", "power", "switchable", "evonorm_b0", "l1", "linf"})


class Norms:
    """Makes the norms of one net: `Norms("batch")(64, "relu")` is a BatchNorm2D of 64 channels that applies ReLU.

    Args:
        norm: "batch", "layer" (over the channels at each pixel), "group" (see `make_group_norm`), "instance", "rms" (as
            "layer", without the mean), another key of `OF_IMAGES` or `OF_ROWS`, "none", or a function from the number
            of channels to a layer.
        momentum: of the running statistics, for the norms named here that keep some; None: the layer's own.
        rows: whether the norms are for rows (N, C) rather than images (N, C, H, W), as which some are alone.

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
        self.bias = isinstance(norm, str) and norm in WITHOUT_BIAS  # whether a layer before needs one

    def __call__(self, channels: int, activation: ActivationSpec = None) -> nn.Module:
        """Return a norm that applies the activation too: in its own kernel, or, if it is foreign, in a module after it.

        Raises:
            TypeError: the function that was given for a norm returned no Module.
        """
        if self.norm == "none":
            return activation_layer(activation)
        if isinstance(self.norm, str):
            has_momentum = self.norm in WITH_MOMENTUM and self.momentum is not None
            options = {"momentum": self.momentum} if has_momentum else {}
            return self._named[self.norm](channels, activation=activation, **options)
        layer = self.norm(channels)
        check_type("norm: what the function returns", layer, nn.Module, "a Module")
        if activation is None:
            return layer
        if isinstance(layer, Normalization) and layer.activation is None:
            layer.activation = activation
            return layer
        return nn.Sequential(layer, activation_layer(activation))
