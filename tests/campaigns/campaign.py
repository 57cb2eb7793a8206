"""What a campaign is: kinds of cases, each seeded, and a table of how many of them failed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tinygrad_norm.tables import format_table

Case = Callable[[np.random.Generator, Path], None]
SECONDS = 120
"""How long a case may take, on a machine that is busy with other things too."""


@dataclass(frozen=True)
class Kind:
    """Cases of one kind.

    Args:
        family: what is done to the program: "files", "kills", and so on.
        name: what exactly.
        cases: how many are tried unless told otherwise.
        run: one case, given a source of random numbers and an empty folder; it raises whatever it wants to complain of.
    """

    family: str
    name: str
    cases: int
    run: Case


@dataclass
class Outcome:
    """What came of a kind: the cases, the seconds, and by its number what each that failed said."""

    kind: Kind
    cases: int = 0
    seconds: float = 0.0
    failures: dict[int, str] = field(default_factory=dict)


def run_kind(kind: Kind, seed: int, numbers: Iterable[int]) -> Outcome:
    """Try the cases of these numbers; each depends on the seed, its kind and its number alone."""
    outcome, started = Outcome(kind), time.perf_counter()
    for number in numbers:
        outcome.cases += 1
        if (complaint := run_case(kind, seed, number)) is not None:
            outcome.failures[number] = complaint
    outcome.seconds = time.perf_counter() - started
    return outcome


def run_case(kind: Kind, seed: int, number: int) -> str | None:
    """Try one case; returns what it complained of, if it did."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{kind.family} {kind.name}".encode()), number])
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        try:
            with time_limit(SECONDS):
                kind.run(rng, Path(folder))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"[:2000]
    return None


def table(outcomes: Iterable[Outcome]) -> str:
    """A row for each kind, and one for all."""
    rows = [("family", "kind", "cases", "failures", "seconds")]
    total = Outcome(Kind("all", "", 0, lambda rng, folder: None))
    for outcome in outcomes:
        counts = str(outcome.cases), str(len(outcome.failures)), f"{outcome.seconds:.1f}"
        rows.append((outcome.kind.family, outcome.kind.name, *counts))
        total.cases += outcome.cases
        total.seconds += outcome.seconds
        total.failures |= {len(total.failures) + place: text for place, text in enumerate(outcome.failures.values())}
    rows.append(("all", "", str(total.cases), str(len(total.failures)), f"{total.seconds:.1f}"))
    return format_table(rows, "<<>")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Processes: forked, for everything is imported already


def start(work: Callable[[], int | None], output: Path | None = None) -> int:
    """Do something in a forked child, whose exit status is what it returns; 70 if it raises. Returns its id.

    Both outputs go to a file, if one is named.
    """
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # until the child can answer it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a process with threads, which is the point of some
            child = os.fork()
        if not child:
            _end_with(work, output)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return child


def _end_with(work: Callable[[], int | None], output: Path | None) -> None:
    """Work as a child, which must never find its way back into its parent's program."""
    status = 70
    try:
        if output is not None:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(descriptor, stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        status = work() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        while True:  # a second Ctrl-C may come even here
            try:
                os._exit(status)
            except KeyboardInterrupt:
                status = 130


def wait(child: int, seconds: float = 60) -> int:
    """Wait for a child and return its exit status, negative for a signal; one that takes longer is killed.

    Raises:
        TimeoutError: it was killed for that.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    end(child)
    raise TimeoutError(f"a child did not end in {seconds} s")


def end(child: int) -> int:
    """Kill a child, and return its exit status."""
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
