"""The nets that are compared with torchvision's, and how: weights and images by a formula, so that few numbers say all.

`run` takes any library; tests/models/make_golden.py shows it torchvision, and test_torchvision.py this one.
"""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """One comparison: torchvision's name, what create_model takes, and the images."""

    theirs: str
    ours: str
    options: dict[str, Any]
    images: tuple[int, ...]
    dtype: str = "float64"
    training: bool = False  # norms alone: dropout and stochastic depth are left out


CASES = {
    "alexnet": Case("alexnet", "alexnet", {"norm": "none"}, (2, 3, 64, 71), "float32"),
    "vgg16": Case("vgg16", "vgg16", {"norm": "none"}, (2, 3, 33, 40), "float32"),
    "vgg16_bn": Case("vgg16_bn", "vgg16", {}, (2, 3, 33, 40), "float32"),
    "resnet18": Case("resnet18", "resnet18", {}, (2, 3, 47, 65)),
    "resnet18 in training": Case("resnet18", "resnet18", {}, (3, 3, 64, 64), training=True),
    "efficientnet_b0": Case("efficientnet_b0", "efficientnet_b0", {}, (2, 3, 47, 65)),
    "efficientnet_b0 in training": Case("efficientnet_b0", "efficientnet_b0", {}, (3, 3, 64, 64), training=True),
    "convnext_tiny": Case("convnext_tiny", "convnext_tiny", {}, (2, 3, 35, 64)),
}
CLASSES = 10
ENTRIES = 6
BLOCK = 2**16


class Still:
    """In the place of the random generator: no weight is drawn, since all are given later."""

    def uniform(self, low, high, shape):
        return np.zeros((1,) * len(shape))

    def normal(self, mean, std, shape):
        return np.zeros((1,) * len(shape))


def noise(name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """Numbers from -1 to 1 by a formula of name and place, the same on every machine."""
    numbers = np.empty(math.prod(shape), dtype)
    for index, block in enumerate(np.split(numbers, range(BLOCK, numbers.size, BLOCK))):
        bits = np.arange(block.size, dtype=np.uint32) * np.uint32(2654435761)
        bits += np.uint32(zlib.crc32(f"{name} {index}".encode()))
        for multiplier in (0x45D9F3B, 0x119DE1F3):
            bits ^= bits >> np.uint32(16)
            bits *= np.uint32(multiplier)
        bits ^= bits >> np.uint32(16)
        np.multiply(bits, 2.0**-31, out=block, casting="same_kind")
        block -= 1
    return numbers.reshape(shape)


def value(key: str, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """What a parameter or buffer holds, of a size that keeps activations in bounds."""
    if key.endswith("num_batches_tracked"):
        return np.array(7)
    numbers = noise(key, shape, dtype)
    matrix = len(shape) > 1 and not key.endswith("layer_scale")
    numbers *= math.sqrt(6 / math.prod(shape[1:])) if matrix else 0.3  # the variance of He et al. 2015
    if not matrix and not key.endswith(("bias", "running_mean")):
        numbers += 1
    return numbers


def digest(gradient: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The norm of a gradient, and a few of its entries."""
    flat = gradient.reshape(-1)
    norm = math.sqrt(sum(float(np.vdot(part, part)) for part in np.array_split(flat, -(-flat.size // BLOCK))))
    return np.array([norm, *np.resize(flat[:: -(-flat.size // ENTRIES)], ENTRIES)], np.float64)


def run(library: Any, case: Case, shape: tuple[int, ...] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The keys and shapes of the state, the logits, the gradients in brief, and what the state is afterwards."""
    model = library.model(case)
    state = library.state(model)
    library.load(model, {key: value(key, array.shape, case.dtype) for key, array in state.items()})
    library.set_mode(model, case.training)
    shape = shape or case.images
    logits, gradients = library.step(
        model, noise("images", shape, case.dtype), noise("cotangent", (shape[0], CLASSES), case.dtype)
    )
    found = {
        "keys": np.array([f"{key} {tuple(array.shape)}" for key, array in state.items()]),
        "logits": logits,
        "gradients": np.array([digest(gradient) for gradient in gradients]),
    }
    if case.training:
        statistics = library.state(model).items()
        found["statistics"] = np.array([digest(array) for key, array in statistics if "running" in key])
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """The largest difference of each result: of logits to the largest logit, of a gradient to its norm.

    A gradient that is 0 but for rounding, as that of a bias before a norm, is held against a ten thousandth of the
    largest one.
    """
    assert list(found["keys"]) == list(expected["keys"])
    assert found.keys() == expected.keys()
    off = {"logits": float(np.abs(found["logits"] - expected["logits"]).max() / np.abs(expected["logits"]).max())}
    for name in found.keys() - {"keys", "logits"}:
        scale = expected[name][:, :1]
        off[name] = float((np.abs(found[name] - expected[name]) / np.maximum(scale, 1e-4 * scale.max())).max())
    return off
