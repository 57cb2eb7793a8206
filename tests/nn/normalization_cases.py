"""What the norm layers are compared with PyTorch in: each case is run by make_golden.py, the golden tests and live."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Name: the layer, its arguments, and the shape of its input
CASES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = {
    "batch_norm_1d": ("BatchNorm1D", (6,), {}, (5, 6)),
    "batch_norm_1d_sequence": ("BatchNorm1D", (6,), {"momentum": 0.3, "eps": 0.01}, (4, 6, 3)),
    "batch_norm_2d": ("BatchNorm2D", (4,), {}, (3, 4, 2, 3)),
    "batch_norm_2d_one_image": ("BatchNorm2D", (4, 0.1), {}, (1, 4, 3, 3)),
    "batch_norm_3d": ("BatchNorm3D", (3, 1e-5, 0.2), {}, (2, 3, 2, 1, 3)),
    "batch_norm_cumulative": ("BatchNorm1D", (6,), {"momentum": None}, (5, 6)),
    "batch_norm_without_bias": ("BatchNorm1D", (6,), {"bias": False}, (5, 6)),
    "batch_norm_without_affine": ("BatchNorm2D", (3,), {"affine": False}, (2, 3, 2, 2)),
    "batch_norm_untracked": ("BatchNorm2D", (3, 1e-3, 0.1, True, False), {}, (2, 3, 2, 2)),
    "instance_norm_1d": ("InstanceNorm1D", (3,), {}, (2, 3, 5)),
    "instance_norm_1d_tracked": ("InstanceNorm1D", (3, 1e-4, 0.3, True, True), {}, (4, 3, 5)),
    "instance_norm_2d": ("InstanceNorm2D", (4,), {"affine": True}, (3, 4, 2, 2)),
    "instance_norm_2d_tracked": ("InstanceNorm2D", (4,), {"track_running_stats": True}, (3, 4, 2, 2)),
    "instance_norm_2d_unbatched": ("InstanceNorm2D", (4,), {"affine": True, "track_running_stats": True}, (4, 3, 2)),
    "instance_norm_3d": ("InstanceNorm3D", (3,), {"affine": True}, (2, 3, 2, 1, 3)),
    "instance_norm_3d_tracked": ("InstanceNorm3D", (3, 1e-4, 0.3), {"track_running_stats": True}, (2, 3, 2, 1, 3)),
    "layer_norm": ("LayerNorm", (7,), {}, (5, 7)),
    "layer_norm_trailing": ("LayerNorm", ((3, 4), 0.01), {}, (2, 5, 3, 4)),
    "layer_norm_without_bias": ("LayerNorm", (7, 1e-5, True, False), {}, (2, 3, 7)),
    "layer_norm_without_affine": ("LayerNorm", ([2, 3],), {"elementwise_affine": False}, (4, 2, 3)),
    "layer_norm_2d": ("LayerNorm2D", (5,), {}, (2, 5, 3, 2)),
    "group_norm": ("GroupNorm", (2, 6), {}, (3, 6, 4)),
    "group_norm_images": ("GroupNorm", (3, 6, 1e-3), {}, (2, 6, 2, 3)),
    "group_norm_features": ("GroupNorm", (2, 8), {"affine": False}, (4, 8)),
    "rms_norm": ("RMSNorm", (7,), {}, (5, 7)),
    "rms_norm_trailing": ("RMSNorm", ((3, 4), 0.1), {}, (2, 3, 4)),
    "rms_norm_without_affine": ("RMSNorm", (7,), {"elementwise_affine": False}, (3, 7)),
}
STEPS = 3
LARGEST = max(math.prod(shape) for *_, shape in CASES.values())
NUMBERS = 2 * (STEPS + 1), LARGEST
"""The shape of the random numbers that all cases take their inputs and cotangents from."""


def run(library: Any, name: str, numbers: Array) -> dict[str, Array]:
    """Train a layer for some steps, then use it in inference.

    Args:
        library: has `layer(name, arguments, options, dtype)` and `tensor(array, requires_grad=...)`.
        name: the case.
        numbers: of shape NUMBERS; their dtype is that of the layer.

    Returns:
        Output and gradients of the last step in training and of the one in inference, and the running statistics.
    """
    layer_name, arguments, options, shape = CASES[name]
    layer = library.layer(layer_name, arguments, options, numbers.dtype)
    for parameter, row in zip(layer.parameters(), numbers, strict=False):
        parameter.data[...] = library.tensor(1 + row[: math.prod(parameter.shape)].reshape(tuple(parameter.shape)))
    arrays = (1 + 2 * numbers[:, : math.prod(shape)]).reshape(STEPS + 1, 2, *shape)
    found: dict[str, Array] = {}
    for step, (x, dy) in enumerate(arrays):
        layer.train(step < STEPS)
        given = library.tensor(x, requires_grad=True)
        for parameter in layer.parameters():
            parameter.grad = None
        y = layer(given)
        y.backward(library.tensor(dy))
        if step >= STEPS - 1:
            mode = "training" if step < STEPS else "inference"
            found |= {f"{mode} y": y.detach(), f"{mode} dx": given.grad}
            found |= {f"{mode} d{key}": parameter.grad for key, parameter in layer.named_parameters()}
    found |= {key: buffer for key, buffer in layer.named_buffers() if key.startswith("running_")}
    return {key: np.asarray(value) for key, value in found.items()}


def flat(found: dict[str, Array]) -> Array:
    """All that a case found, side by side."""
    return np.concatenate([found[key].ravel() for key in sorted(found)])
