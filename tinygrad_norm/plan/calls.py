"""What the user's code calls while it is recorded, where that shows in no argument and in no result.

Python tells a profile function of each call. Of those that code outside of this package makes, some end the recording:
functions of NumPy's that read the elements of a given array and tell nobody (`np.asarray`), functions whose result
nobody can compare (clocks, files, `eval`) or that write where nobody looks (a log, but not a terminal), and Python
functions that handle errors, as none reaches them in a replay. It is not told of calls that C makes (`map(np.asarray,
arrays)`), nor of those of types (`memoryview(array)`).
"""

from __future__ import annotations

import builtins
import contextlib
import dis
import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from io import IOBase
from queue import SimpleQueue
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tinygrad_norm.plan.places import is_ours, is_users_file, line_of
from tinygrad_norm.plan.recorder import Recorder

_READERS: tuple[Callable[..., Any], ...] = (
    *(np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.frombuffer),
)
_CLOCKS = ("time", "perf_counter", "monotonic", "process_time", "thread_time")
_EACH_TIME: tuple[Callable[..., Any], ...] = (
    *(getattr(time, f"{name}{unit}") for name in _CLOCKS for unit in ("", "_ns")),
    *(builtins.eval, builtins.exec, builtins.globals, builtins.__import__),
    *(time.localtime, time.gmtime, time.ctime, time.strftime, os.urandom, builtins.open, os.open, builtins.input),
)
_WRITES = ("write", "writelines", "put", "put_nowait")
_OF_DATES = ("now", "utcnow", "today")
_SUPPRESSES = contextlib.suppress.__exit__.__code__


@contextmanager
def watched(recorder: Recorder, arrays: bool) -> Iterator[None]:
    """Let a recorder see what this thread calls; `arrays` says whether NumPy's are given, which functions may read.

    Who profiles this thread sees the same calls, but for those inside of launches; cProfile before Python 3.12, which
    cannot, goes on afterwards.
    """
    previous: Any = sys.getprofile()
    passed_on = previous if callable(previous) else None

    def see(frame: FrameType, event: str, argument: Any) -> None:
        if passed_on is not None:
            passed_on(frame, event, argument)
        if event == "call":
            _entered(recorder, frame)
        elif event == "c_call":
            _called(recorder, frame, argument, arrays)

    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(passed_on)
        if previous is not None and passed_on is None:
            previous.enable()


def _entered(recorder: Recorder, frame: FrameType) -> None:
    """See a Python function called."""
    code = frame.f_code
    users = is_users_file(code.co_filename)
    if users:
        recorder.codes[code] = None
    if code is _SUPPRESSES or (users and _handles_errors(code)):
        line = line_of(frame) if users else ""
        recorder.decided(f"{code.co_qualname} handles errors, and none reaches it in a replay", line)


def _called(recorder: Recorder, frame: FrameType, function: Any, arrays: bool) -> None:
    """See a function written in C called."""
    if arrays and function in _READERS:
        if _is_for_user(frame):
            recorder.decided(f"np.{function.__name__} may read elements of an array that is given")
    elif function.__name__ in _WRITES and _writes(function.__self__):
        if _is_for_user(frame):
            recorder.decided(f"it writes to a {type(function.__self__).__name__}, which a replay would not")
    elif (function in _EACH_TIME or _is_of_dates(function)) and is_users_file(frame.f_code.co_filename):
        recorder.decided(f"what {function.__qualname__}() gives, nobody compares", line_of(frame))


def _is_for_user(frame: FrameType) -> bool:
    """Whether a call is made by the user's code, or by an installed package that it called."""
    caller: FrameType | None = frame
    while caller is not None and not is_users_file(caller.f_code.co_filename):
        if is_ours(caller.f_code.co_filename):
            return False
        caller = caller.f_back
    return True


def _writes(target: Any) -> bool:
    """Whether what is written here stays: in a file or a queue, and on no terminal."""
    return isinstance(target, IOBase | SimpleQueue) and target not in (sys.stdout, sys.stderr)


def _is_of_dates(function: Any) -> bool:
    return (
        function.__name__ in _OF_DATES and isinstance(function.__self__, type) and issubclass(function.__self__, date)
    )


@functools.lru_cache(maxsize=4096)
def _handles_errors(code: CodeType) -> bool:
    """Whether code has an `except`, or is the end of a `with` block that may let no error out."""
    instructions = [*dis.get_instructions(code)]
    names = [each.opname for each in instructions]
    if any(name in ("CHECK_EXC_MATCH", "CHECK_EG_MATCH") for name in names) or (
        ("PUSH_EXC_INFO", "POP_TOP") in itertools.pairwise(names)
    ):
        return True
    if code.co_name != "__exit__":
        return False
    returned = [one for one, following in itertools.pairwise(instructions) if following.opname == "RETURN_VALUE"]
    returned += [each for each in instructions if each.opname == "RETURN_CONST"]
    return any(each.opname not in ("LOAD_CONST", "RETURN_CONST") or each.argval for each in returned)
