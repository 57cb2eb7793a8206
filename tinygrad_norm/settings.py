"""Settings that `with` blocks change, each thread for itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_RUN_LATER = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)

_Open: TypeAlias = "tuple[Block, Token[Any], _Open | None]"
"""A block that has been entered and not left, the token for the value outside of it, and what was open there."""


class Setting(Generic[T]):
    """A value of each thread or task, which blocks change."""

    def __init__(self, name: str, default: T) -> None:
        self.value: ContextVar[T] = ContextVar(name, default=default)
        self.open: ContextVar[_Open | None] = ContextVar(f"{name}.open", default=None)
        self.get = self.value.get


class Block:
    """A `with` block in which a setting has another value; also a decorator, for what a function runs.

    Blocks of a ContextVar are left last one first. But a block in a generator may be left after one that was entered
    later, and several threads may enter one object. So the open blocks are kept beside the value, and leaving one takes
    out that one, wherever it stands.

    Args:
        setting: what changes.
        change: the new value, given the one outside.
    """

    __slots__ = ("change", "setting")

    def __init__(self, setting: Setting[T], change: Callable[[T], T]) -> None:
        self.setting: Setting[Any] = setting
        self.change: Callable[[Any], Any] = change

    def __enter__(self) -> None:
        setting = self.setting
        token = setting.value.set(self.change(setting.get()))
        setting.open.set((self, token, setting.open.get()))

    def __exit__(self, *exception: object) -> None:
        """Undo what this block changed, and only that.

        Raises:
            RuntimeError: another thread or task entered it, which nobody but itself can set back.
        """
        setting, entry = self.setting, self.setting.open.get()
        later: list[Block] = []
        while entry is not None and entry[0] is not self:
            later.append(entry[0])
            entry = entry[2]
        try:
            if entry is None:
                raise ValueError
            setting.value.reset(entry[1])
        except ValueError:
            raise RuntimeError(
                f"{setting.value.name}: a with block is left in the thread or task that entered it, got another; it "
                "still holds there: close a generator with such a block where it was begun"
            ) from None
        setting.open.set(entry[2])
        for inner in reversed(later):
            inner.__enter__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate `function`, which holds the block open while it runs.

        Raises:
            TypeError: it is a generator or coroutine, whose body runs after the call.
        """
        if any(kind(function) for kind in _RUN_LATER):
            raise TypeError(
                f"{function.__name__} is a generator or coroutine, which runs after the call; use a with block in it"
            )

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with Block(self.setting, self.change):
                return function(*args, **kwargs)

        return run
