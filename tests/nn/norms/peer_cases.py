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
        shape: that of x, with the channels on axis 1.
        renamed: our names of parameters and buffers, by theirs.
        masked: whether a mask goes with x.
    """

    ours: str
    arguments: tuple[object, ...]
    options: dict[str, object]
    peer: str
    peer_options: dict[str, object]
    shape: tuple[int, ...] = (3, 4, 5, 2)
    renamed: Mapping[str, str] = MappingProxyType({})
    masked: bool = False


_AFFINE = {"scale": "weight", "bias": "bias"}
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
        renamed={"gamma": "weight", "beta": "bias"},
        masked=True,
    ),
}


def inputs(name: str) -> dict[str, np.ndarray]:
    """Numbers for a case, short ones: x and the gradient of y for each step, parameters by our names, a mask."""
    case, rng = CASES[name], np.random.default_rng(len(name))
    drawn = {f"{what}{step}": rng.normal(0.3, 1.2, case.shape).round(2) for step in range(STEPS) for what in "xg"}
    drawn["mask"] = rng.random((case.shape[0], *case.shape[2:])) < 0.7
    drawn["mask"][:, 0] = True
    for parameter in ("weight", "bias", "v", "threshold"):
        drawn[parameter] = rng.normal(0.7, 0.4, case.shape[1]).round(2)
    return drawn
