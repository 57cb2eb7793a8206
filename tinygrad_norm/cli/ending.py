"""How a command ends: its exit status, and one line for what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def run_command(command: Callable[[], None], name: str = "") -> int:
    """Call a command and return its exit status; what went wrong is one line on standard error.

    Returns:
        0, 1 where training failed or memory ran out, 2 for bad input, 130 for Ctrl-C.
    """
    try:
        try:
            command()
        finally:  # --help leaves by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError, ImportError) as error:
        return _complain(name, error, 2)
    except FloatingPointError as error:
        return _complain(name, error, 1)
    except MemoryError as error:
        return _complain(name, f"out of memory: {str(error) or 'try a smaller --batch-size'}", 1)
    except KeyboardInterrupt:
        return 130
    return 0


def _complain(name: str, error: object, status: int) -> int:
    print(f"{name}: {error}" if name else error, file=sys.stderr)
    return status
