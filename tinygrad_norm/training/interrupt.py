"""Ctrl-C that waits for the batch at hand, so that what is saved then is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped training between two batches; checkpoints that were asked for have been written.

    Example:
        >>> issubclass(training.TrainingInterrupted, KeyboardInterrupt)
        True
    """


class HeldInterrupt:
    """Within it, the first Ctrl-C only sets `requested`; a second one stops at once.

    Python hands signals to the main thread alone, and a handler of the user's own stays in charge: elsewhere this
    does nothing.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> HeldInterrupt:
        in_main_thread = threading.current_thread() is threading.main_thread()
        self._holds = in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._holds:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.requested and kind is None:
            raise KeyboardInterrupt  # it came too late for anybody to ask; it must not be lost

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def closed(batches: Iterator[T]) -> Iterator[Iterator[T]]:
    """Close an iterator with the block: when its memory is given back, a Ctrl-C meanwhile would be lost."""
    try:
        yield batches
    finally:
        if isinstance(batches, Generator):
            batches.close()
