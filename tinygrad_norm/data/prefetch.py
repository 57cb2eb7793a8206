"""Batches made ready in the background, while the model is busy with the one before."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tinygrad_norm.checks import check_integer
from tinygrad_norm.data.loader import DataLoader
from tinygrad_norm.dtypes import Array

T = TypeVar("T")


class Prefetch(DataLoader):
    """A DataLoader whose batches a background thread prepares ahead.

    It takes a loader's place, settings and position, and gives the same batches, bit for bit: the position counts what
    was handed out, not what was prepared, so a state of the one fits the other. What goes wrong in the thread is raised
    where that batch is due. The thread ends with the iteration, be it by a `break` or an exception.

    The data set, transform and mix are called in the thread; NumPy lets others run while it computes.

    Args:
        loader: the loader to replace.
        depth: how many batches to prepare ahead.

    Raises:
        TypeError: `loader` is no DataLoader, or one of a class derived from it, whose ways are unknown here.
        ValueError: `depth` is below 1.

    Example:
        >>> loader = data.Prefetch(data.DataLoader(data.digits("test"), batch_size=100))
        >>> sum(len(labels) for _, labels in loader)
        355
    """

    def __init__(self, loader: DataLoader, depth: int = 2) -> None:
        if type(loader) is not DataLoader:
            raise TypeError(f"Prefetch takes a DataLoader, got {type(loader).__name__}")
        vars(self).update(vars(loader))
        self.depth = check_integer("Prefetch: depth", depth, 1)

    def _batches(self, epoch: int, first: int) -> Generator[tuple[Array, ...], None, None]:
        order = self._order(epoch)
        return ahead(lambda number: self._load(order, epoch, number), range(first, len(self)), self.depth)


def ahead(load: Callable[[int], T], numbers: Iterable[int], depth: int) -> Generator[T, None, None]:
    """Yield `load(number)` for each number in turn, computed by a thread up to `depth` ahead of what is asked for."""
    worker: list[int] = []
    pool = ThreadPoolExecutor(1, "prefetch", initializer=lambda: worker.append(threading.get_ident()))
    context = contextvars.copy_context()  # np.errstate holds there too
    pending: deque[Future[T]] = deque()
    try:
        for number in numbers:
            pending.append(pool.submit(context.run, load, number))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # The garbage collector may run this in the worker itself, which cannot wait for its own end.
        pool.shutdown(wait=threading.get_ident() not in worker, cancel_futures=True)
