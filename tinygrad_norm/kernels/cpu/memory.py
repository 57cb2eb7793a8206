"""The memory of large arrays: what a step gives back, the next one takes, in place of fresh pages from the system.

To hand out a page the system clears it, which takes as long as many a kernel works on it. GNU's malloc gives large
arrays back at once; told not to, it keeps them. What a process holds at most stays the same, but it goes on holding it.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""The numbers of malloc's options, as in its header."""

_STEP = 2**28
"""The bytes that malloc asks the system for at a time."""


def keep() -> None:
    """Have malloc keep what is given back, unless the environment tells malloc what to do, or it is not GNU's."""
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option:
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _STEP)):
            set_option(option, value)
