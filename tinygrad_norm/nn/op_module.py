"""OpModule: an op as a module, the base of activations and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinygrad_norm.nn.module import Module
from tinygrad_norm.tensor import Tensor


class OpModule(Module):
    """Call one op, named in the class statement, with the input and the keyword arguments given here.

    The arguments become attributes; a tensor among them, a buffer.
    """

    _op: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, op: Callable[..., Tensor] | None = None) -> None:
        if op is not None:
            cls._op = staticmethod(op)

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self._arguments = tuple(arguments)
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, *inputs: Any) -> Tensor:
        return self._op(*inputs, **{name: getattr(self, name) for name in self._arguments})

    def extra_repr(self) -> str:
        values = ((name, getattr(self, name)) for name in self._arguments)
        return ", ".join(f"{name}={value!r}" for name, value in values if not isinstance(value, Tensor | None))
