"""Optimizers whose update is a kernel, which takes all parameters of a group in one call where it can."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tinygrad_norm import kernels
from tinygrad_norm.optim.optimizer import Array, Group, Optimizer, State


class KernelOptimizer(Optimizer):
    """An optimizer that names its kernel, and says what the kernel takes besides arrays."""

    kernel: ClassVar[str]

    @abstractmethod
    def arguments(self, state: State, group: Group) -> dict[str, Any]:
        """What the kernel takes by name to update a parameter of this state."""

    def update(self, parameter: Array, gradient: Array, state: State, group: Group) -> None:
        """Take one step."""
        arguments = self.arguments(state, group)
        self._kernel_of(parameter)(*self._row(parameter, gradient, state, group), **arguments)

    def update_all(self, updates: Sequence[tuple[Array, Array, State]], group: Group) -> None:
        """Take one step of all, those of one dtype and the same arguments together."""
        if type(self).update is not KernelOptimizer.update:
            super().update_all(updates, group)
            return
        alike: dict[Any, tuple[Callable[..., None], dict[str, Any], list[Any]]] = {}
        for parameter, gradient, state in updates:
            arguments = self.arguments(state, group)
            _, _, rows = alike.setdefault(
                (parameter.dtype, *arguments.values()), (self._kernel_of(parameter), arguments, [])
            )
            rows.append(self._row(parameter, gradient, state, group))
        for kernel, arguments, rows in alike.values():
            if each := getattr(kernel, "each", None):
                each(rows, **arguments)
            else:
                for row in rows:
                    kernel(*row, **arguments)

    def _kernel_of(self, parameter: Array) -> Callable[..., None]:
        kernel: Callable[..., None] = getattr(kernels.of(parameter), self.kernel)
        return kernel

    def _row(self, parameter: Array, gradient: Array, state: State, group: Group) -> tuple[Array | None, ...]:
        """The arrays that the kernel takes."""
        return parameter, gradient, *[self.buffer(name, parameter, state, group) for name in self.buffers]
