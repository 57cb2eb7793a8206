"""The door of each command: the streams it writes to, its exit status, and one line for what went wrong."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, cast

from tinygrad_norm import startup
from tinygrad_norm.output import ESCAPING, UnfailingStream, printable
from tinygrad_norm.viz.render import search_path

BROKEN_PIPE = 141
"""What a shell says of a program that SIGPIPE ended: 128 + 13."""


class UnwrittenError(OSError):
    """Standard output took no more: its disk is full, perhaps."""


class Output:
    """Standard output in which each failure is an `UnwrittenError`, told from those of files; a closed pipe stays one.

    What failed once fails at the next flush too, since argparse passes over errors of its own writing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failure: OSError | None = None

    def write(self, text: str) -> int:
        return int(self._failing(self._stream.write, text))

    def flush(self) -> None:
        self._failing(self._stream.flush)
        if self._failure is not None:
            raise self._failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _failing(self, do: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return do(*arguments)
        except BrokenPipeError as error:
            self._failure = error
            raise
        except OSError as error:
            self._failure = UnwrittenError(f"standard output: {error.strerror}")
            raise self._failure from error


def run_command(command: Callable[[], None], name: str = "") -> int:
    """Call a command and return its exit status; what went wrong is one line on standard error.

    Standard error never fails: a command whose progress nobody reads works on to its end.

    Returns:
        0, 1 where training failed, memory ran out or standard output took no more, 2 for bad input, 130 for Ctrl-C, 141
        where nobody reads standard output.
    """
    with _surroundings(name):
        try:
            startup.hand_over()
            try:
                command()
            finally:  # --help leaves by SystemExit
                sys.stdout.flush()
        except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
            _lead_nowhere(sys.stdout)
            return BROKEN_PIPE
        except UnwrittenError as error:
            _lead_nowhere(sys.stdout)
            return _complain(name, error, 1)
        except FloatingPointError as error:
            return _complain(name, error, 1)
        except (OSError, ValueError, ImportError) as error:
            return _complain(name, error, 2)
        except MemoryError as error:
            return _complain(name, f"out of memory: {str(error) or 'try a smaller --batch-size'}", 1)
        except KeyboardInterrupt:
            return 130
        return 0


def _complain(name: str, error: object, status: int) -> int:
    print(f"{name}: {_lines(error)}" if name else _lines(error), file=sys.stderr)
    return status


def _lines(text: object) -> str:
    """Return text with its line ends, all else that a terminal obeys escaped; a system's error as file and cause."""
    if isinstance(text, OSError) and text.filename is not None and text.strerror:
        return f"{printable(text.filename)}: {text.strerror}"
    return "\n".join(map(printable, str(text).split("\n")))


@contextmanager
def _surroundings(name: str) -> Iterator[None]:
    """Provide streams that write every letter, warnings of one line, and a PATH of absolute folders.

    All is as before afterwards, for programs call `main` too.
    """
    start = f"{name}: " if name else ""
    with ExitStack() as stack:
        _fill_closed()
        if sys.stdout is None:
            _set(stack, sys, "stdout", stack.enter_context(open(os.devnull, "w", encoding="utf-8")))
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stack.callback(_reconfigure, stream, stream.errors)
                _reconfigure(stream, ESCAPING)
        _set(stack, sys, "stdout", cast(TextIO, Output(sys.stdout)))
        given, safe = sys.stderr, UnfailingStream(sys.stderr)
        stack.callback(lambda: _lead_nowhere(given) if safe.failed else None)
        _set(stack, sys, "stderr", cast(TextIO, safe))
        _set(stack, warnings, "formatwarning", lambda text, *_, **__: f"{start}warning: {_lines(text)}\n")
        if "PATH" in os.environ:
            stack.callback(os.environ.__setitem__, "PATH", os.environ["PATH"])
            os.environ["PATH"] = search_path()
        yield


def _reconfigure(stream: io.TextIOWrapper, errors: str | None) -> None:
    """Have the stream encode so what it lacks, if it still can: a pipe may have taken the place of its file."""
    with suppress(OSError, ValueError):
        stream.reconfigure(errors=errors)


def _set(stack: ExitStack, owner: Any, name: str, value: object) -> None:
    """Set an attribute until the stack is left."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _fill_closed() -> None:
    """Open nothing under the numbers of standard streams that are closed (`>&-`), or the next file would get them."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)


def _lead_nowhere(stream: TextIO | None) -> None:
    """Have a stream that failed end in nothing, or Python's own flush at its exit would fail too, with status 120."""
    if stream is None:
        return
    with suppress(OSError, ValueError):  # one that is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
