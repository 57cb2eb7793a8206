"""Write what PyTorch does into golden/: by hand, where torch is installed, with `python tests/nn/make_golden.py`."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent

cases = run_path(str(HERE / "normalization_cases.py"))


class LayerNorm2D(torch.nn.LayerNorm):
    """PyTorch has none: its LayerNorm, with the channels moved to the end and back."""

    def __init__(self, channels: int, eps: float = 1e-6, **more: Any) -> None:
        super().__init__(channels, eps, **more)

    def forward(self, x: Any) -> Any:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def layer(name: str, arguments: tuple[Any, ...], options: dict[str, Any], dtype: Any) -> Any:
    made: Any = LayerNorm2D if name == "LayerNorm2D" else getattr(torch.nn, name.replace("D", "d"))
    return made(*arguments, **options, dtype=getattr(torch, np.dtype(dtype).name))


PYTORCH = SimpleNamespace(layer=layer, tensor=torch.tensor)


def main() -> None:
    # Short numbers, so that the file is small
    numbers = np.random.default_rng(0).normal(size=cases["NUMBERS"]).round(3)
    found = {name: cases["flat"](cases["run"](PYTORCH, name, numbers)) for name in cases["CASES"]}
    np.savez_compressed(HERE / "golden" / "normalization.npz", numbers=numbers, **found)


if __name__ == "__main__":
    main()
