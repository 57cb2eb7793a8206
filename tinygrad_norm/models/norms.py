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
MOST_WHITENED = 16


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
    """Return a maker of batch renorm by the paper's schedule, fifty times as fast, and with batch norm's momentum.

    It is batch norm for 100 batches; then r_max rises to 3 by batch 800, and d_max to 5 by batch 500. The paper's
    schedule begins after 5,000 batches, when many a net here is trained. Limits that are as wide from the first batch
    on, when the running statistics say little, let a net diverge at large learning rates, and with the paper's momentum
    of 0.01 they lag behind one that learns fast.
    """
    kind = nn.BatchRenorm1D if rows else nn.BatchRenorm2D
    limits = {"r_max": nn.Ramp(1.0, 3.0, 100, 800), "d_max": nn.Ramp(0.0, 5.0, 100, 500)}
    return lambda channels, **options: kind(channels, **{"momentum": 0.1, **limits, **options})


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


def make_iter_norm(rows: bool) -> Callable[..., nn.Module]:
    """Return a maker of whitening in groups of up to 16 channels.

    Of more, a batch of 32 or 64 rows would say little about their covariance.
    """
    kind = nn.IterNorm1D if rows else nn.IterNorm2D

    def make(channels: int, **options: Any) -> nn.Module:
        most = next(n for n in range(MOST_WHITENED, 0, -1) if channels % n == 0)
        return kind(channels, channels // most, **options)

    return make


def make_local_response_norm(channels: int, activation: ActivationSpec = None) -> nn.Module:
    """LRN of five neighbours, behind the activation, as AlexNet has it.

    k is 1, as in Caffe's AlexNet, and not 2, with which each in a row would shrink what goes through by 0.6.
    """
    layer = nn.LocalResponseNorm(5)
    return layer if activation is None else nn.Sequential(activation_layer(activation), layer)


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
    "ibn": nn.IBN,
    "iternorm": make_iter_norm(rows=False),
    "lrn": make_local_response_norm,
    **OF_BOTH,
}
OF_ROWS: Layers = {
    "batch": nn.BatchNorm1D,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
    "renorm": make_batch_renorm(rows=True),
    "ghost": nn.GhostBatchNorm1D,
    "iternorm": make_iter_norm(rows=True),
    **OF_BOTH,
}
WITHOUT_BIAS = frozenset({"none", "rms", "scale", "prms", "lrn"})
"""After which a layer needs a bias of its own."""
WITH_MOMENTUM = frozenset(
    {"batch", "renorm", "ghost", "power", "switchable", "evonorm_b0", "ibn", "iternorm", "l1", "linf"}
)
"""Which keep running statistics."""
UNFIT_FOR_ROWS = {
    "instance": "would see one value of each channel, and one has no variance",
    "switchable": "mixes in the variance over an image's positions, which one value has not",
    "frn": "would see one value of each channel, and leave nothing of it but the sign",
    "evonorm_b0": "divides by the variance over an image's positions, which one value has not",
    "evonorm_s0": "is a norm and an activation of images",
    "ibn": "is instance norm in a half of the channels, and one value has no variance",
    "lrn": "divides by the neighbouring channels of a pixel, and the features of a row are no one's neighbours",
}
"""Why rows (N, C) do not take the norms that only images take."""
UNFIT = {
    "grn": "does not normalize: it begins as the identity, and leaves the scale to a norm beside it; put "
    "nn.GlobalResponseNorm behind an activation, as ConvNeXt V2 does, and keep a norm such as 'layer'",
    **{
        name: f"takes {what} beside x, which no net here hands on; use nn.{layer} in a net of your own"
        for name, layer, what in (
            ("adain", "AdaIN", "the features of a style"),
            ("film", "FiLM", "a label or a vector"),
            ("conditional", "ConditionalBatchNorm2D", "a label or a vector"),
            ("spade", "SPADE", "a map of classes"),
            ("masked", "MaskedBatchNorm2D", "a mask"),
        )
    },
}
"""Why some norms have no place in a net by their name alone, and what to do instead."""


def needs_positions(norm: Any) -> bool:
    """Return whether a norm by name needs two positions of each image, as instance norm, in all channels or a half."""
    return isinstance(norm, str) and norm in ("instance", "ibn")


def refuse_unfit(norm: Any, rows: bool) -> None:
    """Raise a ValueError for the name of a norm that is wrong for its place: it says why, and what would do.

    Args:
        norm: what was given for a norm.
        rows: whether it is for rows (N, C) rather than images.
    """
    if isinstance(norm, str) and norm in UNFIT:
        raise ValueError(f"norm: {norm!r} {UNFIT[norm]}")
    if rows and isinstance(norm, str) and norm in UNFIT_FOR_ROWS:
        known = ", ".join([*OF_ROWS, "none"])
        raise ValueError(f"norm of rows is one of {known}, got {norm!r}, which {UNFIT_FOR_ROWS[norm]}")


class Norms:
    """Makes the norms of one net: `Norms("batch")(64, "relu")` is a BatchNorm2D of 64 channels that applies ReLU.

    Args:
        norm: "batch", "layer" (over the channels at each pixel), "group" (see `make_group_norm`), "instance", "rms" (as
            "layer", without the mean), another key of `OF_IMAGES` or `OF_ROWS`, "none", or a function from the number
            of channels to a layer.
        momentum: of the running statistics, for the norms named here that keep some; None: the layer's own.
        rows: whether the norms are for rows (N, C) rather than images (N, C, H, W), as which some are alone.

    Raises:
        ValueError: the name is not known, or that of a norm which is wrong for the place; the error says why.
        TypeError: neither a name nor callable.

    Example:
        >>> models.Norms("group")(64, "relu")
        GroupNorm(32, 64, eps=1e-05, affine=True, bias=True, activation='relu')
    """

    def __init__(self, norm: NormChoice, momentum: float | None = None, rows: bool = False) -> None:
        refuse_unfit(norm, rows)
        self._named = OF_ROWS if rows else OF_IMAGES
        name = "norm of rows" if rows else "norm"
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
