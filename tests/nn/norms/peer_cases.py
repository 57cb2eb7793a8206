"""What other libraries' norms were given when peers.npz was made, and what is compared: see make_peers.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

STEPS = 3


class PeerCase(NamedTuple):
    """One norm of another library, and ours.

    Args:
        ours: the layer of `nn`, and what it is made with.
        peer: the library's name of it, and what that is made with.
        shape: that of x.
        renamed: our names of parameters and buffers, by theirs.
        masked: whether a mask goes with x.
        condition: the shape of what else goes with x.
        shapes: those of our parameters that have not a number for each channel.
        bessel: what our running variance, which is unbiased, is of theirs.
    """

    ours: str
    arguments: tuple[int, ...]
    options: dict[str, object]
    peer: str
    peer_options: dict[str, object]
    shape: tuple[int, ...] = (3, 4, 5, 2)
    renamed: Mapping[str, str] = MappingProxyType({})
    masked: bool = False
    condition: tuple[int, ...] | None = None
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    bessel: float = 1.0


_AFFINE = {"scale": "weight", "bias": "bias"}
_LAST = {"channels_last": True}
_GAMMA = {"gamma": "weight", "beta": "bias"}
CASES = {
    "timm EvoNorm2dB0": PeerCase("EvoNormB0", (4,), {}, "EvoNorm2dB0", {"num_features": 4}),
    "timm EvoNorm2dB0 linear": PeerCase(
        "EvoNormB0", (4,), {"nonlinear": False}, "EvoNorm2dB0", {"num_features": 4, "apply_act": False}
    ),
    "timm EvoNorm2dS0": PeerCase("EvoNormS0", (4, 2), {}, "EvoNorm2dS0", {"num_features": 4, "groups": 2}),
    "timm FilterResponseNormTlu2d": PeerCase(
        "FilterResponseNorm2D",
        (4,),
        {"eps": 1e-5},
        "FilterResponseNormTlu2d",
        {"num_features": 4},
        renamed={"tau": "threshold"},
    ),
    "timm GlobalResponseNorm": PeerCase(
        "GlobalResponseNorm", (4,), {}, "GlobalResponseNorm", {"dim": 4, "channels_last": False}
    ),
    "Flax BatchNorm masked": PeerCase(
        "MaskedBatchNorm1D", (4,), {}, "BatchNorm", {}, (3, 4, 5), renamed=_AFFINE, masked=True
    ),
    "Keras BatchNormalization masked": PeerCase(
        "MaskedBatchNorm1D",
        (4,),
        {"eps": 1e-3},
        "BatchNormalization",
        {},
        (3, 4, 5),
        renamed=_GAMMA,
        masked=True,
    ),
    "Chainer batch_renormalization": PeerCase(
        "BatchRenorm2D",
        (4,),
        {"momentum": 0.1, "r_max": 1.1, "d_max": 0.2},
        "batch_renormalization",
        {"decay": 0.9, "rmax": 1.1, "dmax": 0.2, "eps": 1e-5},
    ),
    "torchtoolbox SwitchNorm2d": PeerCase(
        "SwitchableNorm2D",
        (4,),
        {},
        "SwitchNorm2d",
        {"num_features": 4},
        shapes={"mean_weight": (3,), "var_weight": (3,)},
        bessel=30 / 29,
    ),
    "x-transformers DynamicTanh": PeerCase(
        "DynamicTanh",
        (4,),
        _LAST,
        "DynamicTanh",
        {"dim": 4},
        (3, 5, 4),
        renamed={"pre_tanh_scale": "alpha", **_GAMMA},
        shapes={"alpha": ()},
    ),
    "x-transformers Derf": PeerCase(
        "DynamicErf",
        (4,),
        _LAST,
        "Derf",
        {"dim": 4},
        (3, 5, 4),
        renamed={"s": "shift", **_GAMMA},
        shapes={"alpha": (), "shift": ()},
    ),
    "x-transformers ScaleNorm": PeerCase(
        "ScaleNorm", (4,), _LAST, "ScaleNorm", {"dim": 4}, (3, 5, 4), renamed={"g": "weight"}, shapes={"weight": ()}
    ),
    "neuraloperator AdaIN": PeerCase(
        "AdaIN",
        (4, 2),
        {},
        "AdaIN",
        {"embed_dim": 2, "in_channels": 4},
        condition=(1, 2),
        shapes={"condition_weight": (2, 4), "condition_bias": (2, 4)},
    ),
    "MONAI SPADE": PeerCase(
        "SPADE",
        (4, 2, 3),
        {},
        "SPADE",
        {"label_nc": 2, "norm_nc": 4, "hidden_channels": 3, "norm": "BATCH", "norm_params": {"affine": False}},
        renamed={
            f"{name}.conv.{part}": f"{name}{'.0' * (name == 'mlp_shared')}.{part}"
            for name in ("mlp_shared", "mlp_gamma", "mlp_beta")
            for part in ("weight", "bias")
        },
        condition=(3, 2, 2, 4),
        shapes={
            "mlp_shared.0.weight": (3, 2, 3, 3),
            "mlp_shared.0.bias": (3,),
            "mlp_gamma.weight": (4, 3, 3, 3),
            "mlp_gamma.bias": (4,),
            "mlp_beta.weight": (4, 3, 3, 3),
            "mlp_beta.bias": (4,),
        },
    ),
}


def inputs(name: str) -> dict[str, np.ndarray]:
    """Short numbers for a case: in each step x, the gradient of y and a condition; parameters by our names; a mask."""
    case, rng = CASES[name], np.random.default_rng(len(name))
    drawn = {f"{what}{step}": rng.normal(0.3, 1.2, case.shape).round(2) for step in range(STEPS) for what in "xg"}
    drawn["mask"] = rng.random((case.shape[0], *case.shape[2:])) < 0.7
    drawn["mask"][:, 0] = True
    for parameter in ("weight", "bias", "v", "threshold"):
        drawn[parameter] = rng.normal(0.7, 0.4, case.arguments[0]).round(2)
    drawn |= {parameter: rng.normal(0.7, 0.4, shape).round(2) for parameter, shape in case.shapes.items()}
    return drawn | {f"c{step}": rng.normal(0.3, 1.2, case.condition or ()).round(2) for step in range(STEPS)}
