"""What happens while a kernel is compiled: stderr says once why its first use takes a while, and Ctrl-C waits.

While Numba compiles, Python runs in callbacks of C code, from which an exception does not come out: a KeyboardInterrupt
there would be lost. A second Ctrl-C does not wait.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

from tinygrad_norm.kernels.cpu.cache import say_once
from tinygrad_norm.kernels.cpu.numba_internals import event


def listen() -> None:
    """Hear of every compilation from now on."""
    event.register("numba:compile", _Listener())


class _Listener(event.Listener):  # type: ignore[misc] # Numba has no types
    """Hears each kernel's compilation begin and end."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._depth = 0  # a kernel's device functions are compiled within its own compilation
        self._pressed = False

    def on_start(self, compilation: Any) -> None:
        if not _is_ours(compilation):
            return
        say_once("compiling kernels, which takes a while the first time")
        if not _in_main_thread():
            return
        self._depth += 1
        if self._depth == 1 and callable(signal.getsignal(signal.SIGINT)):
            self._handler = signal.signal(signal.SIGINT, self._keep)

    def on_end(self, compilation: Any) -> None:
        if not (_is_ours(compilation) and _in_main_thread()):
            return
        self._depth -= 1
        if self._depth == 0 and self._handler:
            handler, self._handler = self._handler, None
            signal.signal(signal.SIGINT, handler)
            if self._pressed:
                self._pressed = False
                handler(signal.SIGINT, None)

    def _keep(self, number: int, frame: Any) -> None:
        if self._pressed:
            self._handler(number, frame)
        self._pressed = True


def _is_ours(compilation: Any) -> bool:
    return (compilation.data["dispatcher"].__module__ or "").startswith(
        __package__
    )  # None of a function made from text


def _in_main_thread() -> bool:
    """Whether this is the thread that handles signals."""
    return threading.current_thread() is threading.main_thread()
