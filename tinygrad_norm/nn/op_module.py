"""OpModule: an op as a module, the base of activations, losses and pooling."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.tensor import Tensor


class OpModule(DataclassModule):
    """Call one op, named in the class statement, with the input and the annotated attributes, by their names.

    A tensor among these is a buffer.
    A class with PyTorch's `inplace` says so by `inplace: InitVar[bool] = False`; True is refused.
    """

    op: ClassVar[Callable[..., Tensor]]
    _names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, op: Callable[..., Tensor] | None = None) -> None:
        super().__init_subclass__()
        own = vars(cls).get("__annotations__", {})  # those of a class with its own __init__ are no fields
        plain = [name for name, kind in own.items() if not str(kind).startswith(("ClassVar", "InitVar", "KW_ONLY"))]
        cls._names = tuple(dict.fromkeys([*(field.name for field in fields(cls)), *plain]))
        if op is not None:
            cls.op = staticmethod(op)
            cls.__doc__ = _documented(cls)

    def __post_init__(self, inplace: bool = False) -> None:
        if inplace:
            raise ValueError(f"{type(self).__name__}: a tensor on the tape is not written in place; leave inplace out")
        for name, value in self._arguments().items():
            if isinstance(value, Tensor):
                delattr(self, name)
                self.register_buffer(name, value)

    def _arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return self.op(*inputs, **self._arguments(), **options)

    def extra_repr(self) -> str:
        shown = self._arguments().items()
        return ", ".join(f"{name}={value!r}" for name, value in shown if not isinstance(value, Tensor | None))


def _documented(kind: type[OpModule]) -> str | None:
    """The docstring of a module, and where its op tells of shapes and arguments if it does not tell of them itself."""
    text = inspect.cleandoc(kind.__doc__ or "")
    if not text or "Args:" in text or not kind.op.__module__.startswith("tinygrad_norm.ops."):
        return kind.__doc__
    summary, *rest = text.split("\n\n")
    return "\n\n".join([summary, f"Shapes and arguments are those of `ops.{kind.op.__name__}`.", *rest])
