"""Write what torchvision does into golden/: by hand, where it is installed, with python tests/models/make_golden.py."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
cases = run_path(str(HERE / "zoo_cases.py"))
declared: list[Any] = []  # a Library's declarations end with it


def torchvision_models() -> Any:
    """Return torchvision.models, also beside a PyTorch without the CUDA that torchvision's wheel is made for.

    There the kernels of its detection ops do not load, and it stops at their names; no classifier needs them.
    """
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError:
        detection = torch.library.Library("torchvision", "FRAGMENT")
        declared.append(detection)
        for name in ("nms", "qnms"):
            detection.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision.models")


def model(case: Any) -> Any:
    with torch.device("meta"):  # nothing is drawn: the weights come later
        made = getattr(torchvision_models(), case.theirs)(num_classes=cases["CLASSES"])
    return made.to_empty(device="cpu").to(getattr(torch, case.dtype))


def state(model: Any) -> dict[str, Any]:
    return {key: np.asarray(tensor) for key, tensor in model.state_dict().items()}


def load(model: Any, values: dict[str, Any]) -> None:
    model.load_state_dict({key: torch.from_numpy(array) for key, array in values.items()}, assign=True)


def set_mode(model: Any, training: bool) -> None:
    for module in model.modules():
        module.training = training and isinstance(module, torch.nn.BatchNorm2d)


def step(model: Any, images: Any, cotangent: Any) -> tuple[Any, list[Any]]:
    x = torch.from_numpy(images).requires_grad_()
    logits = model(x)
    wanted = [*model.parameters(), x]
    gradients = torch.autograd.grad(logits, wanted, torch.from_numpy(cotangent))
    return logits.detach().numpy(), [gradient.numpy() for gradient in gradients]


TORCHVISION = SimpleNamespace(model=model, state=state, load=load, set_mode=set_mode, step=step)


def main() -> None:
    found = {}
    for name, case in cases["CASES"].items():
        found.update({f"{name}: {key}": array for key, array in cases["run"](TORCHVISION, case).items()})
    np.savez_compressed(HERE / "golden" / "zoo.npz", **found)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        main()
