"""Ask the installed PyTorch what `pytorch.json` holds, and write it: `python docs/_code/ask_pytorch.py`."""

from __future__ import annotations

import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

import pytorch

NAMES = {
    "np": np,
    "torch": torch,
    "nn": torch.nn,
    "F": torch.nn.functional,
    "optim": torch.optim,
    "data": torch.utils.data,
}
NAMES |= {"tensor": torch.tensor, "manual_seed": torch.manual_seed}
"""What PyTorch's expressions may name."""


def found_at(path: str) -> Any:
    """The object at a dotted path; None if there is none."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            owner: Any = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            owner = getattr(owner, part, None)
        return owner
    return None


def counted(place: str) -> list[str]:
    """The public names of a module of PyTorch that a program would use: its classes, or its functions."""
    module = import_module(place)
    if place == "torch.nn.functional":
        found = [name for name, each in vars(module).items() if callable(each) and _is_function(each)]
        helpers = ("_", "_with_indices", "_dispatch", "_or_pair")
        return sorted(name for name in found if not name.endswith(helpers) and name[0] != "_")
    owner = torch.nn.Module if place == "torch.nn" else object
    classes = {name: each for name, each in vars(module).items() if inspect.isclass(each) and name[0] != "_"}
    return sorted(
        name for name, each in classes.items() if issubclass(each, owner) and each.__module__.startswith(place)
    )


def _is_function(found: Any) -> bool:
    """Whether it is one of the functions of `torch.nn.functional`: of Python, of C, or chosen by an argument."""
    home = getattr(found, "__module__", "") or ""
    return not inspect.isclass(found) and home in ("", "torch.nn.functional", "torch._C._nn", "torch._jit_internal")


def ask() -> dict[str, Any]:
    """What the installed PyTorch has and answers."""
    names = {}
    for group, name in pytorch.public():
        for path in pytorch.candidates(group, name):
            if path.startswith("torchvision."):  # a package of its own, for which there is a test of its own
                names[path] = None
            elif (found := found_at(path)) is not None:
                names[path] = pytorch.arguments(found) if callable(found) else None
    rows = (*pytorch.ALIKE, *pytorch.DIFFERENT)
    return {
        "version": torch.__version__.partition("+")[0],
        "names": dict(sorted(names.items())),
        "counted": {place: counted(place) for place in pytorch.WHOLE},
        "results": {row.there: pytorch.answer(row.there, NAMES)[0] for row in rows},
    }


if __name__ == "__main__":
    pytorch.STORED.write_text(json.dumps(ask(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
