"""How each norm layer is made and what it is called with, in any sizes: the one table for whoever needs an example."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from tinygrad_norm import nn
from tinygrad_norm.dtypes import Array, Shape

Sizes = Mapping[str, int]
"""The lengths of axes, by their letters: N, C, L, D, H, W, and K, what a condition has in the place of channels."""


class NormExample(NamedTuple):
    """A use of a norm layer."""

    axes: str
    """The letters of the input's axes."""
    arguments: tuple[Any, ...] = ("C",)
    """What the layer is made with: values, and the letters of sizes."""
    options: Mapping[str, Any] = MappingProxyType({})
    """What shows in a small input, or another form of the layer."""
    given: str = ""
    """What else it is called with, if anything: "floats", "labels" or "mask", and the letters of its axes."""

    def made_with(self, sizes: Sizes) -> tuple[Any, ...]:
        """The arguments for these sizes."""
        return tuple(sizes.get(each, each) if isinstance(each, str) else each for each in self.arguments)

    def draw(self, sizes: Sizes, rng: Generator, dtype: Any = np.float64) -> list[Array]:
        """Random inputs: x, and what else there is."""
        inputs = [rng.normal(0.3, 1.2, _shape(self.axes, sizes)).astype(dtype)]
        kind, _, axes = self.given.partition(" ")
        shape = _shape(axes, sizes)
        if kind == "floats":
            inputs.append(rng.normal(0.3, 1.1, shape).astype(dtype))
        elif kind == "labels":
            inputs.append(rng.integers(0, sizes["K"], shape))
        elif kind == "mask":
            inputs.append(rng.random(shape) < 0.7)
            inputs[1][..., :1] = True  # so that there is something to normalize by
        return inputs


def _shape(axes: str, sizes: Sizes) -> Shape:
    return tuple(sizes[each] for each in axes)


def _of(axes: str, *arguments: Any, given: str = "", **options: Any) -> NormExample:
    return NormExample(axes, arguments or ("C",), options, given)


_ANYWHERE = (_of("NCHW"), _of("NLC", affine=False, channels_last=True))
NORMS: dict[str, tuple[NormExample, ...]] = {
    "AdaIN": (_of("NCHW", given="floats NCWH"), _of("NCHW", "C", "K", given="floats NK")),
    **dict.fromkeys(("BatchNorm1D", "InstanceNorm1D"), (_of("NCL"),)),
    **dict.fromkeys(("BatchNorm2D", "InstanceNorm2D", "LayerNorm2D", "RMSNorm2D", "SwitchableNorm2D"), (_of("NCHW"),)),
    **dict.fromkeys(("BatchNorm3D", "InstanceNorm3D"), (_of("NCDHW"),)),
    "BatchRenorm1D": (_of("NCL", r_max=1.5, d_max=0.7), _of("NC", r_max=1.5, d_max=0.5)),
    "BatchRenorm2D": (_of("NCHW", r_max=1.5, d_max=0.7), _of("NCHW", r_max=3.0, d_max=5.0)),
    "ConditionalBatchNorm1D": (_of("NCL", "C", "K", given="floats NK"), _of("NC", "C", "K", given="labels N")),
    "ConditionalBatchNorm2D": (
        _of("NCHW", "C", "K", given="labels N"),
        _of("NCHW", "C", "K", given="floats NK", bias=False),
    ),
    **dict.fromkeys(("DynamicErf", "DynamicTanh"), _ANYWHERE),
    "EvoNormB0": (_of("NCHW"), _of("NCHW", nonlinear=False)),
    "EvoNormS0": (_of("NCHW", "C", 2), _of("NCHW", "C", 2, nonlinear=False)),
    "FiLM": (_of("NCHW", "C", "K", given="labels N"), _of("NCHW", "C", "K", given="floats NK", affine=False)),
    "FilterResponseNorm2D": (
        _of("NCHW"),
        _of("NCHW", threshold=False, activation="silu"),
        _of("NCHW", threshold=False, learned_eps=True),
    ),
    "GhostBatchNorm1D": (_of("NCL", ghost_size=2),),
    "GhostBatchNorm2D": (_of("NCHW", ghost_size=2), _of("NCHW", ghost_size=2, activation="silu")),
    "GlobalResponseNorm": (_of("NCHW"), _of("NLC", channels_last=True)),
    "GroupNorm": (_of("NCHW", 2, "C"),),
    "IBN": (_of("NCHW"), _of("NCHW", "C", 0.3, activation="silu")),
    "IterNorm1D": (_of("NCL", iterations=2), _of("NC", "C", 2, iterations=1)),
    "IterNorm2D": (_of("NCHW", "C", 2, iterations=3),),
    **dict.fromkeys(("L1Norm", "LInfNorm"), (_of("NCHW"), _of("NC", bias=False))),
    **dict.fromkeys(("LayerNorm", "RMSNorm"), (_of("NLC"),)),
    "LocalResponseNorm": (_of("NCHW", 3), _of("NCL", 2, 0.3, 0.6, k=1.5)),
    **dict.fromkeys(("MaskedBatchNorm1D", "MaskedInstanceNorm1D"), (_of("NCL", given="mask NL"),)),
    **dict.fromkeys(("MaskedBatchNorm2D", "MaskedInstanceNorm2D"), (_of("NCHW", given="mask NHW"),)),
    "MaskedGroupNorm": (_of("NCHW", 2, "C", given="mask NHW"), _of("NCL", 1, "C", given="mask NL", activation="silu")),
    "MaskedLayerNorm": (_of("NLC", given="mask NL"), _of("NLC", given="mask NLC")),
    "PartialRMSNorm": (_of("NCHW", "C", 1.0), _of("NLC", "C", 0.5, affine=False, channels_last=True)),
    "PowerNorm": (_of("NCHW", warmup=0), _of("NLC", channels_last=True)),
    "SPADE": (_of("NCHW", "C", "K", given="floats NKWH", hidden=2),),
    "ScaleNorm": _ANYWHERE,
}
"""Examples of each norm layer of `nn`; the first one shows it as it is used most."""


def norm_layers() -> dict[str, type[Any]]:
    """Return the norm layers of `nn`, which are those that name their definition, by name."""
    return {name: kind for name in sorted(nn.__all__) if hasattr(kind := getattr(nn, name), "definition")}


def make_norm(name: str, example: NormExample, sizes: Sizes, **options: Any) -> nn.Module:
    """Return a norm layer for inputs of these sizes; `options` beside, or in the place of, the example's."""
    layer: nn.Module = getattr(nn, name)(*example.made_with(sizes), **{**example.options, **options})
    return layer
