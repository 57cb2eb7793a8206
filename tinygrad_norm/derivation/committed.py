"""The kernels that are committed, those of this package's own norms, and the command that writes them.

python -m tinygrad_norm.derivation.committed
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_norm.derivation.adjoints import GRADIENT, gradients_of, way_back
from tinygrad_norm.derivation.builtin import normalize, normalize_inference, rms_normalize
from tinygrad_norm.derivation.expression import pointwise
from tinygrad_norm.derivation.kernels import kernels_text
from tinygrad_norm.derivation.trace import trace

_KERNELS: dict[Callable[..., Any], tuple[str, ...]] = {
    normalize: (),
    rms_normalize: (),
    normalize_inference: ("mean", "var"),
}
"""The definitions that have committed kernels, and which of their parameters are statistics."""

GENERATED = Path(__file__).parents[1] / "kernels" / "cpu" / "generated"


def generated() -> dict[str, str]:
    """The texts of the kernels of this package's norms, each with an activation of the output, by the file's name."""
    texts = {}
    for definition, given in _KERNELS.items():
        traced = trace(definition, given)
        way = way_back(traced.y, (traced.x, *traced.parameters), pointwise("times_derivative", GRADIENT, traced.y))
        texts[f"{traced.name}.py"] = kernels_text(traced, way, gradients_of(way), activation=True)
    return texts


if __name__ == "__main__":
    for name, text in generated().items():
        (GENERATED / name).write_text(text, encoding="utf-8")
