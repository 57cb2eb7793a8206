"""Locks and forks: a lock that one thread holds while another forks the process would stay locked in the child.

A lock that is registered here is free at a fork, which waits for whoever holds it.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, TypeVar

Lock = TypeVar("Lock", bound=Any)

_locks: list[weakref.ref[Any]] = []
_forking = threading.RLock()
_taken: list[Any] = []


def free_when_forking(lock: Lock) -> Lock:
    """Have every fork wait until nobody holds `lock`, for as long as it lives; returns it.

    Whoever holds it must not fork, and may wait only for locks that were registered later.
    """
    _locks.append(weakref.ref(lock, _locks.remove))
    return lock


def _take() -> None:
    _forking.acquire()
    for lock in [reference() for reference in _locks]:
        if lock is not None:
            lock.acquire()
            _taken.append(lock)


def _give_back() -> None:
    while _taken:
        _taken.pop().release()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take, after_in_parent=_give_back, after_in_child=_give_back)
