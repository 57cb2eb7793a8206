"""A model as a table: one row for each module, and the totals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm.modes import no_grad
from tinygrad_norm.nn.training_mode import in_inference
from tinygrad_norm.tables import format_table
from tinygrad_norm.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_norm.nn.module import Module


def summary(model: Module, *inputs: Any) -> str:
    """Return the table that `Module.summary` describes."""
    shapes = output_shapes(model, inputs) if inputs else {}
    counted: set[int] = set()
    modes = {path: module.training for path, module in model.named_modules(remove_duplicate=False)}
    rows = [("Module", "Type", "Output shape", "Parameters")]
    for path, module in model.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in counted]
        counted.update(map(id, own))
        kind = f"{type(module).__name__}{_mode(module, modes[path.rpartition('.')[0]] if path else True)}"
        rows.append((path or "(model)", kind, shapes.get(module, "-"), f"{_count(own):,}"))
    header, *lines = format_table(rows, "<<<>").splitlines()
    rule = "-" * len(header)
    parameters, buffers = list(model.parameters()), list(model.buffers())
    trainable = _count(parameter for parameter in parameters if parameter.requires_grad)
    totals = [
        f"Parameters: {_count(parameters):,}, trainable {trainable:,} ({_bytes(parameters):,} bytes)",
        f"Buffers: {_count(buffers):,} ({_bytes(buffers):,} bytes)",
    ]
    return "\n".join([header, rule, *lines, rule, *totals])


def output_shapes(model: Module, inputs: Sequence[Any]) -> dict[Module, str]:
    """Call the model in inference and return each module's output shape; mode and buffers are as before."""
    shapes: dict[Module, str] = {}

    def record(module: Module, _args: object, output: object) -> None:
        shapes[module] = _shape(output)

    with ExitStack() as stack:
        stack.enter_context(no_grad())
        stack.enter_context(in_inference(model))
        for buffer in model.buffers():
            stack.callback(setattr, buffer, "raw", buffer.raw)
        for module in model.modules():
            stack.enter_context(module.register_forward_hook(record))
        dtype = next((parameter.dtype for parameter in model.parameters()), np.dtype(np.float32))
        model(*(_example(given, dtype) for given in inputs))
    return shapes


def _mode(module: Module, outside: bool) -> str:
    """Return what is said of a module's mode where the one around it has another, and of a norm that is frozen."""
    words = ["training" if module.training else "eval"] if module.training != outside else []
    words += ["frozen"] if getattr(module, "frozen", False) is True else []
    return f" ({', '.join(words)})" if words else ""


def _example(given: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(given, tuple) and all(isinstance(size, int) for size in given):
        return Tensor(np.zeros(given, dtype))
    if isinstance(given, Tensor | np.ndarray):
        return given
    raise TypeError(f"summary: an input is an array or the tuple of its shape, got {given!r}")


def _shape(output: object) -> str:
    if isinstance(output, tuple | list):
        return ", ".join(map(_shape, output))
    return str(getattr(output, "shape", "-"))


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.size for tensor in tensors)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.raw.nbytes for tensor in tensors)
