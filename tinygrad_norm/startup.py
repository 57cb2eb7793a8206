"""Ctrl-C while a command is still being imported: a word and exit status 130, and no traceback.

`python -m tinygrad_norm` and the script `tinygrad-norm` import the package before any code of their own runs. So the
package looks here, first of all, whether one of them imports it; `run_command` takes over when all is there.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def is_command() -> bool:
    """Return whether the package is imported to run its command.

    While Python looks for the module of `-m`, "-m" stands in place of it in `sys.argv`.
    """
    if sys.argv[:1] == ["-m"]:
        return sys.orig_argv[-len(sys.argv)] == "tinygrad_norm"
    return os.path.splitext(os.path.basename("".join(sys.argv[:1])))[0] == "tinygrad-norm"


def end_quietly(*_signal: object) -> None:
    """Leave at once, as nothing has begun."""
    with suppress(OSError):
        os.write(2, b"tinygrad-norm: interrupted\n")
    os._exit(130)


def hand_over() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is end_quietly:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_quietly)
