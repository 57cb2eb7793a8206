"""Write what PyTorch does into golden/: by hand, where torch is installed, with `python tests/ops/make_golden.py`."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import torch

HERE = Path(__file__).parent

cases = run_path(str(HERE / "cases.py"))

PYTORCH = SimpleNamespace(
    **vars(torch)
    | vars(torch.nn.functional)
    | {
        "tensor": torch.from_numpy,
        "leaf": lambda array: torch.from_numpy(array).requires_grad_(array.dtype == np.float64),
        "numpy": lambda tensor: tensor.detach().numpy(),
        "grad": torch.autograd.grad,
        "max": torch.amax,
        "min": torch.amin,
        "cumulative_sum": torch.cumsum,
        "take_along_axis": torch.take_along_dim,
    }
)


def main() -> None:
    inputs = cases["draw"](np.random.default_rng(0))
    results = {name: cases["run"](PYTORCH, name, inputs) for name in cases["CASES"]}
    (HERE / "golden").mkdir(exist_ok=True)
    np.savez_compressed(HERE / "golden" / "inputs.npz", **inputs)
    np.savez_compressed(HERE / "golden" / "results.npz", **results)


if __name__ == "__main__":
    main()
